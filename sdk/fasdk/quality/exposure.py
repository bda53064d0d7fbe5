"""Brightness, sharpness and depth of the middle of a face, and light of a whole frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.quality.planes import gray, laplacian, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import FaceBox

THUMBNAIL_PX = 64  # the middle of a face is scaled to a square of this side
_WHOLE_FRAME_PX = 96  # a whole frame is looked at on a grid of about this many rows
_MID_GRAY = 128.0
_CLIPPED = 250  # 8-bit values from here on count as saturated


def middle_of(frame: NDArray[Any], box: FaceBox) -> NDArray[Any]:
    """Return the largest middle part of a face box that holds only face: a view, never empty.

    A face fills about the ellipse its box encloses, and 1/√2 of each side is the largest part of
    the box inside that ellipse. The corners hold background, whose light, edges and distances
    differ from the face's.

    Args:
        frame: [H, W] or [H, W, C].
        box: Face box in its pixels.
    """
    width, height = (max(1, round(side * math.sqrt(0.5))) for side in (box.width, box.height))
    left, top = box.x + (box.width - width) // 2, box.y + (box.height - height) // 2
    return frame[top : top + height, left : left + width]


def spans_at_most(frame: NDArray[Any], span: int) -> bool:
    """Return whether each channel is almost constant, as of a covered lens or a dead sensor.

    Args:
        frame: [H, W] or [H, W, C] of an unsigned type.
        span: Largest difference between a channel's largest and smallest value.
    """
    # A few pixels usually show that a frame is not blank; else every pixel is checked.
    few = frame[::32, ::32, 0] if frame.ndim == 3 else frame[::32, ::32]
    if int(few.max()) - int(few.min()) > span:
        return False
    # Down the columns first: whole rows at a time are many times faster.
    lowest, highest = frame.min(axis=0), frame.max(axis=0)
    found = highest.max(axis=0).astype(np.int32) - lowest.min(axis=0).astype(np.int32)
    return bool((found <= span).all())


def is_unlit(frame: NDArray[np.uint8], least: int) -> bool:
    """Return whether almost all of an infrared frame is dark, as between two flashes of an emitter.

    Args:
        frame: uint8 [H, W].
        least: Level that at least 1 % of a lit frame's pixels reach: its 99th percentile.
    """
    step = max(1, min(frame.shape) // _WHOLE_FRAME_PX)
    grid = frame[::step, ::step]
    # A hundredth of the pixels, and at least one, since a small frame may have fewer than 100.
    return int(np.count_nonzero(grid >= least)) < max(1.0, 0.01 * grid.size)


@dataclass(frozen=True)
class FaceLight:
    """Luma statistics of the middle of a face (BT.601, 8 bits), scaled to 64x64 pixels.

    Attributes:
        highlight: 95th percentile of luma: the smallest value that 95 % of pixels do not exceed.
        upper_quartile: 75th percentile of luma, likewise.
        sharpness: Variance of the Laplacian (four neighbors) times (128 / mean)²: as if the face
            were exposed to mid gray, so that dim light does not pass for blur.
    """

    highlight: int
    upper_quartile: int
    sharpness: float


def face_light(frame: NDArray[np.uint8], box: FaceBox) -> FaceLight:
    """Measure the middle of a face.

    Args:
        frame: uint8 [H, W, 3], red first, or [H, W].
        box: Face box in its pixels.
    """
    # In floating point: in a dim frame, rounding would add to the measured sharpness.
    luma = _thumbnail(gray(middle_of(frame, box)).astype(np.float32))
    values = np.rint(luma).astype(np.uint8)
    below = np.cumsum(np.bincount(values.ravel(), minlength=256))
    highlight, upper_quartile = np.searchsorted(below, np.array([0.95, 0.75]) * values.size)
    deviation = float(laplacian(luma).std(dtype=np.float64))
    mean = float(luma.mean())
    sharpness = (deviation * _MID_GRAY / mean) ** 2 if mean > 0.0 else 0.0
    return FaceLight(int(highlight), int(upper_quartile), sharpness)


def _thumbnail(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 64x64 pixels, each the mean of its area, so that noise averages out.

    Halved while that leaves enough, without an odd last row or column: many times faster than in
    one step.
    """
    while min(plane.shape) >= 2 * THUMBNAIL_PX:
        height, width = plane.shape[0] // 2, plane.shape[1] // 2
        plane = scaled(plane[: 2 * height, : 2 * width], width, height)
    return scaled(plane, THUMBNAIL_PX, THUMBNAIL_PX)


def saturated_share(frame: NDArray[np.uint8], box: FaceBox) -> float:
    """Return the fraction of the middle of a face, in [0, 1], with 8-bit values of 250 and more."""
    middle = middle_of(frame, box)
    return int(np.count_nonzero(middle >= _CLIPPED)) / middle.size


@dataclass(frozen=True)
class FaceDepth:
    """Depth statistics of the middle of a face.

    Attributes:
        hole_share: Fraction of pixels without a distance, in [0, 1].
        median_mm: Median distance in millimeters, of a grid of at most 4,096 pixels; None where no
            pixel has one.
    """

    hole_share: float
    median_mm: float | None


def face_depth(frame: NDArray[np.uint16], box: FaceBox) -> FaceDepth:
    """Measure the middle of a face in a depth frame, uint16 [H, W] in millimeters."""
    middle = middle_of(frame, box)
    hole_share = 1.0 - int(np.count_nonzero(middle)) / middle.size
    step_y, step_x = (max(1, math.ceil(side / THUMBNAIL_PX)) for side in middle.shape)
    grid = middle[::step_y, ::step_x]
    known = grid[grid > 0]
    if known.size == 0:  # the grid may miss the few there are
        known = middle[middle > 0]
    return FaceDepth(hole_share, float(np.median(known)) if known.size else None)
