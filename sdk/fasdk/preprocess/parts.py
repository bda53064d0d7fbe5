"""Parts of frames that tensors are made of, for a device that makes the tensors itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.preprocess.alignment import Alignment
from fasdk.preprocess.borders import OUTSIDE, border_index
from fasdk.preprocess.geometry import view_of
from fasdk.preprocess.tensors import require_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import FaceBox
    from fasdk.preprocess.geometry import Region
    from fasdk.preprocess.spec import Border, PreprocessSpec

_COORDINATES = -32768, 32767  # whole pixels; aligned coordinates are held in 16 bits


@dataclass(frozen=True, eq=False)
class FramePart:
    """Smallest rectangle of a frame that one tensor is made of.

    Attributes:
        pixels: View of the frame: uint8 [h, w] or [h, w, 3], or uint16 [h, w]; any strides.
        corner: (left, top) of the rectangle in pixels of the frame.
        frame_size: (width, height) of the frame in pixels.
        view: What the tensor shows: a region in pixels of the rectangle, which leaves it where the
            crop leaves the frame; or an aligned face in pixels of the frame.
    """

    pixels: NDArray[Any]
    corner: tuple[int, int]
    frame_size: tuple[int, int]
    view: Region | Alignment


def part_of(
    frame: NDArray[Any],
    face: FaceBox | None,
    spec: PreprocessSpec,
    *,
    landmarks: NDArray[np.floating] | None = None,
) -> FramePart:
    """Return the part of a frame that `fasdk.preprocess.to_tensor` reads.

    Args:
        frame: The frame, as for `to_tensor`.
        face: The face in pixels of this frame; needed when `spec.crop` is the face.
        spec: The modality's preprocessing.
        landmarks: Float [5, 2], as for `to_tensor`; needed when `spec.crop` is landmarks.

    Raises:
        PreprocessError: The frame and the spec do not fit, or the face box or the landmarks are
            missing or elsewhere.
    """
    require_frame(frame, spec)
    size = frame.shape[1], frame.shape[0]
    view = view_of(size, face, landmarks, spec)
    if isinstance(view, Alignment):
        rows = _needed(view.to_frame[3:], (spec.width, spec.height), size[1], spec.border)
        columns = _needed(view.to_frame[:3], (spec.width, spec.height), size[0], spec.border)
        pixels = frame[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
        return FramePart(pixels, (columns[0], rows[0]), size, view)
    left, top, right, bottom = view
    x, y = max(left, 0), max(top, 0)
    pixels = frame[y : bottom + 1, x : right + 1]
    return FramePart(pixels, (x, y), size, (left - x, top - y, right - x, bottom - y))


def _needed(
    row: tuple[float, ...], out_size: tuple[int, int], size: int, border: Border
) -> tuple[int, int]:
    """Return the first and the last index of one axis that an aligned face is interpolated from.

    Args:
        row: Three numbers of `Alignment.to_frame`: the axis' coordinate of pixel (x, y).
        out_size: (width, height) of the aligned image in pixels.
        size: Length of the axis in pixels.
        border: Pixels outside the frame.
    """
    a, b, c = row
    # Both terms rise or fall all the way, rounded or not, so that the ends are at the corners.
    along = [round(a * x * 1024.0) for x in (0, out_size[0] - 1)]
    start = [round((b * y + c) * 1024.0) + 16 for y in (0, out_size[1] - 1)]
    low = _pixel(min(along) + min(start))
    high = _pixel(max(along) + max(start)) + 1
    if low >= 0 and high < size:
        return low, high
    if high - low >= 2 * size:
        return 0, size - 1
    indices = border_index(np.arange(low, high + 1), size, border)
    inside = indices[indices != OUTSIDE]
    return (int(inside.min()), int(inside.max())) if inside.size else (0, 0)


def _pixel(place_1024: int) -> int:
    return min(max(place_1024 >> 10, _COORDINATES[0]), _COORDINATES[1])
