"""Gray planes of frames: luma, area means and small filters.

OpenCV converts and scales where it can be imported, and is many times faster; elsewhere NumPy gives
the same luma, and the same means up to rounding in float32. The filters are NumPy's everywhere: the
planes they are for have 64 pixels a side.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.preprocess.area import area_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

# BT.601 in 1/32768, as OpenCV has them.
_RED, _GREEN, _BLUE, _SHIFT = 9798, 19235, 3735, 15
_REACH = 4  # sigmas that a Gaussian extends to either side


@lru_cache
def opencv() -> Any | None:
    """Return the module `cv2`, or None where it is not installed or cannot be imported."""
    try:
        return import_module("cv2")
    except (ImportError, OSError):
        return None


def gray(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (BT.601) of uint8 [H, W, 3], red first; uint8 [H, W] as it is."""
    if frame.ndim == 2:
        return frame
    cv2 = opencv()
    if cv2 is not None:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
    red, green, blue = (frame[..., channel].astype(np.uint32) for channel in range(3))
    weighted = red * _RED + green * _GREEN + blue * _BLUE + (1 << (_SHIFT - 1))
    return (weighted >> _SHIFT).astype(np.uint8)


def scaled(plane: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Return float32 [H, W] at another size, each pixel the mean of its area."""
    cv2 = opencv()
    if cv2 is None:
        return area_mean(plane, width, height)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def laplacian(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Laplacian of four neighbors, the plane mirrored about its outermost pixels."""
    around = np.pad(plane, 1, mode="reflect") if min(plane.shape) > 1 else np.pad(plane, 1, "edge")
    rows, columns = around[:, 1:-1], around[1:-1]
    around_sum = rows[:-2] + rows[2:] + columns[:, :-2] + columns[:, 2:]
    return np.asarray(around_sum - np.float32(4) * plane, np.float32)


def smoothed(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a plane under a Gaussian of sigma 1 pixel."""
    reach = np.arange(-_REACH, _REACH + 1)
    kernel = np.exp(-0.5 * reach.astype(np.float64) ** 2)
    return _filtered(plane, tuple(kernel / kernel.sum()), tuple(kernel / kernel.sum()))


def gradients(plane: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return Sobel's derivatives across and down."""
    difference, weight = (-1.0, 0.0, 1.0), (1.0, 2.0, 1.0)
    return _filtered(plane, weight, difference), _filtered(plane, difference, weight)


def box_mean(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the mean of the square of an odd side around each pixel."""
    kernel = (1.0 / side,) * side
    return _filtered(plane, kernel, kernel)


def _filtered(
    plane: NDArray[np.float32], down: tuple[float, ...], across: tuple[float, ...]
) -> NDArray[np.float32]:
    """Return a plane under a separable filter, mirrored about its outermost pixels."""
    rows, columns = _filter(down, plane.shape[0]), _filter(across, plane.shape[1])
    return np.asarray(rows @ plane @ columns.T, np.float32)


@lru_cache(maxsize=64)
def _filter(kernel: tuple[float, ...], size: int) -> NDArray[np.float32]:
    """Return float32 [size, size] that applies an odd kernel along an axis of that size."""
    matrix = np.zeros((size, size))
    last = max(size - 1, 1)
    for offset, weight in enumerate(kernel, -(len(kernel) // 2)):
        at = np.abs(np.arange(size) + offset) % (2 * last)
        at = np.minimum(np.where(at > last, 2 * last - at, at), size - 1)
        matrix[np.arange(size), at] += weight
    return matrix.astype(np.float32)
