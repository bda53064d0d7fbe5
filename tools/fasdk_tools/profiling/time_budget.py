"""Time that a search may take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S: Final = 300.0
"""Longest that a search takes unless another time is given, in seconds."""
_SHARE: Final = 0.9  # of it for runs; the rest is for opening the bundle and what overruns


@dataclass(frozen=True)
class TimeBudget:
    """Time for the runs of a search, which begins when this is made.

    Attributes:
        seconds: Time that all runs may take together, in seconds.
        clock: Clock in seconds.
        start_s: When it began, on that clock.
    """

    seconds: float = _SHARE * LIMIT_S
    clock: Callable[[], float] = time.monotonic
    start_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin."""
        object.__setattr__(self, "start_s", self.clock())

    @classmethod
    def within(cls, limit_s: float) -> TimeBudget:
        """Return the time for the runs of a search that is to end within so many seconds."""
        return cls(_SHARE * limit_s)

    @property
    def spent_s(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.start_s

    @property
    def left_s(self) -> float:
        """Seconds that are left; below 0 where it is over."""
        return self.seconds - self.spent_s

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return seconds <= self.left_s
