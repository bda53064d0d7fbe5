"""Loads: how captures arrive while a bundle is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from fasdk.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MOST_CALLS: Final = 1_000_000
"""Most captures of one open load: every decision is kept until its end."""
LONGEST_S: Final = 7 * 86_400.0
"""Longest measurement in seconds: a week."""


class Load(str, Enum):
    """Ways in which captures arrive.

    CLOSED calls the engine again as soon as it has answered, without a session's queue. The open
    loads submit to the session when a capture is due, whether or not earlier ones are answered:
    CONSTANT at even intervals, POISSON at random ones, REPLAY at recorded times, OFFLINE all at
    once. IDLE measures the first decision after a pause, COLD the first one of a new process.
    """

    CLOSED = "closed"
    CONSTANT = "constant"
    POISSON = "poisson"
    REPLAY = "replay"
    OFFLINE = "offline"
    IDLE = "idle"
    COLD = "cold"

    @property
    def is_open(self) -> bool:
        """Whether captures arrive at times of their own."""
        return self in (Load.CONSTANT, Load.POISSON, Load.REPLAY, Load.OFFLINE)

    @property
    def needs_rate(self) -> bool:
        """Whether the load is defined by an arrival rate."""
        return self in (Load.CONSTANT, Load.POISSON)


@dataclass(frozen=True, eq=False)
class LoadRequest:
    """One load to be measured.

    Attributes:
        load: How captures arrive.
        batch: Captures in one call of a closed loop; the largest batch of an open load.
        lanes: Lanes of the engine that work at once.
        seconds: Length of the measurement in seconds.
        rate_per_s: Arrivals a second, of all cameras; for constant and poisson. `math.inf` asks
            for the highest rate that is held.
        fps: Frames a second of each camera, whose phases are random, instead of a constant rate.
        cameras: Threads among which the arrivals of an open load are dealt out in turn. Answers to
            one thread keep their order, as a camera's do.
        arrivals_ms: Due times of a replay, float64 [n], in milliseconds from the first.
        seed: Seed of random arrivals.
        warmup: Calls before the measurement, of each lane in a closed loop.
        min_calls: Fewest calls that are counted, of each lane in a closed loop.
        calls: Captures of an offline load.

    Raises:
        UsageError: A number is out of its range, or the load lacks what defines it.
    """

    load: Load = Load.CLOSED
    batch: int = 1
    lanes: int = 1
    seconds: float = 3.0
    rate_per_s: float | None = None
    fps: float | None = None
    cameras: int = 1
    arrivals_ms: NDArray[np.float64] | None = None
    seed: int = 0
    warmup: int = 3
    min_calls: int = 10
    calls: int = 1000

    def __post_init__(self) -> None:
        """Check every number on construction."""
        self._require_numbers()
        if self.fps is not None:
            # A copy of a request has both.
            if self.rate_per_s not in (None, self.cameras * self.fps):
                raise UsageError("a rate and frames a second exclude each other: give one of them")
            if not math.isfinite(self.fps):
                raise UsageError(f"--fps is {self.fps}, expected frames a second, such as 15")
            object.__setattr__(self, "rate_per_s", self.cameras * self.fps)
        rate = self.rate_per_s
        if rate is not None and not rate > 0:
            raise UsageError(f"the rate is {rate:g} captures/s, expected more than 0")
        if self.load.needs_rate and rate is None:
            raise UsageError(
                f"a {self.load.value} load needs a rate: give --rate, such as 20, or max"
            )
        if rate is not None and not self.load.needs_rate:
            option = "--rate" if self.fps is None else "--fps"
            raise UsageError(f"a {self.load.value} load has no rate: leave {option} out")
        if self.fps is not None and self.load is not Load.CONSTANT:
            raise UsageError(f"--fps is a constant rate, the load is {self.load.value}")
        if self.load is Load.REPLAY and self.arrivals_ms is None:
            raise UsageError("a replay needs arrival times: give --arrivals FILE")
        self._require_length()

    @property
    def due_calls(self) -> int:
        """Captures that are due in an open load; 0 where the load sets no number of them."""
        if self.load is Load.OFFLINE:
            return self.calls
        if self.load is Load.REPLAY and self.arrivals_ms is not None:
            return len(self.arrivals_ms)
        if self.rate_per_s is None or not self.load.needs_rate or self.seeks_rate:
            return 0
        return max(self.min_calls, math.ceil(round(self.seconds * self.rate_per_s, 6)))

    def _require_numbers(self) -> None:
        from fasdk.backends.specs import MOST_THREADS

        """Check each number by itself, but for rates."""
        for name in ("batch", "lanes", "cameras", "min_calls", "calls"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.warmup < 0:
            raise UsageError(f"warm-up calls are {self.warmup}, expected 0 or more")
        for name in ("lanes", "cameras"):
            if getattr(self, name) > MOST_THREADS:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, expected at most {MOST_THREADS:,}"
                )
        if not 0 < self.seconds <= LONGEST_S:
            raise UsageError(
                f"seconds is {self.seconds:g}, expected more than 0 and at most {LONGEST_S:g}"
            )

    def _require_length(self) -> None:
        """Refuse what would not end, or not fit into memory."""
        if self.load.needs_rate and self.rate_per_s is not None:
            # Before they are counted: a product of two large numbers is infinite.
            if not self.seeks_rate and self.seconds * self.rate_per_s > MOST_CALLS:
                calls = self.seconds * self.rate_per_s
                raise UsageError(
                    f"{self.seconds:g} s at {self.rate_per_s:g} captures/s are {calls:,.0f} "
                    f"captures, expected at most {MOST_CALLS:,}: lower --seconds or the rate"
                )
            length_s = self.due_calls / self.rate_per_s
            if length_s > LONGEST_S:
                raise UsageError(
                    f"{self.due_calls} captures, the fewest that are measured, take "
                    f"{length_s / 3600:,.0f} h at {self.rate_per_s:g} captures/s, expected at most "
                    f"{LONGEST_S / 3600:g} h: raise the rate"
                )
        elif self.due_calls > MOST_CALLS:
            raise UsageError(
                f"a {self.load.value} load of {self.due_calls:,} captures, expected at most "
                f"{MOST_CALLS:,}: give fewer"
            )
        elif self.load is Load.REPLAY and self.arrivals_ms is not None:
            length_s = float(self.arrivals_ms[-1] - self.arrivals_ms[0]) / 1e3
            if length_s > LONGEST_S:
                raise UsageError(
                    f"the arrivals of the replay span {length_s / 3600:,.0f} h, expected at most "
                    f"{LONGEST_S / 3600:g} h: they are milliseconds, and every pause is waited for"
                )

    @property
    def seeks_rate(self) -> bool:
        """Whether the highest rate that is held is asked for."""
        return self.rate_per_s == math.inf
