"""Reasons for which a measurement of latency is not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Trouble(str, Enum):
    """What can be wrong with a measurement.

    close to that. POWER_MODE is a power mode that changed meanwhile. SWAP is memory read back from
    disk. NOISY_NEIGHBOR is load of other processes, on the processors or the GPU. DRIFT is a
    latency that rises or falls throughout. WAKE_UP is a first call after a pause that is slower
    than others. UNSTEADY is a warm-up whose end was not seen. REFORMATS is an engine that spends
    much of its time changing layouts. NOT_SAMPLED is a machine that was not observed well enough
    to say.
    """

    GOVERNOR = "governor"
    QUOTA = "quota"
    SLOW_CLOCK = "slow-clock"
    THROTTLED = "throttled"
    HOT = "hot"
    POWER_MODE = "power-mode"
    SWAP = "swap"
    NOISY_NEIGHBOR = "noisy-neighbor"
    DRIFT = "drift"
    WAKE_UP = "wake-up"
    UNSTEADY = "unsteady"
    REFORMATS = "reformats"
    NOT_SAMPLED = "not-sampled"


@dataclass(frozen=True)
class MeasurementReason:
    """One reason against a measurement.

    Attributes:
        trouble: What is wrong.
        measured: What was measured, with units.
        action: What to do about it.
    """

    trouble: Trouble
    measured: str
    action: str

    def __str__(self) -> str:
        return f"{self.trouble.value}: {self.measured}; {self.action}"


@dataclass(frozen=True)
class Limits:
    """Figures beyond which a measurement is not trusted.

    Attributes:
        slow_clock: Share of the set frequency below which a clock is slow, in (0, 1].
        busy_cores: Processors this process must use for a clock that is free to fall to be judged.
        near_trip_c: Degrees Celsius below a limiting trip point that count as hot.
        swap_in_pages_per_s: Pages read back from swap a second.
        other_load: Mean share of all processors, or of the GPU, used by other processes, in [0, 1].
        burst_load: Share of them used by others that makes an interval a burst.
        burst_share: Share of intervals with a burst.
        drift: Change of the median from the first to the last part of a run, as a share.
        wake_up: Latency after a pause, as a multiple of the median of the other calls.
        pause_s: Seconds without a call that make a pause.
        reformats: Share of the engine's time spent on reformatting layers, in [0, 1].
        longest_gap_s: Seconds between two readings.
    """

    slow_clock: float = 0.9
    busy_cores: float = 0.5
    near_trip_c: float = 5.0
    swap_in_pages_per_s: float = 10.0
    other_load: float = 0.1
    burst_load: float = 0.5
    burst_share: float = 0.05
    drift: float = 0.1
    wake_up: float = 1.5
    pause_s: float = 1.0
    reformats: float = 0.2
    longest_gap_s: float = 3.0
