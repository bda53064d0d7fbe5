"""Latency targets, and trials held to them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import UsageError
from fasdk_tools.profiling.percentiles import PERCENTS, calls_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORM = re.compile(r"p([0-9.]{1,8})<=([0-9.]{1,12})ms@([0-9.]{1,12})/s")


@dataclass(frozen=True)
class Target:
    """A percentile of latency that must not exceed a limit at a rate.

    Attributes:
        p: The percentile, in percent, such as 99.
        limit_ms: Most it may be, in milliseconds.
        rate_per_s: Captures a second, which arrive at random.
    """

    p: float
    limit_ms: float
    rate_per_s: float

    def __str__(self) -> str:
        """Return the target as --find takes it."""
        return f"p{self.p:g}<={self.limit_ms:g}ms@{self.rate_per_s:g}/s"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that a text such as "p99<=30ms@20/s" names.

        Raises:
            UsageError: It has another form, a percentile that is not measured, or a 0.
        """
        found = _FORM.fullmatch(text.replace(" ", ""))
        try:
            p, limit_ms, rate_per_s = map(float, found.groups()) if found else (math.nan,) * 3
        except ValueError:  # such as 1.2.3
            p = limit_ms = rate_per_s = math.nan
        if p not in PERCENTS or not limit_ms > 0 or not rate_per_s > 0:
            known = ", ".join(f"p{percent:g}" for percent in PERCENTS)
            raise UsageError(
                f"--find {text!r} is no target: expected one of {known}, a limit and a rate, such "
                "as 'p99<=30ms@20/s'"
            )
        return cls(p, limit_ms, rate_per_s)

    @property
    def calls(self) -> int:
        """Fewest calls that can show whether it is met."""
        return calls_needed(self.p)

    def trial_s(self, calls: int) -> float:
        """Return how long random arrivals take that are at least so many, in seconds.

        Four standard deviations of a Poisson count more are taken, so that there are calls enough.
        """
        return (calls + 4.0 * math.sqrt(calls)) / self.rate_per_s

    def figure_ms(self, latencies_ms: NDArray[np.float64]) -> float:
        """Return the percentile of a trial, in milliseconds.

        Args:
            latencies_ms: float64 [n], in milliseconds; infinite where a call was not decided.
        """
        return order_statistic(latencies_ms, self.p)

    def is_met(self, latencies_ms: NDArray[np.float64]) -> bool:
        """Whether a trial has calls enough and its percentile is within the limit."""
        return len(latencies_ms) >= self.calls and self.figure_ms(latencies_ms) <= self.limit_ms


def order_statistic(values_ms: NDArray[np.float64], p: float) -> float:
    """Return the value with rank ceil(p / 100 * n); infinite where there is none."""
    if not len(values_ms):
        return math.inf
    rank = math.ceil(round(len(values_ms) * p / 100.0, 9)) - 1
    return float(np.partition(values_ms, rank)[rank])
