"""GPTQ weight rounding: to INT8 with the least change of the outputs on the calibration captures.

GPTQ (Frantar et al., ICLR 2023): weights are rounded one input at a time, and the error of each
rounding is compensated by the inputs not rounded yet, as far as the covariance of the inputs allows
it. The quantization noise of the activation is part of that covariance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.calibration_set.ranges import INT8_MAX
from fasdk_engines.quantization.calibration.smoothing import ceil_float16
from fasdk_engines.quantization.graph.recipe import QuantizedWeight

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Limit of |w[2i]| + |w[2i + 1]| at which no pair of products with an unsigned byte exceeds int16:
# 255 * 128 <= 32767. Without VNNI a CPU adds them there and saturates.
PAIR_LIMIT = 128
_BLOCK = 64
_DAMPING = 1e-3
_SHRINKS = np.linspace(0.75, 1.0, 11)


def round_to_nearest(weight: NDArray[np.float64], *, limit_pairs: bool = False) -> QuantizedWeight:
    """Round each weight to the nearest INT8 code of its column.

    Args:
        weight: Weight of the layer, float64 [K, N].
        limit_pairs: Whether adjacent inputs stay within `PAIR_LIMIT`, for CPUs that add their
            products in int16.
    """
    scales = _scales(weight, np.ones(len(weight)), np.ones(1), limit_pairs=limit_pairs)
    codes = np.rint(weight / scales)
    if limit_pairs:
        codes = _clip_pairs(codes)
    return QuantizedWeight(_to_int8(codes), scales)


def gptq_round(
    weight: NDArray[np.float64],
    covariance: NDArray[np.float64],
    *,
    limit_pairs: bool = False,
) -> QuantizedWeight:
    """Round a weight by GPTQ, against the covariance of the inputs it multiplies.

    Args:
        weight: Weight of the layer, float64 [K, N].
        covariance: float64 [K, K] of the quantized activation.
        limit_pairs: Whether adjacent inputs stay within `PAIR_LIMIT`, for CPUs that add their
            products in int16.
    """
    inner = len(weight)
    spread = np.diag(covariance)
    damped = covariance + np.eye(inner) * max(_DAMPING * float(spread.mean()), 1e-12)
    scales = _scales(weight, np.diag(damped), _SHRINKS, limit_pairs=limit_pairs)
    # Largest variance first, so that all other inputs can compensate the most important ones.
    order = np.arange(inner) if limit_pairs else np.argsort(-spread, kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2.0).T
    rest = weight[order].copy()
    codes = np.empty_like(rest)
    for start in range(0, inner, _BLOCK):
        stop = min(start + _BLOCK, inner)
        errors = np.empty((stop - start, weight.shape[1]))
        for row in range(start, stop):
            limit = np.full(weight.shape[1], float(INT8_MAX))
            if limit_pairs and row % 2:
                limit = np.minimum(limit, PAIR_LIMIT - np.abs(codes[row - 1]))
            codes[row] = np.clip(np.rint(rest[row] / scales), -limit, limit)
            errors[row - start] = (rest[row] - codes[row] * scales) / upper[row, row]
            rest[row + 1 : stop] -= np.outer(upper[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= upper[start:stop, stop:].T @ errors
    natural = np.empty_like(codes)
    natural[order] = codes
    return QuantizedWeight(_to_int8(natural), scales)


def _scales(
    weight: NDArray[np.float64],
    importance: NDArray[np.float64],
    shrinks: NDArray[np.float64],
    *,
    limit_pairs: bool,
) -> NDArray[np.float64]:
    """Return the step of each column, from the shrunk range of least weighted rounding error."""
    largest = np.abs(weight).max(axis=0) / INT8_MAX
    if limit_pairs and len(weight) > 1:
        even, odd = np.abs(weight[0::2]), np.abs(weight[1::2])
        sums = (even[: len(odd)] + odd).max(axis=0)
        # Both round up by half a step at most.
        largest = np.maximum(largest, sums / (PAIR_LIMIT - 1))
    best = np.full(weight.shape[1], np.inf)
    scales = np.ones(weight.shape[1])
    for shrink in shrinks:
        step = _half_scales(largest * shrink)
        codes = np.clip(np.rint(weight / step), -INT8_MAX, INT8_MAX)
        if limit_pairs:
            codes = _clip_pairs(codes)
        error = importance @ (weight - codes * step) ** 2
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, step, scales)
    return scales


def _half_scales(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([ceil_float16(step) if step > 0.0 else 1.0 for step in steps])


def _clip_pairs(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(codes, -INT8_MAX, INT8_MAX)
    later = kept[1::2]
    limit = PAIR_LIMIT - np.abs(kept[0::2][: len(later)])
    kept[1::2] = np.clip(later, -limit, limit)
    return kept


def _to_int8(codes: NDArray[np.float64]) -> NDArray[np.int8]:
    return np.clip(codes, -INT8_MAX, INT8_MAX).astype(np.int8)
