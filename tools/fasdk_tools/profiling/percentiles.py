"""Percentiles of latency by order statistic, each with a one-sided 95 % upper bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import UsageError
from fasdk_calibration.thresholds.sample_size import attacks_allowed, attacks_needed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Percentile:
    """One percentile of latency, or how many calls it lacks.

    Attributes:
        p: The percentile, in percent, such as 99.9.
        ms: The sample with rank ceil(p / 100 * n), in milliseconds; None where `upper_ms` is.
        upper_ms: Sample that is at least the true percentile with 95 % confidence if calls are
            independent, in milliseconds; None where there are too few calls for one.
        missing_calls: Calls that are missing for a bound; 0 where there is one.
    """

    p: float
    ms: float | None
    upper_ms: float | None
    missing_calls: int

    @property
    def name(self) -> str:
        """The name in documents and tables, such as "p99.9"."""
        return f"p{self.p:g}"

    def is_within(self, share: float) -> bool:
        """Whether the upper bound exists and exceeds the percentile by at most `share` of it."""
        if self.ms is None or self.upper_ms is None:
            return False
        return self.upper_ms <= (1.0 + share) * self.ms


def percentile(values_ms: ArrayLike, p: float) -> Percentile:
    """Return one percentile of latency with its upper bound.

    The bound is the order statistic that exceeds the true percentile with 95 % confidence, exact
    for every continuous distribution (Wilks, Annals of Mathematical Statistics 12, 1941). No sample
    is left out.

    Args:
        values_ms: float [n], latencies in milliseconds, in any order.
        p: The percentile, in percent, between 0 and 100.

    Raises:
        UsageError: `p` is out of range, or a latency is not finite.
    """
    return _of_sorted(_sorted(values_ms), p)


def percentiles(
    values_ms: ArrayLike, percents: tuple[float, ...] = PERCENTS
) -> tuple[Percentile, ...]:
    """Return several percentiles of latency; see `percentile`."""
    ordered = _sorted(values_ms)
    return tuple(_of_sorted(ordered, p) for p in percents)


def calls_needed(p: float) -> int:
    """Return the least number of calls for which percentile `p`, in percent, has an upper bound.

    29, 59, 299 and 2,995 for p90, p95, p99 and p99.9.

    Raises:
        UsageError: `p` is not between 0 and 100.
    """
    # A bound of a percentile is the bound of a proportion: of the calls that take longer.
    return attacks_needed(_share_above(p))


@lru_cache(maxsize=1024)
def _calls_above_bound(calls: int, p: float) -> int | None:
    """Return how many of `calls` may exceed the upper bound of a percentile; None if not even 0."""
    return attacks_allowed(calls, _share_above(p))


def _of_sorted(ordered: np.ndarray, p: float) -> Percentile:
    calls = len(ordered)
    above = _calls_above_bound(calls, p)
    if above is None:
        return Percentile(p, None, None, calls_needed(p) - calls)
    # Rounded first: 99.9 % of 10,000 is a little above 9,990 in floating point.
    rank = math.ceil(round(calls * p / 100.0, 9))
    return Percentile(p, float(ordered[rank - 1]), float(ordered[calls - above - 1]), 0)


def _sorted(values_ms: ArrayLike) -> np.ndarray:
    values = np.asarray(values_ms, np.float64).ravel()
    if not np.isfinite(values).all():
        wrong = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UsageError(
            f"latency {wrong} of {len(values)} is {values[wrong]} ms, which is no latency; leave "
            f"calls that were refused or failed out of percentiles and count them"
        )
    return np.sort(values)


def _share_above(p: float) -> float:
    if not 0.0 < p < 100.0:
        raise UsageError(f"percentile {p}: a percentile is between 0 and 100, such as 99.9")
    return (100.0 - p) / 100.0
