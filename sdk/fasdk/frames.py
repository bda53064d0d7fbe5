"""Image files read as the frames of a capture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED = {
    Modality.RGB: "8-bit color, three channels (PNG or JPEG)",
    Modality.DEPTH: "16-bit, one channel, in millimeters (PNG)",
    Modality.IR: "8-bit gray (PNG or JPEG)",
}
_EXPECTED_LEVELS = "8-bit gray (PNG or JPEG)"
# What rounding in a JPEG's color conversion may leave between the planes of a gray picture.
JPEG_GRAY_TOLERANCE = 8
_JPEG = b"\xff\xd8"


def read_frame(path: Path, modality: Modality | str) -> NDArray[Any]:
    """Return one frame from an image file, as `fasdk.Capture` takes it.

    A JPEG's EXIF orientation is applied, as viewers and face detectors do.

    Returns:
        rgb: uint8 [H, W, 3], red first. depth: uint16 [H, W], millimeters. ir: uint8 [H, W]; a
        three-channel file is reduced when its planes are equal, or of a JPEG at most 8 levels
        apart, to their luma.

    Raises:
        CaptureError: The file is missing, truncated or no image, or has another bit depth or
            number of channels than its modality.
    """
    modality = as_choice("modality", modality, Modality)
    path = Path(path)
    planes, lossy = _planes(path, modality, _EXPECTED[modality])
    if modality is Modality.IR:
        return _gray(planes, path, modality, lossy=lossy)
    wanted, channels = (np.uint8, 3) if modality is Modality.RGB else (np.uint16, 1)
    if planes.dtype != wanted or planes.shape[2] != channels:
        raise _unexpected(planes, path, modality, _EXPECTED[modality])
    return np.ascontiguousarray(planes[..., ::-1] if channels == 3 else planes[..., 0])


def read_depth_levels(path: Path) -> NDArray[np.uint8]:
    """Return depth that a data set drew in 8 bits.

    Returns:
        uint8 [H, W]; 0 where the sensor saw nothing. Three channels are reduced as infrared's are.

    Raises:
        CaptureError: The file is missing, truncated or no image, or is no 8-bit gray picture.
    """
    path = Path(path)
    planes, lossy = _planes(path, Modality.DEPTH, _EXPECTED_LEVELS)
    return _gray(planes, path, Modality.DEPTH, lossy=lossy)


def _planes(path: Path, modality: Modality, expected: str) -> tuple[NDArray[Any], bool]:
    """Return a file's planes, blue first, [H, W, channels], and whether it is a JPEG."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(
            f"cannot read {modality.value} frame {path}: {error.strerror}"
        ) from error
    frame = _decode(data)
    if frame is None:
        raise CaptureError(
            f"{modality.value} frame {path} does not decode as an image: expected {expected}"
        )
    return frame[..., None] if frame.ndim == 2 else frame, data.startswith(_JPEG)


def _gray(
    planes: NDArray[Any], path: Path, modality: Modality, *, lossy: bool
) -> NDArray[np.uint8]:
    if planes.dtype == np.uint8 and planes.shape[2] == 1:
        return np.ascontiguousarray(planes[..., 0])
    if planes.dtype == np.uint8 and planes.shape[2] == 3:
        apart = int((planes.max(axis=2) - planes.min(axis=2)).max())
        if apart == 0:
            return np.ascontiguousarray(planes[..., 0])
        if lossy and apart <= JPEG_GRAY_TOLERANCE:
            import cv2

            return np.asarray(cv2.cvtColor(planes, cv2.COLOR_BGR2GRAY), np.uint8)
        raise _unexpected(
            planes, path, modality, _EXPECTED_LEVELS, f", planes not equal, {apart} levels apart"
        )
    raise _unexpected(planes, path, modality, _EXPECTED_LEVELS)


def _unexpected(
    planes: NDArray[Any], path: Path, modality: Modality, expected: str, more: str = ""
) -> CaptureError:
    channels = planes.shape[2]
    return CaptureError(
        f"{modality.value} frame {path} is {planes.dtype.itemsize * 8}-bit with {channels} "
        f"channel{'s' if channels > 1 else ''}{more}, expected {expected}"
    )


def _decode(data: bytes) -> NDArray[Any] | None:
    """Return the image as stored, blue first, or None when it is damaged or no image."""
    import cv2

    if not _is_whole(data):
        return None
    buffer = np.frombuffer(data, np.uint8)
    try:
        frame = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        if frame is not None and frame.ndim == 3 and b"Exif\0\0" in data[:65536]:
            frame = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if frame is None else np.asarray(frame)


def _is_whole(data: bytes) -> bool:
    """Return whether a PNG or JPEG has its end; some OpenCV releases decode half a file."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-64:]
    if data.startswith(_JPEG):
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return len(data) > 0
