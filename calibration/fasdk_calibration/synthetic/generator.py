"""From a seed and a number to one labelled capture."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Capture, FaceBox
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import BONA_FIDE_SPECIES, Label, LabelledCapture
from fasdk_calibration.synthetic.attacks import print_face, replay_face, wear_mask
from fasdk_calibration.synthetic.head import EVERYONE, Head, build_head, draw_subject
from fasdk_calibration.synthetic.scene import Camera, Pose, View, see_carrier, see_head, see_wall
from fasdk_calibration.synthetic.sensors import (
    LightingRange,
    SensorSettings,
    draw_lighting,
    expose_nir,
    expose_rgb,
    measure_depth,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOMAIN = "synthetic"


class Split(str, Enum):
    """What captures are for; no subject is in two of them."""

    TRAIN = "train"
    DEVELOPMENT = "development"
    HELD_OUT = "held-out"

    @property
    def subjects(self) -> range:
        """The subject numbers of this split."""
        return _SUBJECTS[self]


class Species(str, Enum):
    """What is presented to the camera."""

    BONA_FIDE = BONA_FIDE_SPECIES
    PRINT = "print"
    REPLAY = "replay"
    MASK = "mask"


_SUBJECTS = {
    Split.TRAIN: range(300),
    Split.DEVELOPMENT: range(300, 400),
    Split.HELD_OUT: range(400, 500),
}
# Every other capture is bona fide; the species take turns between.
_TURNS = (
    Species.BONA_FIDE,
    Species.PRINT,
    Species.BONA_FIDE,
    Species.REPLAY,
    Species.BONA_FIDE,
    Species.MASK,
)


@dataclass(frozen=True)
class SceneSettings:
    """What may be varied; the defaults are a door camera's.

    Attributes:
        width: Frame width in pixels, at least 64; every sensor has the same size.
        height: Frame height in pixels, at least 48.
        distance_mm: Nearest and furthest distance of the face.
        yaw: Largest turn of the head to either side, in radians.
        pitch: Largest nod, in radians.
        domain: Name the captures carry.
        turns: Species in the order in which captures take turns.
        melanin_shape: The two parameters of the beta law of the population's melanin.
        light: What the rooms have in common.
        sensors: What the sensors have in common.
        face_only: Whether everything but the face is 0 in every frame, as data sets publish it
            that cut faces out with a fitted face model.
    """

    width: int = 320
    height: int = 240
    distance_mm: tuple[float, float] = (420.0, 620.0)
    yaw: float = 0.3
    pitch: float = 0.18
    domain: str = DOMAIN
    turns: tuple[Species, ...] = _TURNS
    melanin_shape: tuple[float, float] = EVERYONE
    light: LightingRange = field(default_factory=LightingRange)
    sensors: SensorSettings = field(default_factory=SensorSettings)
    face_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a frame too small to show a face, or distances the sensors do not reach."""
        if self.width < 64 or self.height < 48:
            raise DatasetError(f"frame {self.width}x{self.height} is too small: at least 64x48")
        nearest, furthest = self.distance_mm
        if not 300.0 <= nearest <= furthest <= 1500.0:
            raise DatasetError(
                f"distance_mm {self.distance_mm} must rise within 300 to 1500 millimetres"
            )
        if not self.turns or not self.domain:
            raise DatasetError(f"domain {self.domain!r} needs a name and at least one species")


_DEFAULT_SETTINGS = SceneSettings()


def generate(
    seed: int,
    index: int,
    split: Split = Split.TRAIN,
    *,
    species: Species | None = None,
    settings: SceneSettings = _DEFAULT_SETTINGS,
) -> LabelledCapture:
    """Return capture number `index` of a split; it depends on nothing but the arguments.

    Args:
        seed: Of the whole population, at least 0.
        index: Number of the capture in its split, at least 0.
        split: Whose subjects are seen.
        species: What is presented, or None for what `settings.turns` says.
        settings: Frame size, ranges and what the domain has in common.

    Returns:
        rgb uint8 [H, W, 3], depth uint16 [H, W] in millimetres, ir uint8 [H, W], registered, and
        the face's box.

    Raises:
        DatasetError: `seed` or `index` is negative.
    """
    if seed < 0 or index < 0:
        raise DatasetError(f"seed {seed} and index {index} must not be negative")
    species = species or settings.turns[index % len(settings.turns)]
    order = list(Split).index(split)
    rng = np.random.default_rng([seed, 1, order, index, list(Species).index(species)])
    number = int(rng.choice(split.subjects))
    head = _head_of(seed, number, settings)
    camera = Camera(settings.width, settings.height, 0.9 * settings.width)
    pose = _draw_pose(rng, settings)
    light = draw_lighting(rng, settings.light)
    wall = see_wall(camera, rng)
    view = _present(species, head, pose, camera, wall, rng, seed, split, settings)
    rgb = expose_rgb(view, camera, light, rng, settings.sensors)
    depth = measure_depth(view, camera, light, rng, settings.sensors)
    ir = expose_nir(view, camera, light, rng, settings.sensors)
    if settings.face_only:
        outside = _off_the_face(view)
        rgb[outside], depth[outside], ir[outside] = 0, 0, 0
    capture = Capture(rgb=rgb, depth=depth, ir=ir, face=_box_of(view, rng))
    prefix = "" if settings.domain == DOMAIN else f"{settings.domain}-"
    name = f"{prefix}{split.value}-{index:06d}"
    bona_fide = species is Species.BONA_FIDE
    return LabelledCapture(
        capture=capture,
        id=name,
        label=Label.BONA_FIDE if bona_fide else Label.ATTACK,
        species=species.value,
        subject=f"s{number:04d}",
        domain=settings.domain,
        presentation=name,
    )


def _present(
    species: Species,
    head: Head,
    pose: Pose,
    camera: Camera,
    wall: View,
    rng: np.random.Generator,
    seed: int,
    split: Split,
    settings: SceneSettings,
) -> View:
    if species is Species.PRINT:
        return see_carrier(print_face(head, rng), pose, camera, wall)
    if species is Species.REPLAY:
        return see_carrier(replay_face(head, rng), pose, camera, wall)
    if species is Species.MASK:
        # The wearer is another subject of the same split.
        wearer = _head_of(seed, int(rng.choice(split.subjects)), settings)
        return see_head(wear_mask(wearer, head, rng), pose, camera, wall)
    return see_head(head, pose, camera, wall)


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
