"""Pixels outside an image, as OpenCV's copyMakeBorder makes them, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.preprocess.spec import Border

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTSIDE = -1  # index of a constant border


def border_index(at: NDArray[np.int64], size: int, border: Border) -> NDArray[np.int64]:
    """Return the sample that is seen at positions of an axis.

    Args:
        at: int64, positions from the first sample, which may lie anywhere.
        size: Number of samples.
        border: What is seen before the first and after the last one.

    Returns:
        int64 of `at`'s shape, in [0, size), or OUTSIDE where a constant is seen.
    """
    if border is Border.CONSTANT:
        return np.where((at >= 0) & (at < size), at, OUTSIDE)
    if border is Border.REPLICATE or size == 1:
        return np.clip(at, 0, size - 1)
    repeated = 0 if border is Border.REFLECT else 1  # mirrored without the last sample
    period = 2 * (size - repeated)
    within = at % period
    return np.where(within < size, within, period - 1 + repeated - within)


def extended(
    image: NDArray[np.uint8],
    rectangle: tuple[int, int, int, int],
    border: Border,
    level: int,
) -> NDArray[np.uint8]:
    """Return a rectangle of an image that may leave it.

    Args:
        image: uint8 [H, W] or [H, W, C].
        rectangle: left, top, width, height in the image's pixels.
        border: Pixels outside the image.
        level: Level of a constant border.

    Returns:
        uint8 [height, width] or [height, width, C].
    """
    left, top, width, height = rectangle
    if (left, top, width, height) == (0, 0, image.shape[1], image.shape[0]):
        return image
    rows = border_index(np.arange(top, top + height), image.shape[0], border)
    columns = border_index(np.arange(left, left + width), image.shape[1], border)
    made = image[rows][:, columns]
    made[rows == OUTSIDE] = level
    made[:, columns == OUTSIDE] = level
    return made
