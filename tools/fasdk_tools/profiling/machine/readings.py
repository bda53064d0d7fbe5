"""Readings of a machine at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ClockKind(str, Enum):
    """What a clock drives."""

    CPU = "cpu"
    GPU = "gpu"
    MEMORY = "memory"


@dataclass(frozen=True)
class Clock:
    """One clock domain.

    Attributes:
        name: Name of the kernel, such as "policy0" or "17000000.gpu".
        kind: What it drives.
        mhz: Frequency now, or None where it could not be read.
        min_mhz: Lowest frequency that it may take now, or None.
        max_mhz: Highest frequency that it may take now, or None.
        sustained_mhz: Frequency below the boosted ones that all cores can hold, or None where the
            driver tells none.
        governor: What chooses the frequency, such as "schedutil", or None.
    """

    name: str
    kind: ClockKind
    mhz: float | None
    min_mhz: float | None = None
    max_mhz: float | None = None
    sustained_mhz: float | None = None
    governor: str | None = None

    @property
    def fixed(self) -> bool:
        """Whether the clock is set to stay where it is."""
        locked = self.min_mhz is not None and self.min_mhz == self.max_mhz
        return locked or self.governor == "performance"


@dataclass(frozen=True)
class CpuTimes:
    """Processor seconds since the machine started.

    Attributes:
        cores: Processors that are online.
        busy_s: Of all processes, interrupts and, in a virtual machine, its host's other guests.
        own_s: Of this process and its descendants.
    """

    cores: int
    busy_s: float
    own_s: float


@dataclass(frozen=True)
class Quota:
    """A limit on the processor time of a control group that this process is in.

    Attributes:
        name: Path of the group.
        cores: Processors that the group may use on average.
        periods: Accounting periods so far.
        throttled_periods: Periods in which the group was stopped until the next.
        throttled_s: Seconds that it was stopped, of all its threads.
    """

    name: str
    cores: float
    periods: int
    throttled_periods: int
    throttled_s: float


@dataclass(frozen=True)
class Swap:
    """Swap space.

    Attributes:
        used_mib: MiB in use.
        pages_in: Pages read back since the machine started.
    """

    used_mib: float
    pages_in: int


@dataclass(frozen=True)
class Temperature:
    """One thermal zone.

    Attributes:
        name: Type that the kernel gives the zone, such as "tj-thermal".
        celsius: Temperature in degrees Celsius.
        limit_c: Lowest trip point at which the processor is slowed or switched off, or None.
    """

    name: str
    celsius: float
    limit_c: float | None = None


@dataclass(frozen=True)
class Throttle:
    """Whether something slowed the processor.

    Attributes:
        name: Such as "oc3" or "gpu-throttle-alert".
        value: Events so far for a counter, otherwise the state now, 0 for not throttled.
        counts: Whether it is a counter.
    """

    name: str
    value: int
    counts: bool


@dataclass(frozen=True)
class Rail:
    """One power rail.

    Attributes:
        name: Such as "VDD_IN" or "package-0".
        watts: Power now, or None where the rail counts energy.
        joules: Energy since an arbitrary moment, or None where the rail measures power.
        wraps_at_j: Energy at which the counter starts at 0 again, or None.
    """

    name: str
    watts: float | None = None
    joules: float | None = None
    wraps_at_j: float | None = None


@dataclass(frozen=True)
class GpuProcess:
    """Another process that used the GPU.

    Attributes:
        name: Name of its program.
        load: Share of the GPU's processors that it used lately, in [0, 1].
    """

    name: str
    load: float


@dataclass(frozen=True)
class Reading:
    """What was read at one moment; empty or None where there was nothing to read.

    Attributes:
        at_s: Seconds on the monotonic clock of `time.perf_counter`.
        cpu: Processor times, or None.
        quotas: Limits of the control groups, none where there is no limit.
        swap: Swap space, or None.
        clocks: Clock domains.
        temperatures: Thermal zones that could be read; a gated part has none.
        throttles: Counters and states of throttling.
        rails: Power rails.
        gpu_load: Share of time that the GPU was busy, in [0, 1], or None.
        memory_load: Share of the memory's bandwidth that was used, in [0, 1], or None.
        gpu_neighbors: Other processes that used the GPU; None where they cannot be told from this
            one, or where this one does not use it.
        power_mode: Power mode of a Jetson, or None where it was not asked for.
    """

    at_s: float
    cpu: CpuTimes | None = None
    quotas: tuple[Quota, ...] = ()
    swap: Swap | None = None
    clocks: tuple[Clock, ...] = ()
    temperatures: tuple[Temperature, ...] = ()
    throttles: tuple[Throttle, ...] = ()
    rails: tuple[Rail, ...] = ()
    gpu_load: float | None = None
    memory_load: float | None = None
    gpu_neighbors: tuple[GpuProcess, ...] | None = None
    power_mode: str | None = None

    def with_part(self, part: Reading) -> Reading:
        """Return this reading with what another source read at the same moment."""
        return Reading(
            at_s=self.at_s,
            cpu=self.cpu or part.cpu,
            quotas=self.quotas + part.quotas,
            swap=self.swap or part.swap,
            clocks=self.clocks + part.clocks,
            temperatures=self.temperatures + part.temperatures,
            throttles=self.throttles + part.throttles,
            rails=self.rails + part.rails,
            gpu_load=part.gpu_load if self.gpu_load is None else self.gpu_load,
            memory_load=part.memory_load if self.memory_load is None else self.memory_load,
            gpu_neighbors=part.gpu_neighbors if self.gpu_neighbors is None else self.gpu_neighbors,
            power_mode=self.power_mode or part.power_mode,
        )
