"""Range methods: the clipping threshold of an activation in INT8.

All methods work on a histogram of magnitudes, because quantization is symmetric: a threshold T maps
[-T, T] to the INT8 codes -127..127, and values beyond are clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import assert_never

from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

INT8_MAX = 127  # largest code of a symmetric INT8
PERCENTILE = 99.999  # of the magnitudes, in percent


class RangeMethod(str, Enum):
    """Method that chooses a clipping threshold.

    MINMAX clips nothing; PERCENTILE clips the outermost hundred-thousandth of the values; ENTROPY
    minimizes the Kullback-Leibler divergence from the distribution (Migacz, 8-bit Inference with
    TensorRT, GTC 2017); MSE minimizes the mean squared error of rounding and clipping.
    """

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


@dataclass(frozen=True, eq=False)
class MagnitudeHistogram:
    """Histogram of the magnitudes of an activation, in bins of equal width.

    Attributes:
        counts: float64 [bins], values in each bin: not negative, not all 0, not necessarily whole.
        limit: Upper edge of the last bin; the lower edge of the first is 0.
    """

    counts: NDArray[np.float64]
    limit: float

    def __post_init__(self) -> None:
        total = float(np.sum(self.counts))
        if not (self.counts.ndim == 1 and np.isfinite(total) and total > 0.0):
            raise DatasetError(
                "no activation was seen: a range needs at least one finite value, give captures"
            )
        if not (np.isfinite(self.limit) and self.limit > 0.0 and np.min(self.counts) >= 0.0):
            raise DatasetError(
                f"a histogram up to {self.limit} with a least count of {np.min(self.counts)}: "
                "give finite activations"
            )

    @classmethod
    def of(cls, values: NDArray[Any], bins: int = 2048) -> MagnitudeHistogram:
        """Count the magnitudes of finite values of any shape."""
        magnitudes = np.abs(np.asarray(values, np.float64)).ravel()
        largest = float(magnitudes.max(initial=0.0)) or 1.0
        counts, _ = np.histogram(magnitudes, bins, (0.0, largest))
        return cls(counts.astype(np.float64), largest)

    @property
    def centers(self) -> NDArray[np.float64]:
        """Bin centers, float64 [bins]."""
        width = self.limit / len(self.counts)
        centers: NDArray[np.float64] = width * (np.arange(len(self.counts), dtype=np.float64) + 0.5)
        return centers

    @property
    def edges(self) -> NDArray[np.float64]:
        """Upper bin edges, float64 [bins]."""
        bins = len(self.counts)
        edges: NDArray[np.float64] = self.limit * np.arange(1.0, bins + 1.0) / bins
        return edges


def threshold(histogram: MagnitudeHistogram, method: RangeMethod) -> float:
    """Return the magnitude that becomes code 127; greater than 0.

    Args:
        histogram: Magnitudes of the activation.
        method: Range method that chooses the threshold.
    """
    match method:
        case RangeMethod.MINMAX:
            return _largest(histogram)
        case RangeMethod.PERCENTILE:
            return _percentile(histogram, PERCENTILE)
        case RangeMethod.ENTROPY:
            return _least_divergence(histogram)
        case RangeMethod.MSE:
            return _least_squared_error(histogram)
        case _:
            assert_never(method)


def squared_error(histogram: MagnitudeHistogram) -> NDArray[np.float64]:
    """Return the mean squared error with each upper bin edge as the threshold, float64 [bins].

    Below the threshold, rounding to a step s has the error s^2 / 12; beyond it, clipping has the
    squared distance to the threshold.

    Args:
        histogram: Magnitudes of the activation.
    """
    share = histogram.counts / histogram.counts.sum()
    centers, edges = histogram.centers, histogram.edges
    beyond = [_beyond(share * centers**power) for power in (0, 1, 2)]
    clipped = beyond[2] - 2.0 * edges * beyond[1] + edges**2 * beyond[0]
    return (1.0 - beyond[0]) * (edges / INT8_MAX) ** 2 / 12.0 + np.maximum(clipped, 0.0)


def _beyond(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of all elements after each element."""
    total = np.cumsum(values)
    rest: NDArray[np.float64] = total[-1] - total
    return rest


def _largest(histogram: MagnitudeHistogram) -> float:
    return float(histogram.edges[int(np.flatnonzero(histogram.counts)[-1])])


def _least_squared_error(histogram: MagnitudeHistogram) -> float:
    return float(histogram.edges[int(np.argmin(squared_error(histogram)))])


def _percentile(histogram: MagnitudeHistogram, percentile: float) -> float:
    reached = np.cumsum(histogram.counts) / histogram.counts.sum()
    return float(histogram.edges[int(np.searchsorted(reached, percentile / 100.0))])


def _least_divergence(histogram: MagnitudeHistogram) -> float:
    """Return the threshold of least Kullback-Leibler divergence from the clipped distribution."""
    counts, bins = histogram.counts, len(histogram.counts)
    codes = INT8_MAX + 1
    best, best_edge = np.inf, bins
    for edge in range(codes, bins + 1, max(1, bins // 512)):
        reference = counts[:edge].copy()
        reference[-1] += counts[edge:].sum()
        spread = _requantized(counts[:edge], codes)
        divergence = _divergence(reference, spread)
        if divergence < best:
            best, best_edge = divergence, edge
    return float(histogram.edges[best_edge - 1])


def _requantized(counts: NDArray[np.float64], codes: int) -> NDArray[np.float64]:
    """Return the counts merged into `codes` groups and spread over the nonempty bins again."""
    group = np.arange(len(counts)) * codes // len(counts)
    filled = counts > 0.0
    total = np.bincount(group, counts, codes)
    members = np.bincount(group, filled, codes)
    mean = np.divide(total, members, out=np.zeros(codes), where=members > 0)
    return np.where(filled, mean[group], 0.0)


def _divergence(reference: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    if not spread.sum() > 0.0:
        return float("inf")
    least = 1e-4  # a bin that only one of the two fills must not make the sum infinite
    p = np.maximum(reference / reference.sum(), least / len(reference) * (reference > 0))
    q = np.maximum(spread / spread.sum(), least / len(spread))
    held = p > 0.0
    return float(np.sum(p[held] * np.log(p[held] / q[held])))
