"""Sequential test of whether something has become more frequent than it may be.

An e-detector of Shiryaev-Roberts form (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric
framework for sequential change detection", 2023). For events x in {0, 1} whose probability, given
what was before, is at most p, each bet 1 + f (x - p) / p with f in (0, 1) has an expectation of at
most 1 (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B
2024). R = (1 + R) * bet, begun at 0, then has an expectation of at most n after n events, and so
has the mean over several f. By Doob's inequality for submartingales it reaches c within n events
with a probability of at most n / c.
"""

from __future__ import annotations

_FRACTIONS = (0.25, 0.5, 0.75, 0.95)
FALSE_ALARMS = 0.01
"""Probability of any alarm of all tests together within `HORIZON` groups, if nothing changes."""
HORIZON = 100_000


class ChangeTest:
    """Test of one event.

    Attributes:
        at: Number of events after which it alarmed, from 1; None as long as it has not.

    Args:
        bound: Largest probability of the event while nothing has changed, in (0, 1).
        tests: Number of tests that share the probability of a false alarm.
    """

    def __init__(self, bound: float, tests: int) -> None:
        self.at: int | None = None
        self._limit = HORIZON * tests / FALSE_ALARMS
        self._seen = 0
        self._bets = [(1.0 + f * (1.0 - bound) / bound, 1.0 - f) for f in _FRACTIONS]
        self._sums = [0.0] * len(_FRACTIONS)

    def take_in(self, happened: bool) -> bool:
        """Take in whether the event happened, and return whether the test has alarmed."""
        if self.at is not None:
            return True
        self._seen += 1
        self._sums = [
            (1.0 + total) * (hit if happened else miss)
            for total, (hit, miss) in zip(self._sums, self._bets, strict=True)
        ]
        if sum(self._sums) / len(self._sums) >= self._limit:
            self.at = self._seen
        return self.at is not None
