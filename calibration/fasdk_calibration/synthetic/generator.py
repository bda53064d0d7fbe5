"""Generator of labeled captures from a seed and a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Capture, FaceBox
from fasdk.errors import DatasetError
from fasdk.settings import as_choice, take_choices
from fasdk_calibration.datasets import Label, LabeledCapture
from fasdk_calibration.synthetic.attacks import print_face, replay_face
from fasdk_calibration.synthetic.head import EVERYONE, Head, build_head, draw_subject
from fasdk_calibration.synthetic.scene import (
    Camera,
    Carrier,
    Pose,
    View,
    see_carrier,
    see_head,
    see_wall,
)
from fasdk_calibration.synthetic.sensors import (
    LightingRange,
    SensorSettings,
    draw_lighting,
    draw_misregistration,
    expose_nir,
    expose_rgb,
    measure_depth,
)
from fasdk_calibration.synthetic.species import ATTACKS, Species, taking_turns
from fasdk_calibration.synthetic.worn import (
    fake_head,
    wear_flexible_mask,
    wear_makeup,
    wear_paper_mask,
    wear_partial_glasses,
    wear_rigid_mask,
    wear_spectacles,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOMAIN = "synthetic"


class Split(str, Enum):
    """Split of a data set; no subject is in two of them."""

    TRAIN = "train"
    DEVELOPMENT = "development"
    HELD_OUT = "held-out"

    @property
    def subjects(self) -> range:
        """The subject numbers of this split."""
        return _SUBJECTS[self]


_SUBJECTS = {
    Split.TRAIN: range(300),
    Split.DEVELOPMENT: range(300, 400),
    Split.HELD_OUT: range(400, 500),
}
# Makes the instrument that presents a victim's face; the wearer is drawn when asked for.
Instrument = Callable[[Head, Callable[[], Head], np.random.Generator], Head | Carrier]


def _worn(make: Callable[[Head, Head, np.random.Generator], Head]) -> Instrument:
    return lambda victim, draw_wearer, rng: make(draw_wearer(), victim, rng)


# Every species of attack, in the order in which presentations take turns: three unlike ones first.
_INSTRUMENTS: dict[Species, Instrument] = {
    Species.PRINT_FLAT: lambda victim, _, rng: print_face(victim, rng, curved=False),
    Species.REPLAY: lambda victim, _, rng: replay_face(victim, rng),
    Species.RIGID_MASK: _worn(wear_rigid_mask),
    Species.PRINT_CURVED: lambda victim, _, rng: print_face(victim, rng, curved=True),
    Species.FLEXIBLE_MASK: _worn(wear_flexible_mask),
    Species.PAPER_MASK: _worn(wear_paper_mask),
    Species.MAKEUP: _worn(wear_makeup),
    Species.FAKE_HEAD: lambda victim, _, rng: fake_head(victim, rng),
    Species.PARTIAL_GLASSES: _worn(wear_partial_glasses),
}


def turns_of(instruments: Mapping[Species, Instrument]) -> tuple[Species, ...]:
    """Return the default turns: a bona fide presentation before each species of the table.

    Raises:
        TypeError: A species of attack has no instrument, so that it would be presented as a face.
    """
    absent = [species.name for species in ATTACKS if species not in instruments]
    if absent:
        raise TypeError(f"no instrument for {', '.join(absent)}: add a row to _INSTRUMENTS")
    return taking_turns(*instruments)


_TURNS = turns_of(_INSTRUMENTS)


@dataclass(frozen=True)
class SceneSettings:
    """Settings of the generator; the defaults are a door camera's.

    Attributes:
        width: Frame width in pixels, at least 64; every sensor has the same size.
        height: Frame height in pixels, at least 48.
        distance_mm: Nearest and furthest distance of the face.
        yaw: Largest turn of the head to either side, in radians.
        pitch: Largest nod, in radians.
        domain: Name the captures carry.
        turns: Species in the order in which presentations take turns.
        frames_per_presentation: Captures that one presentation holds: the same subject, attack and
            room, the pose drifting from frame to frame.
        drift: Factor on how far the pose drifts; 1 is a person who stands and waits.
        skew_frames: Largest time by which depth and infrared are taken before or after color, in
            times between two frames; each presentation has its own.
        spectacles: Share of bona fide presentations with ordinary glasses.
        melanin_shape: The two parameters of the beta law of the population's melanin.
        light: Range the rooms' lighting is drawn from.
        sensors: Properties of the sensors.
        face_only: Whether everything but the face is 0 in every frame, as data sets publish it
            that cut faces out with a fitted face model.
    """

    width: int = 320
    height: int = 240
    distance_mm: tuple[float, float] = (440.0, 580.0)
    yaw: float = 0.3
    pitch: float = 0.18
    domain: str = DOMAIN
    turns: tuple[Species, ...] = _TURNS
    frames_per_presentation: int = 1
    drift: float = 1.0
    skew_frames: float = 0.0
    spectacles: float = 0.1
    melanin_shape: tuple[float, float] = EVERYONE
    light: LightingRange = field(default_factory=LightingRange)
    sensors: SensorSettings = field(default_factory=SensorSettings)
    face_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a frame too small to show a face, or distances the sensors do not reach."""
        take_choices(self, turns=(Species,))
        if self.width < 64 or self.height < 48:
            raise DatasetError(f"frame {self.width}x{self.height} is too small: at least 64x48")
        nearest, furthest = self.distance_mm
        if not 300.0 <= nearest <= furthest <= 1500.0:
            raise DatasetError(
                f"distance_mm {self.distance_mm} must rise within 300 to 1500 millimeters"
            )
        if self.frames_per_presentation < 1 or not 0.0 <= self.spectacles <= 1.0:
            raise DatasetError(
                f"frames_per_presentation {self.frames_per_presentation} must be at least 1, "
                f"spectacles {self.spectacles} must lie in 0 to 1"
            )
        if not 0.0 <= self.drift <= 4.0 or not 0.0 <= self.skew_frames <= 1.0:
            raise DatasetError(
                f"drift {self.drift} must lie in 0 to 4, skew_frames {self.skew_frames} in 0 to 1"
            )
        if not self.turns or not self.domain:
            raise DatasetError(f"domain {self.domain!r} needs a name and at least one species")


@dataclass(frozen=True)
class Population:
    """A population captured by one kind of sensors.

    Attributes:
        seed: Seed of the people and captures.
        settings: Settings the captures are drawn with.
    """

    seed: int
    settings: SceneSettings


_DEFAULT_SETTINGS = SceneSettings()


def generate(
    seed: int,
    index: int,
    split: Split | str = Split.TRAIN,
    *,
    species: Species | str | None = None,
    settings: SceneSettings = _DEFAULT_SETTINGS,
) -> LabeledCapture:
    """Return capture number `index` of a split; it depends on nothing but the arguments.

    Args:
        seed: Seed of the whole population, at least 0.
        index: Number of the capture in its split, at least 0.
        split: Split the subject is drawn from.
        species: Species to present, or None for the next of `settings.turns`.
        settings: Frame size, ranges and what the domain has in common.

    Returns:
        rgb uint8 [H, W, 3], depth uint16 [H, W] in millimeters, ir uint8 [H, W], registered, and
        the face's box.

    Raises:
        DatasetError: `seed` or `index` is negative.
        UsageError: There is no such split or species.
    """
    split = as_choice("split", split, Split)
    if species is not None:
        species = as_choice("species", species, Species)
    if seed < 0 or index < 0:
        raise DatasetError(f"seed {seed} and index {index} must not be negative")
    drawn = Drawn.of(seed, index, split, species, settings)
    species, person, rng = drawn.species, drawn.person, drawn.shared
    number, frame = drawn.number, drawn.frame
    order, kind = list(Split).index(split), list(Species).index(species)
    own = np.random.default_rng([seed, 2, order, number, kind, frame])
    head = _head_of(seed, person, settings)
    camera = Camera(settings.width, settings.height, 0.9 * settings.width)
    path = _Path.draw(_draw_pose(rng, settings), rng, own, frame, settings.drift)
    light = draw_lighting(rng, settings.light)
    apart = draw_misregistration(rng, settings.sensors)
    wall = see_wall(camera, rng)
    shown = _present(species, head, rng, seed, split, settings)
    view = other = _see(shown, path.pose_at(frame), camera, wall)
    if settings.skew_frames:
        skew = np.random.default_rng([seed, 3, order, number, kind]).uniform(-1.0, 1.0)
        other = _see(shown, path.pose_at(frame + skew * settings.skew_frames), camera, wall)
    rgb = expose_rgb(view, camera, light, own, settings.sensors)
    depth = apart.apply(measure_depth(other, camera, light, own, settings.sensors))
    ir = apart.apply(expose_nir(other, camera, light, own, settings.sensors))
    if settings.face_only:
        outside, elsewhere = _off_the_face(view), _off_the_face(other)
        rgb[outside], depth[elsewhere], ir[elsewhere] = 0, 0, 0
    capture = Capture(rgb=rgb, depth=depth, ir=ir, face=_box_of(view, own))
    return LabeledCapture(
        capture=capture,
        id=drawn.id,
        label=drawn.label,
        species=species.value,
        subject=drawn.subject,
        domain=settings.domain,
        presentation=drawn.presentation,
    )


@dataclass(frozen=True)
class Drawn:
    """What a capture shows, drawn before anything of it is rendered.

    Attributes:
        number: Number of the presentation in its split.
        frame: Number of the capture in its presentation.
        species: Species presented.
        person: Number of the subject in the population.
        split: Split the subject is drawn from.
        settings: Settings the capture is drawn with.
        shared: Random generator of what the captures of the presentation share, after the subject.
    """

    number: int
    frame: int
    species: Species
    person: int
    split: Split
    settings: SceneSettings
    shared: np.random.Generator

    @classmethod
    def of(
        cls,
        seed: int,
        index: int,
        split: Split,
        species: Species | None,
        settings: SceneSettings,
    ) -> Drawn:
        """Return what capture number `index` of a split shows; see `generate`."""
        number, frame = divmod(index, settings.frames_per_presentation)
        species = species or settings.turns[number % len(settings.turns)]
        order, kind = list(Split).index(split), list(Species).index(species)
        shared = np.random.default_rng([seed, 1, order, number, kind])
        person = int(shared.choice(split.subjects))
        return cls(number, frame, species, person, split, settings, shared)

    @property
    def id(self) -> str:
        """Identifier of the capture."""
        return self._named(self.number * self.settings.frames_per_presentation + self.frame)

    @property
    def presentation(self) -> str:
        """Identifier of the presentation: that of its first capture."""
        return self._named(self.number * self.settings.frames_per_presentation)

    @property
    def label(self) -> Label:
        """Bona fide or attack."""
        return Label.BONA_FIDE if self.species is Species.BONA_FIDE else Label.ATTACK

    @property
    def subject(self) -> str:
        """Identifier of the subject."""
        return f"{self._prefix}s{self.person:04d}"

    @property
    def _prefix(self) -> str:
        domain = self.settings.domain
        return "" if domain == DOMAIN else f"{domain}-"

    def _named(self, index: int) -> str:
        return f"{self._prefix}{self.split.value}-{index:06d}"


def _present(
    species: Species,
    head: Head,
    rng: np.random.Generator,
    seed: int,
    split: Split,
    settings: SceneSettings,
) -> Head | Carrier:
    """Return what is held before the sensors."""
    if species is Species.BONA_FIDE:
        return wear_spectacles(head, rng) if rng.random() < settings.spectacles else head

    def draw_wearer() -> Head:
        """Return another subject of the same split."""
        return _head_of(seed, int(rng.choice(split.subjects)), settings)

    return _INSTRUMENTS[species](head, draw_wearer, rng)


def _see(shown: Head | Carrier, pose: Pose, camera: Camera, wall: View) -> View:
    if isinstance(shown, Carrier):
        return see_carrier(shown, pose, camera, wall)
    return see_head(shown, pose, camera, wall)


def _head_of(seed: int, number: int, settings: SceneSettings) -> Head:
    rng = np.random.default_rng([seed, 0, number])
    return build_head(draw_subject(rng, settings.melanin_shape))


def _draw_pose(rng: np.random.Generator, settings: SceneSettings) -> Pose:
    distance = rng.uniform(*settings.distance_mm)
    # Keep the face, about 170 by 240 mm and 90 mm nearer than its origin, inside the frame.
    focal = 0.9 * settings.width
    reach_x = max(settings.width / 2 / focal * (distance - 90) - 100, 5.0)
    reach_y = max(settings.height / 2 / focal * (distance - 90) - 130, 5.0)
    return Pose(
        position_mm=(
            float(rng.uniform(-1, 1) * min(reach_x, 120.0)),
            float(rng.uniform(-1, 1) * min(reach_y, 60.0)) + 8.0,
            -distance,
        ),
        yaw=float(rng.uniform(-settings.yaw, settings.yaw)),
        pitch=float(rng.uniform(-settings.pitch, settings.pitch)),
        roll=float(rng.uniform(-0.08, 0.08)),
    )


@dataclass(frozen=True)
class _Path:
    """Movement of the head in one presentation: a steady drift and a little tremor.

    Attributes:
        start: Pose in the first frame.
        steady: Extent of the drift of x, y, z, yaw, pitch and roll, in [-1, 1].
        tremor: Tremor of each in one frame.
        reach: Factor on both.
    """

    start: Pose
    steady: NDArray[np.float64]
    tremor: NDArray[np.float64]
    reach: float

    @classmethod
    def draw(
        cls,
        start: Pose,
        shared: np.random.Generator,
        own: np.random.Generator,
        frame: int,
        reach: float,
    ) -> _Path:
        """Return the movement; what all frames share, and what one has of its own."""
        steady = shared.uniform(-1.0, 1.0, 6)
        tremor = 0.15 * own.uniform(-1.0, 1.0, 6) if frame else np.zeros(6)
        return cls(start, steady, tremor, reach)

    def pose_at(self, time: float) -> Pose:
        """Return the pose at a time, in times between two frames after the first."""
        # Back and forth, so that a long presentation stays in view.
        along = self.reach * (np.sin(0.35 * time) * self.steady + self.tremor)
        x, y, z = self.start.position_mm
        return replace(
            self.start,
            position_mm=(x + 12.0 * along[0], y + 8.0 * along[1], z + 15.0 * along[2]),
            yaw=self.start.yaw + 0.1 * along[3],
            pitch=self.start.pitch + 0.06 * along[4],
            roll=self.start.roll + 0.03 * along[5],
        )


def _off_the_face(view: View) -> NDArray[np.bool_]:
    """Return where a face model fitted to the picture would cut: a little outside the face."""
    import cv2

    face = cv2.dilate((view.face > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(face == 0)


def _box_of(view: View, rng: np.random.Generator) -> FaceBox:
    """Return the face's box as a detector would: near the truth, a few per cent off."""
    rows, columns = (
        np.flatnonzero((view.face > 0.5).any(axis=1)),
        np.flatnonzero((view.face > 0.5).any(axis=0)),
    )
    height, width = view.face.shape
    if rows.size == 0:
        raise DatasetError("no face in view: nearer distances or a larger frame are needed")
    span_x, span_y = int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
    jitter = rng.uniform(-0.03, 0.03, 4)
    left = max(0, round(columns[0] + jitter[0] * span_x))
    top = max(0, round(rows[0] + jitter[1] * span_y))
    right = min(width, max(left + 1, round(columns[-1] + 1 + jitter[2] * span_x)))
    bottom = min(height, max(top + 1, round(rows[-1] + 1 + jitter[3] * span_y)))
    return FaceBox(left, top, right - left, bottom - top)
