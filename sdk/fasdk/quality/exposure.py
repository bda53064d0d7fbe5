"""How a frame is lit and how sharp it is, measured on the middle of a face."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import FaceBox

THUMBNAIL_PX = 64  # the middle of a face is scaled to a square of this side
_MID_LEVEL = 128.0
_CLIPPED = 250  # 8-bit levels from here on are as good as saturated


def middle_of(frame: NDArray[Any], box: FaceBox) -> NDArray[Any]:
    """Return the largest middle part of a face box that is all face: a view, never empty.

    A face fills about the ellipse its box encloses, and 1/√2 of each side is the largest part of
    the box inside that ellipse. The corners hold background, whose light, edges and distances are
    not the face's.
    """
    width, height = (max(1, round(side * math.sqrt(0.5))) for side in (box.width, box.height))
    left, top = box.x + (box.width - width) // 2, box.y + (box.height - height) // 2
    return frame[top : top + height, left : left + width]


def spans_at_most(frame: NDArray[Any], levels: int) -> bool:
    """Return whether each channel is all but one value, as of a covered lens or a dead sensor.

    Args:
        frame: [H, W] or [H, W, C] of an unsigned type.
        levels: Largest difference between a channel's largest and smallest value.
    """
    # A few pixels tell a picture from none; only where they cannot is every pixel looked at.
    few = frame[::32, ::32, 0] if frame.ndim == 3 else frame[::32, ::32]
    if int(few.max()) - int(few.min()) > levels:
        return False
    # Down the columns first: whole rows at a time are many times faster.
    lowest, highest = frame.min(axis=0), frame.max(axis=0)
    span = highest.max(axis=0).astype(np.int32) - lowest.min(axis=0).astype(np.int32)
    return bool((span <= levels).all())


@dataclass(frozen=True)
class FaceLight:
    """What the middle of a face looks like in luma (BT.601, 8 bits), scaled to 64x64 pixels.

    Attributes:
        highlight: 95th percentile of luma: the smallest level that 95 % of pixels do not exceed.
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
        box: The face in its pixels.
    """
    import cv2

    middle = middle_of(frame, box)
    gray = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY) if middle.ndim == 3 else middle
    # In floating point, since in a dim frame rounding would look like sharpness.
    luma = _thumbnail(gray.astype(np.float32))
    levels = np.rint(luma).astype(np.uint8)
    below = np.cumsum(np.bincount(levels.ravel(), minlength=256))
    highlight, upper_quartile = np.searchsorted(below, np.array([0.95, 0.75]) * levels.size)
    deviation = float(cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_32F, ksize=1))[1][0, 0])
    mean = float(luma.mean())
    sharpness = (deviation * _MID_LEVEL / mean) ** 2 if mean > 0.0 else 0.0
    return FaceLight(int(highlight), int(upper_quartile), sharpness)


def _thumbnail(gray: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 64x64, every pixel counting by its area, so that noise averages out.

    Halved while that leaves enough, without an odd last row or column: many times faster than in
    one step.
    """
    import cv2

    while min(gray.shape) >= 2 * THUMBNAIL_PX:
        height, width = gray.shape[0] // 2, gray.shape[1] // 2
        even = gray[: 2 * height, : 2 * width]
        gray = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.float32)


def saturated_share(frame: NDArray[np.uint8], box: FaceBox) -> float:
    """Return the share of the middle of a face, in [0, 1], at 8-bit levels of 250 and more."""
    import cv2

    middle = middle_of(frame, box)
    clipped = cv2.threshold(middle, _CLIPPED - 1, 255, cv2.THRESH_BINARY)[1]
    return cv2.countNonZero(clipped) / middle.size


@dataclass(frozen=True)
class FaceDepth:
    """What the depth sensor says of the middle of a face.

    Attributes:
        hole_share: Share of pixels in [0, 1] that hold no distance.
        median_mm: Median of the others, of a grid of at most 4,096 of them; None without any.
    """

    hole_share: float
    median_mm: float | None


def face_depth(frame: NDArray[np.uint16], box: FaceBox) -> FaceDepth:
    """Measure the middle of a face in a depth frame, uint16 [H, W] in millimeters."""
    import cv2

    middle = middle_of(frame, box)
    hole_share = 1.0 - cv2.countNonZero(middle) / middle.size
    step_y, step_x = (max(1, math.ceil(side / THUMBNAIL_PX)) for side in middle.shape)
    grid = middle[::step_y, ::step_x]
    known = grid[grid > 0]
    if known.size == 0:  # the grid may miss the few there are
        known = middle[middle > 0]
    return FaceDepth(hole_share, float(np.median(known)) if known.size else None)
