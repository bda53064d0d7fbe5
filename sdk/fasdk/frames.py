"""Image files read as the frames of a capture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import FileKind, open_bounded
from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk.image_file import Image, decode, read_bytes, stored_size
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED = {
    Modality.RGB: "8-bit color, three channels (PNG or JPEG)",
    Modality.DEPTH: "16-bit, one channel, in millimeters (PNG)",
    Modality.IR: "8-bit gray (PNG or JPEG)",
}
_EXPECTED_LEVELS = "8-bit gray (PNG or JPEG)"
_HEADER_BYTES = 2**18  # of a file, in which the size is looked for; EXIF has 64 KiB at most
_ARRAY_NAMES = {
    Modality.RGB: ("rgb", "color", "colour"),
    Modality.DEPTH: ("depth",),
    Modality.IR: ("ir", "nir", "infrared"),
}
# What rounding in a JPEG's color conversion may leave between the planes of a gray picture.
JPEG_GRAY_TOLERANCE = 8
_FULL_RANGE = 4096  # a 16-bit color picture below it has its samples in the low 12 bits


@dataclass(frozen=True)
class FrameUnits:
    """Units of the numbers in depth and infrared files.

    Attributes:
        depth_scale_mm: Millimeters of one unit of a depth file, such as 0.1 for 100 micrometers or
            1000 for meters. None takes whole numbers as millimeters and refuses floating point.
        ir_shift: Bits that a 16-bit infrared file is shifted right by, 2 for 10-bit samples. None
            takes 8-bit files alone, and files that state their bits themselves.

    Raises:
        CaptureError: A scale is not a finite number above 0, or a shift none of 0 to 8.
    """

    depth_scale_mm: float | None = None
    ir_shift: int | None = None

    def __post_init__(self) -> None:
        """Check both numbers."""
        scale, shift = self.depth_scale_mm, self.ir_shift
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise CaptureError(
                f"depth_scale_mm is {scale}, expected millimeters above 0: 0.1 for 100 micrometers"
            )
        if shift is not None and not 0 <= shift <= 8:
            raise CaptureError(
                f"ir_shift is {shift}, expected 0 to 8 bits: 2 for 10-bit, 4 for 12-bit and 8 for "
                "16-bit infrared"
            )


@dataclass(frozen=True, eq=False)
class NotedFrame:
    """A frame with what was decided about its file.

    Attributes:
        frame: Array as `fasdk.Capture` takes it.
        notes: Kinds of remarks, the same words for every file of a kind.
    """

    frame: NDArray[Any]
    notes: tuple[str, ...] = ()


def read_frame(
    path: Path, modality: Modality | str, units: FrameUnits | None = None
) -> NDArray[Any]:
    """Return one frame from an image file, as `fasdk.Capture` takes it.

    EXIF orientation is applied, as viewers and face detectors do; the content decides what a file
    is, not its name. See `read_noted_frame` for what is converted.

    Returns:
        rgb: uint8 [H, W, 3], red first. depth: uint16 [H, W], millimeters. ir: uint8 [H, W].

    Raises:
        CaptureError: The file is missing, truncated or no image, or has another bit depth or
            number of channels than its modality.
        PackageError: OpenCV is needed to decode it, and is not installed.
        UsageError: There is no modality of that name.
    """
    return read_noted_frame(path, as_choice("modality", modality, Modality), units).frame


def read_noted_frame(path: Path, modality: Modality, units: FrameUnits | None = None) -> NotedFrame:
    """Return one frame from an image file and what was decided about the file.

    Opacity is dropped. A gray picture in the place of color gets three equal planes; 16-bit color
    its upper eight bits. Three equal planes of infrared or depth, or of a JPEG at most 8 levels
    apart, are one. Depth in floating point needs `units.depth_scale_mm`; not finite and not
    positive means no measurement. 16-bit infrared needs `units.ir_shift`, unless the file states
    its significant bits.

    Raises:
        CaptureError: As for `read_frame`.
    """
    path = Path(path)
    data = read_bytes(path, f"{modality.value} frame {path}")
    return decode_noted_frame(data, modality, str(path), units)


def decode_noted_frame(
    data: bytes, modality: Modality, name: str, units: FrameUnits | None = None
) -> NotedFrame:
    """Return the frame that an image file's bytes hold; see `read_noted_frame`.

    Args:
        data: The whole file.
        modality: Modality of the frame.
        name: What an error calls the file.
        units: Units of the numbers in it; None for the defaults.

    Raises:
        CaptureError: As for `read_frame`.
        PackageError: OpenCV is needed to decode it, and is not installed.
    """
    units = units or FrameUnits()
    image, notes = _decode(data, modality, name)
    frame: NDArray[Any]
    if modality is Modality.RGB:
        frame = _color(image, name, notes)
    elif modality is Modality.IR:
        frame = _infrared(image, name, units, notes)
    else:
        frame = _depth(image, name, units, notes)
    return NotedFrame(np.ascontiguousarray(frame), tuple(notes))


def read_depth_levels(path: Path) -> NDArray[np.uint8]:
    """Return depth that a data set drew in 8 bits.

    Returns:
        uint8 [H, W]; 0 where the sensor saw nothing. Three channels are reduced as infrared's are.

    Raises:
        CaptureError: The file is missing, truncated or no image, or is no 8-bit gray picture.
    """
    name = str(Path(path))
    data = read_bytes(Path(path), f"{Modality.DEPTH.value} frame {name}")
    image, _ = _decode(data, Modality.DEPTH, name)
    planes = _one_plane(image, name, Modality.DEPTH, _EXPECTED_LEVELS)
    if planes.dtype != np.uint8:
        raise _unexpected(
            planes[..., None],
            name,
            Modality.DEPTH,
            _EXPECTED_LEVELS,
            fix=": leave depth_unit out where the numbers are millimeters",
        )
    return np.ascontiguousarray(planes)


def frame_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) of an image file in pixels as `read_frame` gives it, or None.

    The header tells, but for a TIFF whose directory stands last, and arrays, which are read.
    """
    try:
        with open_bounded(path, FileKind.FRAME) as file:
            size = stored_size(file.read(_HEADER_BYTES))
        if size is not None:
            return size
        planes = decode(read_bytes(path)).planes
    except (OSError, ValueError, CaptureError):  # no file has a name with half a surrogate pair
        return None
    return planes.shape[1], planes.shape[0]


def _decode(data: bytes, modality: Modality, name: str) -> tuple[Image, list[str]]:
    """Return a file's image without opacity, and the notes on it."""
    try:
        image = decode(data, _ARRAY_NAMES[modality])
    except CaptureError as error:
        raise CaptureError(
            f"{modality.value} frame {name} does not decode as an image: {error}"
        ) from error
    notes = list(image.notes)
    if image.planes.shape[2] in (2, 4):
        notes.append("opacity (alpha) is left out")
        image = Image(image.planes[..., :-1], image.lossy, image.bits)
    return image, notes


def _color(image: Image, name: str, notes: list[str]) -> NDArray[np.uint8]:
    planes = image.planes
    if planes.dtype == np.uint8 and planes.shape[2] == 1:
        notes.append("gray pictures in the place of color get three equal planes")
        planes = planes.repeat(3, axis=2)
    if planes.dtype == np.uint16 and planes.shape[2] == 3:
        largest = int(planes.max())
        if largest < _FULL_RANGE:
            raise _unexpected(
                planes,
                name,
                Modality.RGB,
                _EXPECTED[Modality.RGB],
                f", largest value {largest}",
                ": its samples are in the low bits: shift them to 8 bits",
            )
        notes.append("of 16-bit color the upper 8 bits are taken")
        planes = (planes >> 8).astype(np.uint8)
    if planes.dtype != np.uint8 or planes.shape[2] != 3:
        fix = ": is it in the column of another modality?" if planes.shape[2] == 1 else ""
        raise _unexpected(planes, name, Modality.RGB, _EXPECTED[Modality.RGB], fix=fix)
    return planes[..., ::-1]


def _infrared(image: Image, name: str, units: FrameUnits, notes: list[str]) -> NDArray[np.uint8]:
    expected = _EXPECTED[Modality.IR]
    plane = _one_plane(image, name, Modality.IR, expected)
    if plane.dtype == np.uint8:
        if units.ir_shift:
            raise CaptureError(
                f"ir frame {name} is 8-bit, and ir_shift {units.ir_shift} is for 16-bit files: "
                "leave ir_shift out"
            )
        return plane
    if plane.dtype != np.uint16:
        raise _unexpected(
            plane[..., None], name, Modality.IR, expected, fix=": store it in 8 bits, or in 16"
        )
    shift, largest = units.ir_shift, int(plane.max())
    if shift is None and image.bits is not None and 8 < image.bits <= 16:
        shift = image.bits - 8
        notes.append(f"infrared of {image.bits} bits, as its file states, is shifted by {shift}")
    fitting = max(0, largest.bit_length() - 8)
    if shift is None:
        raise _unexpected(
            plane[..., None],
            name,
            Modality.IR,
            expected,
            f", largest value {largest}",
            f": say by how many bits to shift it right: ir_shift {max(fitting, 1)} for "
            f"{max(fitting, 1) + 8}-bit samples",
        )
    if largest >> shift > 255:
        raise CaptureError(
            f"ir frame {name} has the value {largest}, which ir_shift {shift} does not bring to "
            f"8 bits: give ir_shift {fitting}"
        )
    return np.asarray(plane >> shift).astype(np.uint8)


def _depth(image: Image, name: str, units: FrameUnits, notes: list[str]) -> NDArray[np.uint16]:
    plane = _one_plane(image, name, Modality.DEPTH, _EXPECTED[Modality.DEPTH])
    scale = units.depth_scale_mm
    if plane.dtype == np.uint8:
        raise _unexpected(
            plane[..., None],
            name,
            Modality.DEPTH,
            _EXPECTED[Modality.DEPTH],
            fix=': where it is depth drawn as 8-bit levels, say depth_unit "level"',
        )
    if plane.dtype.kind == "f":
        if scale is None:
            raise _unexpected(
                plane[..., None],
                name,
                Modality.DEPTH,
                _EXPECTED[Modality.DEPTH],
                f" in floating point, {_median_of(plane)}",
                ": say its unit: depth_scale_mm 1000 for meters, 1 for millimeters",
            )
        notes.append("depth in floating point is rounded to whole millimeters")
    elif plane.dtype == np.uint16 and scale in (None, 1.0):
        return plane
    elif plane.dtype.kind not in "ui":
        raise _unexpected(plane[..., None], name, Modality.DEPTH, _EXPECTED[Modality.DEPTH])
    # What is not a positive number is no measurement; nothing of a face lies past 65 m.
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.nan_to_num(plane.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        millimeters = np.rint(distances * (1.0 if scale is None else scale))
    return np.clip(millimeters, 0, 65535).astype(np.uint16)


def _median_of(plane: NDArray[Any]) -> str:
    known = plane[np.isfinite(plane) & (plane > 0)]
    return f"median {float(np.median(known)):.4g}" if known.size else "without a measurement"


def _one_plane(image: Image, name: str, modality: Modality, expected: str) -> NDArray[Any]:
    """Return [H, W] of a picture whose planes are equal, or of a JPEG all but equal."""
    planes = image.planes
    if planes.shape[2] == 1:
        return planes[..., 0]
    if planes.shape[2] == 3 and planes.dtype in (np.uint8, np.uint16):
        apart = int((planes.max(axis=2) - planes.min(axis=2)).max())
        if apart == 0:
            return planes[..., 0]
        if image.lossy and planes.dtype == np.uint8 and apart <= JPEG_GRAY_TOLERANCE:
            import cv2

            return np.asarray(cv2.cvtColor(planes, cv2.COLOR_BGR2GRAY), np.uint8)
        raise _unexpected(
            planes, name, modality, expected, f", planes not equal, {apart} levels apart"
        )
    raise _unexpected(planes, name, modality, expected)


def _unexpected(
    planes: NDArray[Any],
    name: str,
    modality: Modality,
    expected: str,
    more: str = "",
    fix: str = "",
) -> CaptureError:
    channels = planes.shape[2]
    is_usual = planes.dtype in (np.uint8, np.uint16)
    kind = f"{planes.dtype.itemsize * 8}-bit" if is_usual else f"{planes.dtype}"
    return CaptureError(
        f"{modality.value} frame {name} is {kind} with {channels} "
        f"channel{'s' if channels > 1 else ''}{more}, expected {expected}{fix}"
    )
