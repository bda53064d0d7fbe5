"""Thumbnails of a capture's frames as data URIs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk.extras import require_package
from fasdk.preprocess import depth_to_8bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.preprocess import DepthEncoding

HEIGHT = 112  # pixels
WIDEST = 168


def thumbnail(capture: Capture, modality: Modality, encoding: DepthEncoding | None) -> str:
    """Return one frame as a PNG data URI, the face box drawn in where there is one.

    Args:
        capture: Holds the frame.
        modality: Modality of the frame.
        encoding: Depth encoding of the model; without one, the frame's own range is spread.

    Raises:
        DatasetError: OpenCV cannot encode it.
        PackageError: OpenCV is not installed.
    """
    require_package("cv2", "a report with faces")
    import cv2

    picture = _picture(capture.frame(modality), modality, encoding)
    height, width = picture.shape[:2]
    factor = min(HEIGHT / height, WIDEST / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    face = capture.face_in(modality)
    if face is not None:
        corner = (int(face.x * factor), int(face.y * factor))
        opposite = (
            min(size[0] - 1, int((face.x + face.width) * factor)),
            min(size[1] - 1, int((face.y + face.height) * factor)),
        )
        cv2.rectangle(small, corner, opposite, (255, 255, 255), 1)
    encoded, data = cv2.imencode(".png", small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not encoded:
        raise DatasetError(f"OpenCV cannot encode a {modality.value} frame as PNG")
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


def _picture(
    frame: NDArray[Any], modality: Modality, encoding: DepthEncoding | None
) -> NDArray[np.uint8]:
    """Return uint8, gray or blue first."""
    if modality is Modality.RGB:
        return np.ascontiguousarray(frame[..., ::-1])
    if modality is Modality.IR:
        return np.ascontiguousarray(frame)
    if encoding is not None:
        return np.ascontiguousarray(depth_to_8bit(frame, encoding))
    seen = frame[frame > 0]
    if not seen.size:
        return np.zeros(frame.shape, np.uint8)
    low, high = (int(v) for v in np.percentile(seen, [1, 99]))
    spread = 255.0 * (high - frame.astype(np.float64)) / max(1, high - low)
    return np.where(frame > 0, np.clip(spread, 1, 255), 0).astype(np.uint8)
