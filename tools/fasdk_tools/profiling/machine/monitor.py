"""Monitor: readings of the machine taken beside a measurement, by a thread of its own."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk_tools.profiling.machine.files import SystemFiles
from fasdk_tools.profiling.machine.host import (
    ProcessTimes,
    all_process_times,
    own_process_times,
)
from fasdk_tools.profiling.machine.jetson import (
    Commands,
    InstalledCommands,
    RecordedCommands,
    parse_power_mode,
)
from fasdk_tools.profiling.machine.nvml import installed_nvml
from fasdk_tools.profiling.machine.readings import Reading
from fasdk_tools.profiling.machine.sources import NotRead, Observed, find_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

INTERVAL_S = 0.5
_BUSIEST = 3


@dataclass(frozen=True)
class MachineRecord:
    """What a machine did during a measurement.

    Attributes:
        readings: In order of time; the first and the last bound the measurement.
        not_read: What could not be read.
        power_mode: Power mode of a Jetson at the end, or None.
        busiest: Processor seconds of other processes meanwhile by name, the most first.
        idle: Readings before the measurement, with nothing to do, for the idle power.
        sampler_cpu_s: Processor seconds that taking the readings cost.
        jetson: Whether the machine is a Jetson.
    """

    readings: tuple[Reading, ...]
    not_read: tuple[NotRead, ...] = ()
    power_mode: str | None = None
    busiest: tuple[ProcessTimes, ...] = ()
    idle: tuple[Reading, ...] = ()
    sampler_cpu_s: float = 0.0
    jetson: bool = False

    @property
    def seconds(self) -> float:
        """Time from the first to the last reading."""
        return self.readings[-1].at_s - self.readings[0].at_s if self.readings else 0.0

    def between(self, start_s: float, end_s: float) -> MachineRecord:
        """Return the record of a part of the time, in seconds of `time.perf_counter`.

        The last reading before the part and the first after it belong to it, so that it is covered.
        """
        times = [reading.at_s for reading in self.readings]
        first = max((i for i, at_s in enumerate(times) if at_s <= start_s), default=0)
        last = min((i for i, at_s in enumerate(times) if at_s >= end_s), default=len(times) - 1)
        return replace(self, readings=self.readings[first : last + 1])


class MachineMonitor:
    """Readings of a machine taken beside a measurement.

    Attributes:
        interval_s: Seconds between two readings, at most 1.
        sources: What is read, and what cannot be.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        interval_s: float = INTERVAL_S,
        nvml: Any | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Look for what can be read.

        Args:
            root: Folder with a recorded tree of proc, sys, nvpmodel.txt and tegrastats.txt; None
                for this machine.
            interval_s: Seconds between two readings.
            nvml: The module `pynvml`; by default that of the package nvidia-ml-py, on this machine.
            clock: Monotonic time in seconds.
        """
        self.interval_s = interval_s
        self._files = SystemFiles(root or Path("/"))
        self._commands: Commands = (
            InstalledCommands(int(1000 * interval_s))
            if root is None
            else RecordedCommands(self._files)
        )
        if nvml is None and root is None:
            nvml = installed_nvml()
        self.sources = find_sources(self._files, self._commands, nvml)
        self._clock = clock
        self._readings: list[Reading] = []
        self._idle: tuple[Reading, ...] = ()
        self._processes: dict[str, ProcessTimes] = {}
        self._one_at_a_time = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cpu_s = 0.0

    def take(self) -> Reading:
        """Take one reading now and keep it, such as at the start and the end of a run."""
        with self._one_at_a_time:
            at_s = self._clock()
            reading = Reading(at_s)
            for source in self.sources.found:
                reading = reading.with_part(source.read(at_s))
            self._readings.append(reading)
        return reading

    @property
    def kept_mb(self) -> float:
        """Memory that the readings take, in 10^6 bytes, each taken to be as large as the last."""
        with self._one_at_a_time:
            return len(self._readings) * _bytes_of(self._readings[-1:]) / 1e6

    @property
    def measures_power(self) -> bool:
        """Whether there is a rail, and so an idle power worth waiting for."""
        return all(lack.what is not Observed.POWER for lack in self.sources.not_read)

    def measure_idle(self, seconds: float) -> None:
        """Take readings for some seconds with nothing to do, as the idle baseline."""
        with self.running():
            time.sleep(seconds)
        self._idle, self._readings = tuple(self._readings), []
        self._cpu_s = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take readings while the block runs, one at its start and one at its end included."""
        self._stop.clear()
        self._processes = all_process_times(self._files)
        self.take()
        self._thread = threading.Thread(target=self._run, name="machine monitor", daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            self._thread = None
            self.take()

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.take()
        self._cpu_s += time.thread_time()

    def record(self) -> MachineRecord:
        """Return what was read so far."""
        not_read = list(self.sources.not_read)
        power_mode = None
        if self.sources.jetson:
            power_mode = parse_power_mode(self._commands.power_mode() or "")
            if power_mode is None:
                not_read.append(NotRead(Observed.POWER_MODE, "`nvpmodel -q` gave no answer"))
        if self.sources.gpu is not None and all(r.gpu_neighbors is None for r in self._readings):
            not_read.append(
                NotRead(
                    Observed.GPU_NEIGHBORS,
                    "NVML does not tell this process from others, or it does not use the GPU",
                )
            )
        return MachineRecord(
            readings=tuple(self._readings),
            not_read=tuple(not_read),
            power_mode=power_mode,
            busiest=self._busiest(),
            idle=self._idle,
            sampler_cpu_s=self._cpu_s,
            jetson=self.sources.jetson,
        )

    def _busiest(self) -> tuple[ProcessTimes, ...]:
        """Return the other processes that took the most time since the block began."""
        own = own_process_times(self._files)
        spent = []
        for pid, now in all_process_times(self._files).items():
            before = self._processes.get(pid)
            since_s = before.seconds if before is not None and before.name == now.name else 0.0
            if pid not in own and now.seconds > since_s:
                spent.append(ProcessTimes(now.name, now.seconds - since_s))
        return tuple(sorted(spent, key=lambda process: -process.seconds)[:_BUSIEST])

    def close(self) -> None:
        """End the programs that were started."""
        self._commands.close()


def _bytes_of(value: object) -> int:
    """Return the bytes of an object and of what it holds."""
    parts: Iterable[object] = ()
    if isinstance(value, (tuple, list)):
        parts = value
    elif is_dataclass(value):
        parts = vars(value).values()
    return sys.getsizeof(value) + sum(_bytes_of(each) for each in parts)
