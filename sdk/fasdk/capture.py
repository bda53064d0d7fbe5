"""Captures: frames of a face from one or more sensors, with units and face boxes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_MOST_FACES = 1000  # a picture of a crowd has fewer
# Depth values below this are in meters: no face sensor reaches 20 m, and none measures at 20 mm.
LARGEST_IN_METERS = 20


def monotonic_ms() -> float:
    """Return `time.monotonic` in milliseconds: the clock of `Capture.taken_ms`."""
    return time.monotonic_ns() / 1e6


class Modality(str, Enum):
    """Sensor modality of a frame."""

    RGB = "rgb"
    DEPTH = "depth"
    IR = "ir"

    __hash__ = str.__hash__  # as that of its value; Enum's own differs, and runs in Python


@dataclass(frozen=True)
class FaceBox:
    """Face box in pixels of the frame it was found in.

    Attributes:
        x: Left edge in pixels, inclusive.
        y: Top edge in pixels, inclusive.
        width: Width in pixels, at least 1.
        height: Height in pixels, at least 1.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        """Convert the numbers to int and refuse a box without an area."""
        for name in ("x", "y", "width", "height"):
            object.__setattr__(self, name, _whole(getattr(self, name), name))
        if self.width < 1 or self.height < 1:
            raise CaptureError(
                f"face box {self.describe()} has no area: width and height must be at least 1 pixel"
            )

    @classmethod
    def of(cls, box: FaceBox | Sequence[int]) -> FaceBox:
        """Return `box` as a FaceBox; a sequence is (x, y, width, height) in pixels.

        Raises:
            CaptureError: The sequence does not hold four whole numbers.
        """
        if isinstance(box, FaceBox):
            return box
        try:
            values = tuple(islice(box, 5))
        except TypeError:
            values = ()
        if len(values) != 4:
            raise CaptureError(f"face box {box!r} is not (x, y, width, height) in whole pixels")
        return cls(*values)

    def describe(self) -> str:
        """Return the box as `x,y,width,height`, the format of the command line."""
        return f"{self.x},{self.y},{self.width},{self.height}"

    def require_inside(self, frame_width: int, frame_height: int) -> None:
        """Check that the whole box lies in a frame of that size, in pixels.

        Raises:
            CaptureError: Any part of the box is outside.
        """
        inside = (
            self.x >= 0
            and self.y >= 0
            and self.x + self.width <= frame_width
            and self.y + self.height <= frame_height
        )
        if not inside:
            raise CaptureError(
                f"face box {self.describe()} leaves the {frame_width}x{frame_height} frame: "
                "give the box in pixels of that frame"
            )

    def scaled_to(self, from_size: tuple[int, int], to_size: tuple[int, int]) -> FaceBox:
        """Return the box in another frame of the same view; sizes are (width, height) in pixels."""
        if from_size == to_size:
            return self
        sx, sy = to_size[0] / from_size[0], to_size[1] / from_size[1]
        x, y = int(self.x * sx), int(self.y * sy)
        width = min(max(1, round(self.width * sx)), to_size[0] - x)
        height = min(max(1, round(self.height * sy)), to_size[1] - y)
        return FaceBox(x, y, width, height)


@dataclass(frozen=True)
class DeviceStamp:
    """What a device itself wrote on a frame, as it is, for checks that a sensor took it.

    Attributes:
        number: The device's count of the frame; None where it counts none.
        clock_ms: Time of the frame on the device's own clock, in milliseconds from any origin; None
            where it has none.
    """

    number: int | None = None
    clock_ms: float | None = None


@dataclass(frozen=True, eq=False)
class Capture:
    """Synchronized frames of one face; modalities a rig does not have stay None.

    The frames must show the same view (registered); they may differ in resolution.

    Attributes:
        rgb: uint8 [H, W, 3], red first.
        depth: uint16 [H, W], millimeters; 0 where the sensor measured nothing.
        ir: uint8 [H, W], near infrared.
        face: Face box in pixels of `rgb`, or of the first frame present in the order rgb, depth,
            ir; a FaceBox or (x, y, width, height). None only suits models that use whole frames.
        faces: Face boxes in other frames, where registration is more precise than scaling `face`,
            which is the fallback for a modality without one.
        landmarks: float32 [5, 2], (x, y) in pixels of the frame `face` is in: the person's right
            eye, left eye, nose tip, right and left corner of the mouth; None where none were
            detected.
        frame_landmarks: Landmarks in other frames, likewise, where registration is more precise
            than scaling `landmarks`; a frame that `faces` has a box for gets no scaled ones.
        other_faces: Boxes of further faces in that frame; a kiosk admits one person at a time.
        taken_ms: Time of exposure by modality, in milliseconds of `time.monotonic`; a modality
            without one was not timed.
        stamps: What the device wrote on its frames, by modality; one without was not stamped.

    Raises:
        CaptureError: No frame at all, or a frame of another dtype or shape, or a box outside.
    """

    rgb: NDArray[np.uint8] | None = None
    depth: NDArray[np.uint16] | None = None
    ir: NDArray[np.uint8] | None = None
    face: FaceBox | Sequence[int] | None = None
    faces: Mapping[Modality, FaceBox] = field(default_factory=dict)
    landmarks: NDArray[np.float32] | None = None
    frame_landmarks: Mapping[Modality, NDArray[np.float32]] = field(default_factory=dict)
    other_faces: tuple[FaceBox, ...] = ()
    taken_ms: Mapping[Modality, float] = field(default_factory=dict)
    stamps: Mapping[Modality, DeviceStamp] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check dtypes, shapes and face boxes on construction."""
        if self.face is not None:
            object.__setattr__(self, "face", FaceBox.of(self.face))
        boxes = _by_modality(self.faces, "faces", "face boxes")
        object.__setattr__(self, "faces", {m: FaceBox.of(box) for m, box in boxes.items()})
        points = _by_modality(self.frame_landmarks, "frame_landmarks", "landmarks")
        object.__setattr__(self, "frame_landmarks", points)
        times = _by_modality(self.taken_ms, "taken_ms", "milliseconds of time.monotonic")
        object.__setattr__(self, "taken_ms", times)
        stamps = _by_modality(self.stamps, "stamps", "a fasdk.capture.DeviceStamp")
        object.__setattr__(self, "stamps", stamps)
        self.require_sound()
        object.__setattr__(self, "other_faces", _boxes(self.other_faces))
        for modality, time_ms in times.items():
            _require_time(modality, time_ms)
        for modality, stamp in stamps.items():
            _require_stamp(modality, stamp)
        if self.landmarks is not None and not _are_landmarks(self.landmarks):
            raise CaptureError("landmarks must be five finite (x, y) pairs in pixels: [5, 2]")
        for modality, found in points.items():
            self.frame(modality)
            if not _are_landmarks(found):
                raise CaptureError(
                    f"frame_landmarks of {modality.value} must be five finite (x, y) pairs in "
                    "pixels: [5, 2]"
                )

    def require_sound(self) -> None:
        """Check the frames and boxes again: arrays can be reshaped in place after construction.

        Raises:
            CaptureError: As when the capture was made.
        """
        if not self.present:
            raise CaptureError("the capture holds no frame: give at least one of rgb, depth, ir")
        _require(Modality.RGB, self.rgb, np.uint8, "uint8 [H, W, 3], red first")
        _require(Modality.DEPTH, self.depth, np.uint16, "uint16 [H, W] in millimeters")
        _require(Modality.IR, self.ir, np.uint8, "uint8 [H, W]")
        if self.face is not None:
            FaceBox.of(self.face).require_inside(*self.size_of(self.present[0]))
        for modality, box in self.faces.items():
            box.require_inside(*self.size_of(modality))

    @classmethod
    def of(
        cls,
        frames: Mapping[Modality, NDArray[Any]],
        face: FaceBox | Sequence[int] | None = None,
        landmarks: NDArray[np.float32] | None = None,
    ) -> Capture:
        """Return a capture of frames by modality; see the attributes for what they must be."""
        given = _by_modality(frames, "frames", "frames")
        rgb, depth, ir = (given.get(m) for m in (Modality.RGB, Modality.DEPTH, Modality.IR))
        return cls(rgb=rgb, depth=depth, ir=ir, face=face, landmarks=landmarks)

    @property
    def present(self) -> tuple[Modality, ...]:
        """Modalities this capture holds, in the order rgb, depth, ir."""
        return _PRESENT[self.rgb is not None, self.depth is not None, self.ir is not None]

    def frame(self, modality: Modality | str) -> NDArray[Any]:
        """Return one modality's frame as it was given.

        Raises:
            CaptureError: The capture does not hold that modality, or there is none of that name.
        """
        modality = _modality(modality, "modality")
        frame = self._field(modality)
        if frame is None:
            held = ", ".join(m.value for m in self.present)
            raise CaptureError(f"the capture holds no {modality.value} frame, only {held}")
        return frame

    def size_of(self, modality: Modality | str) -> tuple[int, int]:
        """Return (width, height) in pixels of one modality's frame.

        Raises:
            CaptureError: The capture does not hold that modality, or there is none of that name.
        """
        modality = _modality(modality, "modality")
        height, width = self.frame(modality).shape[:2]
        return width, height

    def face_in(self, modality: Modality | str) -> FaceBox | None:
        """Return the face box in pixels of that modality's frame, or None if none was given.

        Raises:
            CaptureError: There is no modality of that name.
        """
        modality = _modality(modality, "modality")
        own = self.faces.get(modality)
        if own is not None:
            return own
        if self.face is None:
            return None
        box = FaceBox.of(self.face)
        return box.scaled_to(self.size_of(self.present[0]), self.size_of(modality))

    def landmarks_in(self, modality: Modality | str) -> NDArray[np.float32] | None:
        """Return the landmarks in pixels of that modality's frame, or None if none are known.

        Scaled ones are known only where the face box is scaled too: a frame with a box of its own
        shows another view.

        Raises:
            CaptureError: There is no modality of that name.
        """
        modality = _modality(modality, "modality")
        own = self.frame_landmarks.get(modality)
        if own is not None:
            return own
        first = self.present[0]
        if self.landmarks is None or modality is first:
            return self.landmarks
        if modality in self.faces:
            return None
        from_size, to_size = self.size_of(first), self.size_of(modality)
        if from_size == to_size:
            return self.landmarks
        return scaled_landmarks(self.landmarks, from_size, to_size)

    def _field(self, modality: Modality) -> NDArray[Any] | None:
        if modality is Modality.RGB:
            return self.rgb
        return self.depth if modality is Modality.DEPTH else self.ir


# A table, since every stage of a check needs it several times.
_PRESENT = {
    held: tuple(m for m, is_held in zip(Modality, held, strict=True) if is_held)
    for held in product((False, True), repeat=3)
}


def _whole(value: object, name: str) -> int:
    """Return a whole number of any numeric type as an int; detectors give NumPy and float."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    raise CaptureError(f"face box {name} is {value!r}, expected a whole number of pixels")


def scaled_landmarks(
    points: NDArray[np.float32], from_size: tuple[int, int], to_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return landmarks of one frame in pixels of another that shows the same view.

    Args:
        points: float32 [5, 2], x and y in pixels of the first frame.
        from_size: Width and height of that frame in pixels.
        to_size: Width and height of the other frame in pixels.
    """
    zoom = np.array([to_size[0] / from_size[0], to_size[1] / from_size[1]], np.float32)
    return np.asarray(points * zoom, np.float32)


def _modality(name: object, where: str) -> Modality:
    if isinstance(name, Modality):
        return name
    try:
        return Modality(name)
    except ValueError:
        known = ", ".join(m.value for m in Modality)
        raise CaptureError(f"{where} names {name!r}, expected one of {known}") from None


def _by_modality(values: object, name: str, of: str) -> dict[Modality, Any]:
    """Return a copy of a field that holds something for each modality, keys as members.

    Args:
        values: The field as it was given.
        name: Name of the field.
        of: What it holds, in words.
    """
    if not isinstance(values, Mapping):
        raise CaptureError(
            f"{name} is {_shown(values)}, expected {of} by modality; leave it out for none"
        )
    return {_modality(key, name): value for key, value in values.items()}


def _boxes(values: object) -> tuple[FaceBox, ...]:
    try:
        boxes: tuple[Any, ...] = tuple(islice(values, _MOST_FACES + 1))  # type: ignore[call-overload]
    except TypeError:
        raise CaptureError(
            f"other_faces is {_shown(values)}, expected several face boxes; leave it out for none"
        ) from None
    if len(boxes) > _MOST_FACES:
        raise CaptureError(f"other_faces has more than {_MOST_FACES:,} face boxes: give those near")
    return tuple(map(FaceBox.of, boxes))


def _shown(value: object) -> str:
    """Return a value of the wrong type for a message: None, or the name of its type."""
    return "None" if value is None else f"a {type(value).__name__}"


def _require_time(modality: Modality, time_ms: object) -> None:
    """Check that a time is a number; whether it is recent is for the quality gates."""
    is_number = isinstance(time_ms, (int, float, np.integer, np.floating))
    if isinstance(time_ms, bool) or not is_number or not _fits_float(time_ms):
        raise CaptureError(
            f"{modality.value} was taken at {time_ms!r:.40}, expected milliseconds of "
            "time.monotonic"
        )


def _require_stamp(modality: Modality, stamp: object) -> None:
    """Check that a stamp is one; whether it is plausible is for a track."""
    if not isinstance(stamp, DeviceStamp):
        raise CaptureError(
            f"stamps of {modality.value} is {_shown(stamp)}, expected a fasdk.capture.DeviceStamp"
        )
    number = stamp.number
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise CaptureError(
            f"stamps of {modality.value} has the number {number!r:.40}, expected a whole number"
        )
    if stamp.clock_ms is not None:
        _require_time(modality, stamp.clock_ms)


def _fits_float(number: Any) -> bool:
    try:
        float(number)
    except OverflowError:  # a whole number of more than 308 digits
        return False
    return True


def _are_landmarks(points: object) -> bool:
    return (
        isinstance(points, np.ndarray)
        and points.shape == (5, 2)
        and points.dtype.kind == "f"
        and bool(np.isfinite(points).all())
    )


def _require(modality: Modality, frame: object, dtype: type[np.generic], expected: str) -> None:
    if frame is None:
        return
    # Other arrays calculate otherwise: a masked one leaves pixels out, a matrix keeps its rows.
    if type(frame) is not np.ndarray and not isinstance(frame, np.memmap):
        raise CaptureError(
            f"{modality.value} is a {type(frame).__name__}, expected a NumPy array {expected}"
        )
    shape_fits = (
        frame.ndim == 3 and frame.shape[2] == 3 if modality is Modality.RGB else frame.ndim == 2
    )
    if frame.dtype != dtype or not shape_fits or 0 in frame.shape:
        raise CaptureError(
            f"{modality.value} is {frame.dtype} {list(frame.shape)}, expected {expected}"
            + (_how_to_millimeters(frame) if modality is Modality.DEPTH else "")
        )


def _how_to_millimeters(depth: NDArray[Any]) -> str:
    """Return how to convert distances in floating point; empty for another dtype."""
    if depth.dtype.kind != "f" or depth.size == 0:
        return ""
    known = depth[np.isfinite(depth)]
    fixes = []
    if known.size and float(known.max()) < LARGEST_IN_METERS:
        fixes.append("meters? multiply by 1000")
    if known.size < depth.size:
        fixes.append("NaN or infinity means no measurement: write 0 there")
    return ": " + "; ".join([*fixes, "then round to uint16"])
