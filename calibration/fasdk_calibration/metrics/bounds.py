"""Exact confidence bounds of a proportion (Clopper and Pearson, Biometrika 26, 1934)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fasdk.errors import DatasetError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
        lower: Lower end of the interval.
        upper: Upper end of the interval.
    """

    lower: float
    upper: float


@dataclass(frozen=True)
class ErrorRate:
    """Errors counted among presentations, which the bounds take to be independent.

    Attributes:
        errors: Number of presentations classified wrongly.
        total: Number of presentations classified, at least 1.
    """

    errors: int
    total: int

    def __post_init__(self) -> None:
        """Refuse counts that no experiment can give."""
        _require_counts(self.errors, self.total)

    @property
    def rate(self) -> float:
        """The observed rate, in [0, 1]."""
        return self.errors / self.total

    def upper(self, confidence: float = CONFIDENCE) -> float:
        """Return the one-sided upper bound; see `binomial_upper`."""
        return binomial_upper(self.errors, self.total, confidence)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the two-sided interval; see `binomial_interval`."""
        return binomial_interval(self.errors, self.total, confidence)


def binomial_upper(errors: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided upper confidence bound of a proportion.

    The largest p with P(X <= errors | total, p) >= 1 - confidence.

    Raises:
        DatasetError: The counts are impossible, or `confidence` is not inside (0, 1).
    """
    _require_counts(errors, total)
    _require_confidence(confidence)
    return _upper(errors, total, 1.0 - confidence)


def binomial_supports(errors: int, total: int, rate: float, confidence: float = CONFIDENCE) -> bool:
    """Return whether `binomial_upper` is at most `rate`, without computing it.

    Equally P(X <= errors | total, rate) <= 1 - confidence.

    Raises:
        DatasetError: The counts are impossible, or `confidence` is not inside (0, 1).
    """
    _require_counts(errors, total)
    _require_confidence(confidence)
    if errors == total or not 0.0 < rate < 1.0:
        return rate >= 1.0
    return not _Tail(errors, total).is_likelier(rate, 1.0 - confidence)


def binomial_interval(errors: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact two-sided interval of a proportion, half the risk on either side.

    Equal to the quantiles (1 - confidence) / 2 of Beta(errors, total - errors + 1) and
    (1 + confidence) / 2 of Beta(errors + 1, total - errors); 0 and 1 where those do not exist.

    Raises:
        DatasetError: The counts are impossible, or `confidence` is not inside (0, 1).
    """
    _require_counts(errors, total)
    _require_confidence(confidence)
    risk = (1.0 - confidence) / 2
    return Interval(1.0 - _upper(total - errors, total, risk), _upper(errors, total, risk))


@lru_cache(maxsize=4096)
def _upper(errors: int, total: int, risk: float) -> float:
    """Return p with P(X <= errors | total, p) = risk, by bisection in log space."""
    if errors == total:
        return 1.0
    tail = _Tail(errors, total)
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        if tail.is_likelier(middle, risk):
            low = middle
        else:
            high = middle


class _Tail:
    """P(X <= errors | total, p) as a function of p, for fewer errors than presentations."""

    def __init__(self, errors: int, total: int) -> None:
        # The shorter of the two tails is summed: P(X <= errors), or P(X > errors) from the top.
        self._from_the_top = errors + 1 > total - errors
        self._kept = (
            np.arange(errors + 1, total + 1) if self._from_the_top else np.arange(errors + 1)
        )
        self._rest = total - self._kept
        self._log_choices = math.lgamma(total + 1) - np.array(
            [math.lgamma(k + 1) + math.lgamma(total - k + 1) for k in self._kept.tolist()]
        )

    def is_likelier(self, p: float, risk: float) -> bool:
        """Whether P(X <= errors | total, p) >= risk, for p inside (0, 1)."""
        terms = self._log_choices + self._kept * math.log(p) + self._rest * math.log1p(-p)
        top = float(terms.max())
        tail = top + math.log(float(np.exp(terms - top).sum()))
        return tail <= math.log1p(-risk) if self._from_the_top else tail >= math.log(risk)


def _require_counts(errors: int, total: int) -> None:
    if not 0 <= errors <= total or total < 1:
        raise DatasetError(f"{errors} errors among {total} presentations: impossible")


def _require_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise DatasetError(f"confidence {confidence} is not between 0 and 1")
