"""Steady state: where warm-up ends, and whether latency moves on after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import UsageError
from fasdk_tools.profiling.series import effective_calls

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

AGREEING_WINDOWS = 3
TOLERANCE = 0.10
WINDOW_CALLS, WINDOW_MS = 50, 500.0
_MINUTE_MS = 60_000.0
_LEAST_CALLS_OF_TREND = 10


@dataclass(frozen=True)
class Window:
    """Successive calls of a run.

    Attributes:
        start: Index of the first call.
        stop: Index after the last call.
        median_ms: Median latency, in milliseconds.
        rate: Calls answered per second; for an open load relative to the rate at which they were
            due.
    """

    start: int
    stop: int
    median_ms: float
    rate: float


def windows(
    latency_ms: ArrayLike,
    answered_ms: ArrayLike,
    due_ms: ArrayLike | None = None,
    *,
    least_calls: int = WINDOW_CALLS,
    least_ms: float = WINDOW_MS,
) -> tuple[Window, ...]:
    """Cut a run into windows of at least `least_calls` calls and `least_ms` milliseconds.

    Args:
        latency_ms: float [n], in time order.
        answered_ms: float [n], when each call was answered, milliseconds from any start.
        due_ms: float [n], when each call was due, for an open load: its arrivals are uneven, so
            what has to be steady is the rate over the offered one. None for a closed loop.
        least_calls: Calls that a window has at least.
        least_ms: Time that a window lasts at least, in milliseconds.

    Returns:
        The windows; calls after the last whole one are in none.

    Raises:
        UsageError: The arrays have different lengths.
    """
    latencies = np.asarray(latency_ms, np.float64)
    # With several lanes a later call may be answered first.
    answered = np.maximum.accumulate(np.asarray(answered_ms, np.float64))
    offered = answered if due_ms is None else np.asarray(due_ms, np.float64)
    if not len(latencies) == len(answered) == len(offered):
        raise UsageError(
            f"{len(latencies)} latencies, {len(answered)} answers and {len(offered)} due times; "
            f"give one of each a call"
        )
    found = []
    start = 1  # the first call only says when the first window begins
    while start + least_calls <= len(latencies):
        began = answered[start - 1]
        late_enough = int(np.searchsorted(answered, began + least_ms))
        stop = max(start + least_calls, late_enough + 1)
        if stop > len(latencies):
            break
        rate = _per_second(answered, start, stop)
        if due_ms is not None:
            rate /= _per_second(offered, start, stop)
        found.append(Window(start, stop, float(np.median(latencies[start:stop])), rate))
        start = stop
    return tuple(found)


def steady_start(found: tuple[Window, ...], tolerance: float = TOLERANCE) -> int | None:
    """Return the index of the first call after warm-up, or None where it has not ended.

    Warm-up ends before the first three successive windows whose medians and whose rates agree: the
    largest exceeds the least by at most `tolerance` (Triton's perf_analyzer has the same rule).
    """
    for first in range(len(found) - AGREEING_WINDOWS + 1):
        agreeing = found[first : first + AGREEING_WINDOWS]
        if all(
            max(figures) <= (1.0 + tolerance) * min(figures)
            for figures in ([w.median_ms for w in agreeing], [w.rate for w in agreeing])
        ):
            # The first call of a run opens its first window.
            return agreeing[0].start if first else 0
    return None


@dataclass(frozen=True)
class Trend:
    """Whether latency moved over the counted calls.

    Attributes:
        spearman: Spearman's rank correlation of latency with time, in [-1, 1].
        p_value: Two-sided probability of one as large without a trend, by the number of
            effective calls, in [0, 1].
        window_ms: Time at either end that is compared: a minute, or half of a shorter run.
        first_ms: Median latency of the first `window_ms`, in milliseconds.
        last_ms: Median latency of the last `window_ms`, in milliseconds.
    """

    spearman: float
    p_value: float
    window_ms: float
    first_ms: float
    last_ms: float

    @property
    def change(self) -> float:
        """The last window's median over the first's, minus 1."""
        return self.last_ms / self.first_ms - 1.0 if self.first_ms else 0.0

    def is_drift(self, tolerance: float = TOLERANCE, risk: float = 0.01) -> bool:
        """Whether latency moved by more than `tolerance`, and not by chance."""
        return abs(self.change) > tolerance and self.p_value < risk


def trend(latency_ms: ArrayLike, at_ms: ArrayLike) -> Trend | None:
    """Return the trend of latency over a run, or None for fewer than 10 calls.

    The p-value is that of Fisher's transform (variance 1.06 / (n - 3); Fieller, Hartley and
    Pearson, Biometrika 44, 1957). n is the number of effective calls of what a straight line
    leaves of the ranks: calls that depend on each other show trends by chance.

    Args:
        latency_ms: float [n], in time order.
        at_ms: float [n], when each call was due or answered, in milliseconds, not decreasing.

    Raises:
        UsageError: The arrays have different lengths, or a latency is not finite.
    """
    latencies, times = np.asarray(latency_ms, np.float64), np.asarray(at_ms, np.float64)
    if len(latencies) != len(times):
        raise UsageError(f"{len(latencies)} latencies at {len(times)} times; give one a call")
    if len(latencies) < _LEAST_CALLS_OF_TREND:
        return None
    ranks, order = _ranks(latencies), _ranks(times)
    rho = _correlation(ranks, order)
    centered = order - order.mean()
    spread = float(centered @ centered)
    slope = float(ranks @ centered) / spread if spread else 0.0
    calls = effective_calls(ranks - slope * centered)
    window = min(_MINUTE_MS, float(times[-1] - times[0]) / 2)
    return Trend(
        spearman=rho,
        p_value=_p_value(rho, calls),
        window_ms=window,
        first_ms=float(np.median(latencies[times <= times[0] + window])),
        last_ms=float(np.median(latencies[times >= times[-1] - window])),
    )


def _per_second(times_ms: NDArray[np.float64], start: int, stop: int) -> float:
    """Return calls per second, counted from the call before `start`."""
    span = float(times_ms[stop - 1] - times_ms[start - 1])
    return 1000.0 * (stop - start) / span if span > 0 else math.inf


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1, the mean rank where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2.0)[inverse.ravel()]
    return ranks


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    one, other = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(one @ one) * float(other @ other))
    return max(-1.0, min(1.0, float(one @ other) / scale)) if scale else 0.0


def _p_value(rho: float, calls: float) -> float:
    if calls <= 4:
        return 1.0  # so few effective calls show no trend
    if abs(rho) >= 1.0:
        return 0.0
    z = math.atanh(rho) * math.sqrt((calls - 3.0) / 1.06)
    return math.erfc(abs(z) / math.sqrt(2.0))
