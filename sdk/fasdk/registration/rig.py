"""Rig of calibrated sensors that maps a face's box from one frame into the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fasdk.bounded_file import FileKind
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import OutOfViewError, RigError
from fasdk.json_model import read_json_model
from fasdk.quality.exposure import face_depth
from fasdk.registration.optics import Homography, Lens, Pinhole

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA_VERSION: Final = 1
_LEAST_INSIDE = 0.5  # a face of which a sensor sees less is not in its view
_STEPS, _SETTLED_MM = 8, 0.5
_NEAREST_MM = 50.0  # no depth sensor measures nearer

_Sensor = Annotated[Pinhole | Homography, Field(discriminator="kind")]


class Rig(BaseModel):
    """Geometry of the cameras of one kiosk relative to each other; a JSON file, such as rig.json.

    Attributes:
        schema_version: Version of this layout.
        rgb: The RGB camera; needed where a sensor is a pinhole camera.
        depth: The depth sensor; None where its frames show the RGB camera's view.
        ir: The infrared sensor, likewise.
        face_width_mm: Assumed width of a face box, in millimeters, where no depth shows its
            distance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    rgb: Lens | None = None
    depth: _Sensor | None = None
    ir: _Sensor | None = None
    face_width_mm: float = Field(default=150.0, gt=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _complete(self) -> Rig:
        for name, sensor in (("depth", self.depth), ("ir", self.ir)):
            if isinstance(sensor, Pinhole) and self.rgb is None:
                raise ValueError(f"{name} is a pinhole camera, so rgb must be given too")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Rig:
        """Read a rig from its JSON file; `model_dump_json` writes one.

        Raises:
            RigError: The file is unreadable or no JSON, or a field is absent, unknown or wrong.
        """
        # A sensor's kind stands in the path, as it does in no file.
        kinds = ("pinhole", "homography")
        return read_json_model(path, cls, FileKind.RIG, RigError, unnamed=kinds)

    def register(self, capture: Capture) -> Capture:
        """Return the capture with the face's box in every frame that shows another view.

        Its landmarks too, where it has any, mapped at the same distance.

        The box is taken from the frame `face` is in. A pinhole sensor needs the face's distance:
        it is first what makes a box `face_width_mm` wide look as wide as it does, then the median
        depth in the middle of the box so mapped into the depth frame, again and again until it
        settles within half a millimeter, at most eight times. Without depth there, the first
        estimate stands.

        A mapped box that leaves its frame is clipped to it, and the quality gates then find the
        face out of frame; one of which less than half lies inside is refused. Boxes that
        `capture.faces` already names are kept, and their frames get no landmarks.

        Raises:
            OutOfViewError: A sensor sees less than half of the face.
            RigError: A frame has another size than its calibration, or the rig does not say how
                one of the frames lies to the one the face is in.
        """
        if capture.face is None:
            return capture
        source = capture.present[0]
        wanted = [m for m in capture.present[1:] if m not in capture.faces]
        wanted = [m for m in wanted if self._sensor(m) != self._sensor(source)]
        if not wanted:
            return capture
        for modality in (source, *wanted):
            self._require_size(capture, modality)
        found = _Found.by(self._pinhole(source), FaceBox.of(capture.face))
        distance_mm = self._distance_mm(capture, source, found)
        faces, landmarks = dict(capture.faces), dict(capture.frame_landmarks)
        for modality in wanted:
            edges = self._map(found, source, modality, distance_mm)
            faces[modality] = _inside(edges, capture.size_of(modality), modality)
            if capture.landmarks is not None:
                points = np.asarray(capture.landmarks, np.float64)
                landmarks.setdefault(modality, self._mapped(points, source, modality, distance_mm))
        return replace(capture, faces=faces, frame_landmarks=landmarks)

    def _mapped(
        self,
        points: NDArray[np.float64],
        source: Modality,
        target: Modality,
        distance_mm: float,
    ) -> NDArray[np.float32]:
        """Return points of one frame in another, float32 [N, 2] in pixels."""
        camera = self._pinhole(source)
        rays = np.empty((0, 3)) if camera is None else camera.lens.rays(points)
        return self._project(camera, points, rays, source, target, distance_mm).astype(np.float32)

    def _sensor(self, modality: Modality) -> Pinhole | Homography | None:
        """Return how a sensor lies to the RGB camera; None for the same view."""
        if modality is Modality.RGB:
            return None
        return self.depth if modality is Modality.DEPTH else self.ir

    def _require_size(self, capture: Capture, modality: Modality) -> None:
        """Check that a frame has the size its sensor was calibrated for, RGB's by every one."""
        sensor = self._sensor(modality)
        known = [] if sensor is None else [sensor.size_px]
        if modality is Modality.RGB:
            known += [] if self.rgb is None else [(self.rgb.width_px, self.rgb.height_px)]
            known += [s.rgb_size_px for s in (self.depth, self.ir) if isinstance(s, Homography)]
        found = capture.size_of(modality)
        for calibrated in known:
            if calibrated != found:
                raise RigError(
                    f"the {modality.value} frame is {found[0]}x{found[1]}, the rig is calibrated "
                    f"for {calibrated[0]}x{calibrated[1]}: set the camera to that mode, or "
                    "calibrate this one"
                )

    def _distance_mm(self, capture: Capture, source: Modality, found: _Found) -> float:
        """Return how deep the face lies before the camera it was found with."""
        camera = found.camera
        if camera is None:
            return math.nan  # homographies ask for none
        distance_mm = camera.lens.focal_x_px * self.face_width_mm / found.box.width
        if Modality.DEPTH not in capture.present:
            return distance_mm
        depth, size = capture.frame(Modality.DEPTH), capture.size_of(Modality.DEPTH)
        same_view = self._sensor(Modality.DEPTH) == self._sensor(source)
        sensor = camera if same_view else self._pinhole(Modality.DEPTH)
        if sensor is None:
            return distance_mm
        known = capture.face_in(Modality.DEPTH) if same_view else capture.faces.get(Modality.DEPTH)
        for _ in range(_STEPS):
            there = known
            if there is None:
                edges = self._map(found, source, Modality.DEPTH, distance_mm)
                there = edges.clipped_to(size)
            measured_mm = None if there is None else face_depth(depth, there).median_mm
            # Nearer is another unit, which the quality gates report.
            if measured_mm is None or measured_mm < _NEAREST_MM:
                break
            before, distance_mm = distance_mm, found.depth_mm(measured_mm, sensor) or distance_mm
            if known is not None or abs(distance_mm - before) < _SETTLED_MM:
                break
        return distance_mm

    def _map(self, found: _Found, source: Modality, target: Modality, distance_mm: float) -> _Edges:
        """Return the smallest upright box around where a face lies in another sensor's frame."""
        return _Edges.around(
            self._project(found.camera, found.outline, found.rays, source, target, distance_mm)
        )

    def _project(
        self,
        camera: Pinhole | None,
        pixels: NDArray[np.float64],
        rays: NDArray[np.float64],
        source: Modality,
        target: Modality,
        distance_mm: float,
    ) -> NDArray[np.float64]:
        """Return where points lie in another sensor's frame, float64 [N, 2] in pixels.

        Args:
            camera: Camera that sees them; None where the rig does not know its lens.
            pixels: Float64 [N, 2], where it sees them.
            rays: Float64 [N, 3], where they are at one millimeter of depth; empty without a camera.
            source: The camera's modality.
            target: The other sensor's modality.
            distance_mm: How deep the points lie.
        """
        sensor = self._pinhole(target)
        if camera is not None and sensor is not None:
            points = _between(camera, sensor, rays * distance_mm)
            if not (points[:, 2] > 0.0).all():
                raise OutOfViewError(_nowhere(target))
            return sensor.lens.project(points)
        here, there = self._plane(source), self._plane(target)
        if here is None or there is None:
            raise RigError(
                f"the face is in the {source.value} frame, and the rig does not say how "
                f"{target.value} lies to it: describe both as pinhole cameras or both by a "
                "homography, or give the rgb frame"
            )
        mapped = np.column_stack([pixels, np.ones(len(pixels))]) @ (there @ np.linalg.inv(here)).T
        scale = mapped[:, 2:]
        if not ((scale > 0.0).all() or (scale < 0.0).all()):
            raise OutOfViewError(_nowhere(target))
        return np.asarray(mapped[:, :2] / scale)

    def _pinhole(self, modality: Modality) -> Pinhole | None:
        """Return a sensor as a pinhole camera, or None if it is none."""
        if modality is Modality.RGB:
            return None if self.rgb is None else _at_origin(self.rgb)
        sensor = self._sensor(modality)
        return sensor if isinstance(sensor, Pinhole) else None

    def _plane(self, modality: Modality) -> NDArray[np.float64] | None:
        """Return the homography from RGB to a sensor, or None if there is none."""
        if modality is Modality.RGB:
            return np.eye(3)
        sensor = self._sensor(modality)
        return np.array(sensor.from_rgb) if isinstance(sensor, Homography) else None


@dataclass(frozen=True)
class _Found:
    """A face box as the camera that found it sees it.

    Attributes:
        camera: Camera that found it; None where the rig does not know its lens.
        box: Face box in the camera's frame, in pixels.
        outline: Float64 [16, 2], pixels around its edge.
        rays: Float64 [16, 3], points of the outline at one millimeter of depth; empty without a
            camera.
        middle: Float64 [1, 3], point of the box's middle at one millimeter of depth.
    """

    camera: Pinhole | None
    box: FaceBox
    outline: NDArray[np.float64]
    rays: NDArray[np.float64]
    middle: NDArray[np.float64]

    @classmethod
    def by(cls, camera: Pinhole | None, box: FaceBox) -> _Found:
        """Return a box with where it points to."""
        outline = _outline(box)
        if camera is None:
            return cls(camera, box, outline, np.empty((0, 3)), np.empty((0, 3)))
        middle = [[box.x + box.width / 2 - 0.5, box.y + box.height / 2 - 0.5]]
        rays = camera.lens.rays(np.concatenate([outline, middle]))
        return cls(camera, box, outline, rays[:-1], rays[-1:])

    def depth_mm(self, measured_mm: float, sensor: Pinhole) -> float | None:
        """Return how deep the box's middle lies if the depth sensor measures so much there.

        None for what lies behind the camera.
        """
        if self.camera is None:
            return None
        ends = np.concatenate([np.zeros((1, 3)), self.middle])
        origin, ahead = _between(self.camera, sensor, ends)[:, 2].tolist()
        slope = ahead - origin
        depth_mm = (measured_mm - origin) / slope if abs(slope) > 1e-6 else math.nan
        return depth_mm if depth_mm > 0.0 else None


@dataclass(frozen=True)
class _Edges:
    """A box with edges between pixels, in a frame it may leave; 0 is the frame's own edge."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, points: NDArray[np.float64]) -> _Edges:
        """Return the box around points in OpenCV's pixels, whose middles are whole numbers."""
        (left, top), (right, bottom) = points.min(axis=0) + 0.5, points.max(axis=0) + 0.5
        return cls(float(left), float(top), float(right), float(bottom))

    def whole(self) -> tuple[int, int, int, int] | None:
        """Return the edges in whole pixels, at least one apart; None where one is not finite."""
        if not all(map(math.isfinite, (self.left, self.top, self.right, self.bottom))):
            return None
        left, top = round(self.left), round(self.top)
        return left, top, max(round(self.right), left + 1), max(round(self.bottom), top + 1)

    def clipped_to(self, size: tuple[int, int]) -> FaceBox | None:
        """Return what of it lies in a frame of (width, height) pixels, or None for nothing."""
        whole = self.whole()
        if whole is None:
            return None
        left, right = (min(max(x, 0), size[0]) for x in whole[::2])
        top, bottom = (min(max(y, 0), size[1]) for y in whole[1::2])
        if right <= left or bottom <= top:
            return None
        return FaceBox(left, top, right - left, bottom - top)

    def share_of(self, part: FaceBox) -> float:
        """Return which share of its area a part of it has."""
        whole = self.whole()
        if whole is None:
            return 0.0
        return part.width * part.height / ((whole[2] - whole[0]) * (whole[3] - whole[1]))


def _inside(edges: _Edges, size: tuple[int, int], modality: Modality) -> FaceBox:
    box = edges.clipped_to(size)
    share = 0.0 if box is None else edges.share_of(box)
    if box is None or share < _LEAST_INSIDE:
        raise OutOfViewError(
            f"only {math.floor(100 * share)}% of the face lies in the {modality.value} sensor's "
            f"{size[0]}x{size[1]} frame: move to the middle; if it is there, the rig is another's"
        )
    return box


@lru_cache(maxsize=8)
def _at_origin(rgb: Lens) -> Pinhole:
    return Pinhole(lens=rgb)


def _nowhere(modality: Modality) -> str:
    return (
        f"the face lies behind the {modality.value} sensor: move to the middle; if it is there, "
        "the rig is another's"
    )


def _outline(box: FaceBox) -> NDArray[np.float64]:
    """Return points all around a box's edge, for lenses bend straight lines: [16, 2] in pixels."""
    along = np.linspace(0.0, 1.0, 5)[:-1]
    start, end = np.zeros(4), np.ones(4)
    x = np.concatenate([along, end, 1.0 - along, start]) * box.width + box.x
    y = np.concatenate([start, along, end, 1.0 - along]) * box.height + box.y
    return np.column_stack([x, y]) - 0.5


def _between(
    source: Pinhole, target: Pinhole, points_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return points [N, 3] before one camera as points before another."""
    in_rgb = (points_mm - np.array(source.translation_mm)) @ np.array(source.rotation)
    return np.asarray(in_rgb @ np.array(target.rotation).T + np.array(target.translation_mm))
