"""Dispersion and dependence of latencies in time order, and intervals that allow for dependence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import UsageError
from fasdk_calibration.metrics import Interval
from fasdk_tools.profiling.percentiles import percentiles

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 1000

Statistic = Callable[["NDArray[np.float64]"], float]


@dataclass(frozen=True)
class Dispersion:
    """How latencies of one run vary, and how much each tells about the next.

    Attributes:
        mean_ms: Mean, in milliseconds.
        cv: Coefficient of variation: standard deviation (n - 1) over the mean.
        p99_minus_p50_ms: Distance of these percentiles, in milliseconds; None below 299 calls.
        jitter_ms: Mean absolute difference of successive calls in time order, in milliseconds.
        lag1_autocorrelation: Correlation of a call with the next, in [-1, 1]; 0 where all
            are equal.
        effective_calls: Number of independent calls that would give the mean as precisely, at most
            the number of calls.
    """

    mean_ms: float
    cv: float
    p99_minus_p50_ms: float | None
    jitter_ms: float
    lag1_autocorrelation: float
    effective_calls: float


def dispersion(values_ms: ArrayLike) -> Dispersion:
    """Return the dispersion of one run.

    Args:
        values_ms: float [n], latencies in milliseconds in time order, n at least 2.

    Raises:
        UsageError: There are fewer than two latencies, or one is not finite.
    """
    values = _series(values_ms)
    mean = float(values.mean())
    p50, p99 = percentiles(values, (50.0, 99.0))
    spread = None if p50.ms is None or p99.ms is None else p99.ms - p50.ms
    correlations = autocorrelation(values)
    return Dispersion(
        mean_ms=mean,
        cv=float(values.std(ddof=1)) / mean if mean else 0.0,
        p99_minus_p50_ms=spread,
        jitter_ms=float(np.abs(np.diff(values)).mean()),
        lag1_autocorrelation=float(correlations[1]),
        effective_calls=effective_calls(values),
    )


def autocorrelation(values_ms: ArrayLike) -> NDArray[np.float64]:
    """Return the autocorrelation at every lag, by FFT.

    Args:
        values_ms: float [n], in time order, n at least 2.

    Returns:
        float64 [n], 1 at lag 0; 0 at all others where all values are equal.

    Raises:
        UsageError: There are fewer than two values, or one is not finite.
    """
    values = _series(values_ms)
    calls = len(values)
    deviations = values - values.mean()
    found = np.zeros(calls)
    found[0] = 1.0
    if values.max() == values.min():
        return found
    length = 1 << (2 * calls - 1).bit_length()  # zeros behind the values: no wrapping round
    power = np.abs(np.fft.rfft(deviations, length)) ** 2
    found[1:] = np.fft.irfft(power, length)[1:calls] / float(deviations @ deviations)
    return found


def effective_calls(values_ms: ArrayLike) -> float:
    """Return the number of independent calls that would give the mean as precisely.

    n / (1 + 2 * sum of autocorrelations), summed in pairs of lags until a pair is not positive
    (initial positive sequence; Geyer, Statistical Science 7, 1992).

    Args:
        values_ms: float [n], in time order, n at least 2.

    Returns:
        A number in [1, n].

    Raises:
        UsageError: There are fewer than two values, or one is not finite.
    """
    correlations = autocorrelation(values_ms)
    calls = len(correlations)
    pairs = correlations[: calls // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0.0)
    kept = pairs[: int(ends[0])] if len(ends) else pairs
    time_in_calls = 2.0 * float(kept.sum()) - 1.0  # lag 0 counts once, all others twice
    return min(float(calls), max(1.0, calls / time_in_calls)) if time_in_calls > 0 else float(calls)


def block_length(values_ms: ArrayLike) -> int:
    """Return a block length for the moving-block bootstrap, in calls.

    The cube root of n (Hall, Horowitz and Jing, Biometrika 82, 1995), or the calls for one
    effective call where that is more; at most half of the run.

    Raises:
        UsageError: There are fewer than two values, or one is not finite.
    """
    values = _series(values_ms)
    calls = len(values)
    wanted = max(float(np.cbrt(calls)), calls / effective_calls(values))
    return min(math.ceil(round(wanted, 9)), max(1, calls // 2))


def block_indices(
    calls: int, block: int, resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Yield resamples of the indices of a series, in blocks (Künsch, Ann. Statist. 17, 1989).

    Args:
        calls: Length of the series.
        block: Calls of one block; 1 is the bootstrap of independent calls.
        resamples: Number of resamples.
        rng: Source of the blocks' starts.

    Yields:
        intp [calls], indices into the series.
    """
    offsets = np.arange(block)
    blocks = -(-calls // block)
    for _ in range(resamples):
        starts = rng.integers(0, calls - block + 1, blocks)
        yield (starts[:, None] + offsets).ravel()[:calls]


def block_interval(
    values_ms: ArrayLike,
    statistic: Statistic,
    *,
    block: int | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return a two-sided percentile interval of a statistic by moving-block bootstrap.

    SciPy's bootstrap draws single values, which is too narrow where calls depend on each other.

    Args:
        values_ms: float [n], in time order, n at least 2.
        statistic: Function of a float64 [n].
        block: Calls of one block; `block_length` where None.
        resamples: Number of resamples.
        confidence: Share of intervals that cover, in (0, 1).
        seed: Seed of the resamples; the same seed gives the same interval.

    Raises:
        UsageError: There are fewer than two values, one is not finite, or `block` is not in [1, n].
    """
    values = _series(values_ms)
    length = block_length(values) if block is None else block
    if not 1 <= length <= len(values):
        raise UsageError(
            f"a block of {length} calls cannot be drawn from a run of {len(values)}; "
            f"take one from 1 to {len(values)}"
        )
    rng = np.random.default_rng(seed)
    found = [
        statistic(values[indices]) for indices in block_indices(len(values), length, resamples, rng)
    ]
    risk = (1.0 - confidence) / 2
    lower, upper = np.quantile(found, [risk, 1.0 - risk])
    return Interval(float(lower), float(upper))


def _series(values_ms: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values_ms, np.float64).ravel()
    if len(values) < 2:
        raise UsageError(f"a series needs at least 2 calls; found {len(values)}: measure longer")
    if not np.isfinite(values).all():
        raise UsageError(
            "a latency of the series is not finite; leave out calls that were refused or failed, "
            "and count them"
        )
    return values
