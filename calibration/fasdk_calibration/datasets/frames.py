"""Image files as the frames a capture is made of, and frames as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.errors import CaptureError, DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED = {
    Modality.RGB: "8-bit colour, three channels (PNG or JPEG)",
    Modality.DEPTH: "16-bit, one channel, in millimetres (PNG)",
    Modality.IR: "8-bit grey (PNG or JPEG)",
}


def read_frame(path: Path, modality: Modality) -> NDArray[Any]:
    """Return one frame from an image file, as `fasdk.Capture` takes it.

    A JPEG's EXIF orientation is applied, as viewers and face detectors do.

    Returns:
        rgb: uint8 [H, W, 3], red first. depth: uint16 [H, W], millimetres. ir: uint8 [H, W]; a
        three-channel file is reduced when its planes are equal.

    Raises:
        CaptureError: The file is missing, truncated or no image, or has another bit depth or
            number of channels than its modality.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(
            f"cannot read {modality.value} frame {path}: {error.strerror}"
        ) from error
    frame = _decode(data)
    if frame is None:
        raise CaptureError(
            f"{modality.value} frame {path} does not decode as an image: "
            f"expected {_EXPECTED[modality]}"
        )
    planes = frame[..., None] if frame.ndim == 2 else frame
    wanted = np.uint16 if modality is Modality.DEPTH else np.uint8
    channels = planes.shape[2]
    if planes.dtype == wanted:
        if modality is Modality.RGB and channels == 3:
            return np.ascontiguousarray(planes[..., ::-1])
        if modality is not Modality.RGB and channels == 1:
            return np.ascontiguousarray(planes[..., 0])
        if modality is Modality.IR and channels == 3 and _is_grey(planes):
            return np.ascontiguousarray(planes[..., 0])
    unequal = ", planes not equal" if modality is Modality.IR and channels == 3 else ""
    raise CaptureError(
        f"{modality.value} frame {path} is {planes.dtype.itemsize * 8}-bit with {channels} "
        f"channel{'s' if channels > 1 else ''}{unequal}, expected {_EXPECTED[modality]}"
    )


def encode_png(frame: NDArray[Any]) -> bytes:
    """Return a frame as the bytes of a PNG file.

    Raises:
        DatasetError: OpenCV cannot encode it.
    """
    import cv2

    planes = frame[..., ::-1] if frame.ndim == 3 else frame
    # Level 1 costs a few per cent of size and a third of the time.
    encoded, data = cv2.imencode(".png", planes, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise DatasetError(f"OpenCV cannot encode a {frame.dtype} {list(frame.shape)} frame as PNG")
    return bytes(data.tobytes())


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
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return len(data) > 0


def _is_grey(planes: NDArray[Any]) -> bool:
    return bool(
        (planes[..., 0] == planes[..., 1]).all() and (planes[..., 1] == planes[..., 2]).all()
    )
