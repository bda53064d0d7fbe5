"""Bilinear resize of 8-bit images, bit for bit what OpenCV does on x86-64, in NumPy.

The published models were trained on that arithmetic. OpenCV itself is no substitute everywhere: on
aarch64 its vendor kernels resize one-channel images differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Taps:
    """Where each output coordinate of one axis samples it.

    Attributes:
        first: int32 [to], index of the sample at or before the coordinate.
        second: int32 [to], index of the sample after it.
        first_weight: int32 [to], in 1/2048.
        second_weight: int32 [to], in 1/2048; the two can sum to 2049.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    first_weight: NDArray[np.int32]
    second_weight: NDArray[np.int32]


@lru_cache(maxsize=64)
def axis_taps(size: int, to: int, *, snap: bool) -> Taps:
    """Return the taps of an axis.

    Args:
        size: Source samples.
        to: Output samples.
        snap: Whether the weight snaps to the sample outside the first and the last one, as OpenCV
            does for columns; for rows it clamps the indices and keeps the weights.
    """
    scale = 1.0 / (to / size)
    centre = ((np.arange(to) + 0.5) * scale - 0.5).astype(np.float32)
    floor = np.floor(centre)
    index, fraction = floor.astype(np.int32), centre - floor
    if snap:
        fraction[(index < 0) | (index >= size - 1)] = 0.0
        index = np.clip(index, 0, size - 1)
    return Taps(
        np.clip(index, 0, size - 1),
        np.clip(index + 1, 0, size - 1),
        np.rint((np.float32(1) - fraction) * np.float32(2048)).astype(np.int32),
        np.rint(fraction * np.float32(2048)).astype(np.int32),
    )


def resize_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return the image at another size, as `cv2.resize` with INTER_LINEAR does on x86-64.

    Args:
        image: uint8 [H, W] or [H, W, C], not empty.
        width: Width in pixels, at least 1.
        height: Height in pixels, at least 1.

    Returns:
        uint8 [height, width] or [height, width, C].
    """
    if image.shape[:2] == (2 * height, 2 * width):  # an exact halving is averaged
        wide = image.astype(np.uint16)
        pairs = wide[::2] + wide[1::2]
        return np.asarray((pairs[:, ::2] + pairs[:, 1::2] + 2) >> 2, np.uint8)
    columns = axis_taps(image.shape[1], width, snap=True)
    rows = axis_taps(image.shape[0], height, snap=False)
    # Channels become columns, and rows nobody samples are left out: plain 2-D arithmetic is fast.
    channels = image.size // (image.shape[0] * image.shape[1])
    used = np.union1d(rows.first, rows.second)
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)[used]
    across = _samples(flat, columns.first, columns.first_weight, channels)
    across += _samples(flat, columns.second, columns.second_weight, channels)
    across >>= 4
    # Each product is truncated before the sum is rounded.
    upper = (across[np.searchsorted(used, rows.first)] * rows.first_weight[:, None]) >> 16
    lower = (across[np.searchsorted(used, rows.second)] * rows.second_weight[:, None]) >> 16
    resized = ((upper + lower + 2) >> 2).astype(np.uint8)
    return resized.reshape(height, width, *image.shape[2:])


def _samples(
    rows: NDArray[np.uint8], index: NDArray[np.int32], weight: NDArray[np.int32], channels: int
) -> NDArray[np.int32]:
    """Return the weighted samples of interleaved rows, int32 [rows, len(index) * channels]."""
    columns = (index[:, None] * channels + np.arange(channels)).ravel()
    taken: NDArray[np.int32] = np.take(rows, columns, axis=1).astype(np.int32)
    taken *= np.repeat(weight, channels)
    return taken
