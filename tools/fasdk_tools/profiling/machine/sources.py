"""Sources of readings that a machine has, and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from fasdk_tools.profiling.machine.clocks import CpuClockSource, DevfreqSource
from fasdk_tools.profiling.machine.host import CpuSource, QuotaSource, SwapSource
from fasdk_tools.profiling.machine.jetson import (
    Commands,
    PowerModeSource,
    TegrastatsSource,
    is_jetson,
)
from fasdk_tools.profiling.machine.nvml import NvmlSource
from fasdk_tools.profiling.machine.power import HwmonRailSource, RaplSource
from fasdk_tools.profiling.machine.thermal import TemperatureSource, ThrottleSource

if TYPE_CHECKING:
    from fasdk_tools.profiling.machine.files import SystemFiles
    from fasdk_tools.profiling.machine.readings import Reading


class Observed(str, Enum):
    """What a verdict looks at."""

    LOAD = "load of other processes"
    QUOTA = "processor quota"
    SWAP = "swap"
    CPU_CLOCK = "processor clock and governor"
    GPU_CLOCK = "GPU clock"
    TEMPERATURE = "temperature"
    THROTTLING = "throttling"
    POWER = "power"
    POWER_MODE = "power mode"
    GPU_NEIGHBORS = "load of other processes on the GPU"


@dataclass(frozen=True)
class NotRead:
    """What could not be read, which speaks neither for nor against a measurement.

    Attributes:
        what: What is missing.
        why: Why, and what would help where something does.
    """

    what: Observed
    why: str

    def __str__(self) -> str:
        return f"{self.what.value}: {self.why}"


class Source(Protocol):
    """Something that is read during a run."""

    def read(self, at_s: float) -> Reading:
        """Return its part of a reading at a time in seconds; never raises."""


@dataclass(frozen=True)
class Sources:
    """What a machine has to read.

    Attributes:
        found: The sources.
        not_read: What there is no source for.
        tegrastats: The source among them that a program writes, or None.
        jetson: Whether the machine is a Jetson.
        gpu: The GPU among them that NVML describes, or None.
    """

    found: tuple[Source, ...]
    not_read: tuple[NotRead, ...]
    tegrastats: TegrastatsSource | None
    jetson: bool
    gpu: NvmlSource | None


def find_sources(files: SystemFiles, commands: Commands, nvml: Any | None) -> Sources:
    """Look for everything that can be read on a machine.

    Args:
        files: Files of its kernel.
        commands: Its programs.
        nvml: The module `pynvml`, or None where it is not installed.
    """
    looked_for: list[tuple[Observed, Source | None, str]] = [
        (Observed.LOAD, CpuSource.find(files), "/proc/stat cannot be read"),
        (Observed.QUOTA, QuotaSource.find(files), "no control group at /sys/fs/cgroup"),
        (Observed.SWAP, SwapSource.find(files), "/proc/meminfo or /proc/vmstat cannot be read"),
        (
            Observed.CPU_CLOCK,
            CpuClockSource.find(files),
            "the kernel shows no cpufreq policy, as in most virtual machines",
        ),
    ]
    gpu = None if nvml is None else NvmlSource.find(nvml)
    devfreq = DevfreqSource.find(files)
    zones = TemperatureSource.find(files)
    throttling = ThrottleSource.find(files)
    rails = HwmonRailSource.find(files)
    energy = RaplSource.find(files)
    jetson = is_jetson(files)
    lines = commands.tegrastats() if jetson else None
    tegrastats = None
    if lines is not None:
        tegrastats = TegrastatsSource(lines, rails=rails is None, temperatures=zones is None)
    no_gpu = _why_no_gpu(files, nvml)
    looked_for += [
        (Observed.GPU_CLOCK, devfreq or gpu, no_gpu),
        (Observed.TEMPERATURE, zones or tegrastats or gpu, "the kernel shows no thermal zone"),
        (Observed.THROTTLING, throttling or gpu, "the kernel shows no throttle counter"),
        (
            Observed.POWER,
            rails or energy or tegrastats or gpu,
            "no power rail, or root alone may read it (/sys/class/powercap)",
        ),
    ]
    mode = PowerModeSource(commands) if jetson else None
    every = [*(source for _, source, _ in looked_for), devfreq, gpu, energy, tegrastats, mode]
    return Sources(
        found=tuple(dict.fromkeys(source for source in every if source is not None)),
        not_read=tuple(NotRead(what, why) for what, source, why in looked_for if source is None),
        tegrastats=tegrastats,
        jetson=jetson,
        gpu=gpu,
    )


def _why_no_gpu(files: SystemFiles, nvml: Any | None) -> str:
    if not files.exists("proc/driver/nvidia/version"):
        return "no NVIDIA driver is loaded"
    if nvml is None:
        return "nvidia-ml-py is not installed: pip install nvidia-ml-py"
    return "the management library (NVML) shows no GPU"
