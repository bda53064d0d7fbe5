"""Loads: how captures arrive while a bundle is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fasdk.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        for name in ("batch", "lanes", "cameras", "min_calls", "calls"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.warmup < 0:
            raise UsageError(f"warm-up calls are {self.warmup}, expected 0 or more")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"seconds is {self.seconds}, expected a time above 0")
        if self.fps is not None:
            if self.rate_per_s is not None:
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
            raise UsageError(f"a {self.load.value} load has no rate: leave --rate out")
        if self.fps is not None and self.load is not Load.CONSTANT:
            raise UsageError(f"--fps is a constant rate, the load is {self.load.value}")
        if self.load is Load.REPLAY and self.arrivals_ms is None:
            raise UsageError("a replay needs arrival times: give --arrivals FILE")

    @property
    def seeks_rate(self) -> bool:
        """Whether the highest rate that is held is asked for."""
        return self.rate_per_s == math.inf
