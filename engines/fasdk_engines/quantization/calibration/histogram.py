"""Streaming accumulators of activation statistics: channel histograms and product sums.

The range of the values need not be known in advance. Both accumulators give the same result, to
rounding, however the values are split into parts, so one pass over the captures is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRID = 512  # bins of the grid: at least half of them lie within a channel's range
# A float32 number has 24 bits: a grid finer than 2^-24 of the range would only overflow.
_FINEST, _RELATIVELY_FINEST = -100, -24
_ROWS_AT_ONCE = 2048  # with fewer rows, adding a wide product takes as long as computing it


class GrowingHistogram:
    """Counts of each channel's values on a grid that coarsens as the channel's range grows.

    A channel's bins are [i * 2^k, (i + 1) * 2^k), with the smallest k for which `_GRID` of them
    cover its range. Each bin of a coarser grid is the union of whole bins of a finer one, so
    widening loses nothing, and k and counts depend on the values alone, not on their order.

    Attributes:
        low: float64 [C], least value of each channel.
        high: float64 [C], greatest value of each channel.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] | None = None
        self._exponent: NDArray[np.int64] = np.empty(0, np.int64)
        self._origin: NDArray[np.int64] = np.empty(0, np.int64)

    def add(
        self,
        rows: NDArray[np.float32],
        low: NDArray[np.float32] | None = None,
        high: NDArray[np.float32] | None = None,
    ) -> None:
        """Count values.

        Args:
            rows: float32 [rows, C], finite.
            low: float32 [C], least values; None takes those of `rows`.
            high: float32 [C], greatest values; None takes those of `rows`.
        """
        low = rows.min(axis=0) if low is None else low
        high = rows.max(axis=0) if high is None else high
        if self._counts is None:
            self.low, self.high = low.astype(np.float64), high.astype(np.float64)
            self._exponent, self._origin = _grid(self.low, self.high)
            self._counts = np.zeros((len(self.low), _GRID), np.int64)
        else:
            self._counts = self._widened(self._counts, low, high)
        scale = np.exp2(-self._exponent).astype(np.float32)
        # Exact: a power of two, then whole numbers whose difference is less than the grid.
        bins = np.floor(rows * scale)
        bins -= self._origin.astype(np.float32)
        flat = bins.astype(np.int32)
        flat += _GRID * np.arange(len(scale), dtype=np.int32)
        found = np.bincount(flat.ravel(), minlength=self._counts.size)
        self._counts += found.reshape(self._counts.shape)

    def counts(self, parts: int) -> NDArray[np.float32]:
        """Return float32 [C, parts], the number of values in each equal part of [low, high].

        Values of a grid bin that a part boundary cuts are taken as evenly spread over the bin.
        """
        if self._counts is None:
            raise ValueError("nothing was counted")
        width = (self.high - self.low) / parts
        edges = self.low[:, None] + width[:, None] * np.arange(parts + 1)
        place = edges * np.exp2(-self._exponent)[:, None] - self._origin[:, None]
        reached = np.zeros((len(self._counts), _GRID + 1))
        np.cumsum(self._counts, axis=1, out=reached[:, 1:])
        before = np.clip(np.floor(place).astype(np.int64), 0, _GRID - 1)
        at = np.take_along_axis(reached, before, axis=1)
        following = np.take_along_axis(reached, before + 1, axis=1)
        below = at + (following - at) * np.clip(place - before, 0.0, 1.0)
        # All values lie between low and high, also those in the outermost grid bins.
        below[:, 0], below[:, -1] = 0.0, reached[:, -1]
        counts: NDArray[np.float32] = np.diff(below, axis=1).astype(np.float32)
        return counts

    def _widened(
        self, counts: NDArray[np.int64], low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Widen the ranges; return the counts on the grids that cover them."""
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        exponent, origin = _grid(self.low, self.high)
        moved = np.flatnonzero((exponent != self._exponent) | (origin != self._origin))
        if moved.size:
            index = self._origin[moved, None] + np.arange(_GRID)
            index >>= (exponent - self._exponent)[moved, None]
            # Empty bins may lie beyond the new grid's ends.
            index = np.clip(index - origin[moved, None], 0, _GRID - 1)
            index += _GRID * np.arange(moved.size)[:, None]
            found = np.bincount(index.ravel(), counts[moved].ravel(), moved.size * _GRID)
            counts[moved] = found.reshape(-1, _GRID).astype(np.int64)
        self._exponent, self._origin = exponent, origin
        return counts


class ProductSums:
    """Sums of a layer's inputs and of their pairwise products, for mean and covariance.

    Values are taken relative to the mean of the first rows, because float32 sums lose what is small
    beside a large mean.

    Args:
        inner: Length K of one product of the layer.
    """

    def __init__(self, inner: int) -> None:
        self._rows = 0
        self._center: NDArray[np.float32] | None = None
        self._sum: NDArray[np.float64] = np.zeros(inner)
        self._products: NDArray[np.float32] = np.zeros((inner, inner), np.float32)
        self._waiting: list[NDArray[np.float32]] = []

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add float32 [rows, inner]."""
        if self._center is None:
            self._center = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centered = rows - self._center
        self._rows += len(rows)
        self._sum += centered.sum(axis=0, dtype=np.float64)
        self._waiting.append(centered)
        if sum(map(len, self._waiting)) >= _ROWS_AT_ONCE:
            self._multiply()

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return the mean, float64 [inner], and the covariance, float32 [inner, inner]."""
        if self._center is None:
            raise ValueError("nothing was added")
        self._multiply()
        mean = self._sum / self._rows
        covariance = self._products / np.float32(self._rows)
        covariance -= np.outer(mean, mean).astype(np.float32)
        return mean + self._center, covariance

    def _multiply(self) -> None:
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self._waiting.clear()
            self._products += rows.T @ rows  # NumPy recognizes a symmetric product


def _grid(
    low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return exponent and first bin of the finest grids that cover [low, high], each int64 [C]."""
    reach = np.maximum(np.abs(low), np.abs(high))
    finest = np.where(reach > 0.0, np.frexp(reach)[1] + _RELATIVELY_FINEST, _FINEST)
    finest = np.maximum(finest, _FINEST)
    width = np.maximum(high - low, np.finfo(np.float64).tiny)
    exponent = np.maximum(np.ceil(np.log2(width / _GRID)).astype(np.int64), finest)
    first, last = (np.floor(end * np.exp2(-exponent)) for end in (low, high))
    exponent = exponent + (last - first >= _GRID)
    return exponent, np.floor(low * np.exp2(-exponent)).astype(np.int64)
