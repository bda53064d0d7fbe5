"""Round a layer's weights to int8 so that its outputs change least on the calibration captures.

GPTQ (Frantar et al., ICLR 2023): weights are rounded one input at a time, and what each rounding
costs is made up for by the inputs not rounded yet, as far as the inputs' covariance lets it. The
activation's own quantization noise is part of that covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.calibration_set.ranges import LEVELS
from fasdk_engines.quantization.calibration.smoothing import half_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

# |w[2i]| + |w[2i + 1]| that no pair of products with an unsigned byte can exceed in int16:
# 255 * 128 <= 32767. Without VNNI a CPU adds them there and saturates.
PAIR_LIMIT = 128
_BLOCK = 64
_DAMPING = 1e-3
_SHRINKS = np.linspace(0.75, 1.0, 11)


@dataclass(frozen=True, eq=False)
class RoundedWeight:
    """An int8 weight.

    Attributes:
        levels: int8 [K, N], in -127..127.
        scales: float64 [N], each a float16 number.
    """

    levels: NDArray[np.int8]
    scales: NDArray[np.float64]

    @property
    def values(self) -> NDArray[np.float64]:
        """What the levels stand for, float64 [K, N]."""
        values: NDArray[np.float64] = self.levels * self.scales
        return values


def round_plainly(weight: NDArray[np.float64], *, pairs: bool = False) -> RoundedWeight:
    """Round each weight to the nearest level of its column.

    Args:
        weight: float64 [K, N].
        pairs: Keep adjacent inputs within `PAIR_LIMIT`.
    """
    scales = _scales(weight, np.ones(len(weight)), np.ones(1), pairs=pairs)
    levels = np.rint(weight / scales)
    if pairs:
        levels = _within_pairs(levels)
    return RoundedWeight(_to_int8(levels), scales)


def round_to_data(
    weight: NDArray[np.float64],
    covariance: NDArray[np.float64],
    *,
    pairs: bool = False,
) -> RoundedWeight:
    """Round a weight against the covariance of what it multiplies.

    Args:
        weight: float64 [K, N].
        covariance: float64 [K, K] of the quantized activation.
        pairs: Keep adjacent inputs within `PAIR_LIMIT`, for CPUs that add their products in int16.
    """
    inner = len(weight)
    spread = np.diag(covariance)
    damped = covariance + np.eye(inner) * max(_DAMPING * float(spread.mean()), 1e-12)
    scales = _scales(weight, np.diag(damped), _SHRINKS, pairs=pairs)
    # Largest first, so that the most telling inputs are made up for by all the others.
    order = np.arange(inner) if pairs else np.argsort(-spread, kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2.0).T
    rest = weight[order].copy()
    levels = np.empty_like(rest)
    for start in range(0, inner, _BLOCK):
        stop = min(start + _BLOCK, inner)
        errors = np.empty((stop - start, weight.shape[1]))
        for row in range(start, stop):
            limit = np.full(weight.shape[1], float(LEVELS))
            if pairs and row % 2:
                limit = np.minimum(limit, PAIR_LIMIT - np.abs(levels[row - 1]))
            levels[row] = np.clip(np.rint(rest[row] / scales), -limit, limit)
            errors[row - start] = (rest[row] - levels[row] * scales) / upper[row, row]
            rest[row + 1 : stop] -= np.outer(upper[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= upper[start:stop, stop:].T @ errors
    natural = np.empty_like(levels)
    natural[order] = levels
    return RoundedWeight(_to_int8(natural), scales)


def _scales(
    weight: NDArray[np.float64],
    importance: NDArray[np.float64],
    shrinks: NDArray[np.float64],
    *,
    pairs: bool,
) -> NDArray[np.float64]:
    """Return each column's step: of the shrunk ranges the one of least weighed rounding error."""
    largest = np.abs(weight).max(axis=0) / LEVELS
    if pairs and len(weight) > 1:
        even, odd = np.abs(weight[0::2]), np.abs(weight[1::2])
        sums = (even[: len(odd)] + odd).max(axis=0)
        # Both round up by half a level at most.
        largest = np.maximum(largest, sums / (PAIR_LIMIT - 1))
    best = np.full(weight.shape[1], np.inf)
    scales = np.ones(weight.shape[1])
    for shrink in shrinks:
        step = _half_scales(largest * shrink)
        levels = np.clip(np.rint(weight / step), -LEVELS, LEVELS)
        if pairs:
            levels = _within_pairs(levels)
        error = importance @ (weight - levels * step) ** 2
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, step, scales)
    return scales


def _half_scales(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([half_scale(step) if step > 0.0 else 1.0 for step in steps])


def _within_pairs(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(levels, -LEVELS, LEVELS)
    later = kept[1::2]
    limit = PAIR_LIMIT - np.abs(kept[0::2][: len(later)])
    kept[1::2] = np.clip(later, -limit, limit)
    return kept


def _to_int8(levels: NDArray[np.float64]) -> NDArray[np.int8]:
    return np.clip(levels, -LEVELS, LEVELS).astype(np.int8)
