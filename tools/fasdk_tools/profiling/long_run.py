"""Long run under one load: latency, memory and temperature minute by minute."""

from __future__ import annotations

import os
import re
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import UsageError
from fasdk_tools.profiling.door_figures import MinuteFigures, SoakFigures
from fasdk_tools.profiling.idle import Timing
from fasdk_tools.profiling.load import LONGEST_S
from fasdk_tools.profiling.machine.files import SystemFiles
from fasdk_tools.profiling.machine.thermal import TemperatureSource
from fasdk_tools.profiling.samples import Samples
from fasdk_tools.profiling.steady import Trend, trend
from fasdk_tools.profiling.warm_up import without_warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SLICE_S = 10.0
"""Length of one measurement of a long run; memory and temperature are read between two."""
_MINUTE_S = 60.0
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SHORTEST_S = 1.0


def parse_duration(text: str, option: str = "--soak") -> float:
    """Return the seconds of a duration such as "45m", "90s" or "1.5h", which an option was given.

    Raises:
        UsageError: It is no such duration, or not between a second and a week.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not _SHORTEST_S <= seconds <= LONGEST_S:
        raise UsageError(
            f"{option} {text!r} is no length of time: expected a number and s, m or h, from 1s to "
            "168h, such as 45m"
        )
    return seconds


@dataclass(frozen=True)
class ProcessState:
    """What a long run watches of its process and machine.

    Attributes:
        resident_mb: Function that returns the resident memory, in 10^6 bytes.
        temperature_c: Function that returns the highest temperature of any sensor, or None.
    """

    resident_mb: Callable[[], float]
    temperature_c: Callable[[], float | None]

    @classmethod
    def of_this_machine(
        cls, root: Path = Path("/"), kept_mb: Callable[[], float] = float
    ) -> ProcessState:
        """Return the state of this process, temperatures by the kernel's thermal zones.

        Args:
            root: Root of the file system.
            kept_mb: Memory that a measurement keeps beside it, in 10^6 bytes, which is taken off.
        """
        source = TemperatureSource.find(SystemFiles(root))

        def hottest() -> float | None:
            zones = () if source is None else source.read(0.0).temperatures
            return max((zone.celsius for zone in zones), default=None)

        return cls(resident_mb=lambda: _resident_mb() - kept_mb(), temperature_c=hottest)


@contextmanager
def ended_by_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets while the block runs; the second one raises.

    Outside the main thread, where no handler can be set, nothing sets it.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(_number: int, _frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, eq=False)
class LongRun:
    """A long run.

    Attributes:
        figures: What it shows minute by minute.
        samples: Its calls, without those before each slice, at times from the start of the run; its
            warm-up lasts until it is steady.
    """

    figures: SoakFigures
    samples: Samples


@dataclass
class _Slices:
    """Calls and states of a run.

    Attributes:
        calls: Counted calls of each slice, at times from the start of the run.
        states: Time, resident memory in 10^6 bytes and temperature after every slice.
    """

    calls: list[Samples] = field(default_factory=list)
    states: list[tuple[float, float, float | None]] = field(default_factory=list)

    @property
    def kept_mb(self) -> float:
        """Memory that these calls themselves take, in 10^6 bytes."""
        return sum(each.kept_mb for each in self.calls)


def measure_long(
    measure_slice: Callable[[float], Samples],
    seconds: float,
    *,
    stopped: threading.Event,
    state: ProcessState,
    timing: Timing | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> LongRun:
    """Measure a load for a long time, in slices, until the time is over or it is stopped.

    Args:
        measure_slice: Function that measures the load for so many seconds.
        seconds: Length of the run in seconds.
        stopped: Event that ends the run after the slice under way.
        state: Memory and temperature to watch.
        timing: Clock; None for the system's.
        on_progress: Callback with the share of the time that has passed, in [0, 1].

    Raises:
        FasdkError: A slice failed.
    """
    timing = timing or Timing()
    found = _Slices()
    start_s = timing.clock_s()
    now_s = 0.0
    while now_s < seconds and not (stopped.is_set() and found.calls):
        begun_s = now_s
        samples = measure_slice(min(SLICE_S, max(seconds - now_s, 0.1)))
        found.calls.append(samples.counted.shifted(1e3 * begun_s))
        now_s = timing.clock_s() - start_s
        resident_mb = state.resident_mb() - found.kept_mb
        found.states.append((now_s, resident_mb, state.temperature_c()))
        if on_progress is not None:
            on_progress(min(1.0, now_s / seconds))
    joined = without_warm_up(Samples.joined(found.calls))
    return LongRun(_figures(found, joined, asked_s=seconds, measured_s=now_s), joined)


def _figures(found: _Slices, samples: Samples, *, asked_s: float, measured_s: float) -> SoakFigures:
    decided = np.isfinite(samples.answered_ms)
    latency_ms, answered_s = samples.latency_ms[decided], samples.answered_ms[decided] / 1e3
    order = np.argsort(answered_s, kind="stable")
    latency_ms, answered_s = latency_ms[order], answered_s[order]
    moved = _trend(samples.counted)
    minutes = tuple(
        _minute(number, found.states, latency_ms, answered_s)
        for number in range(1, _minute_of(found.states[-1][0]) + 1)
    )
    warm = minutes[1] if len(minutes) > 2 else minutes[0]
    return SoakFigures(
        load=samples.load.value,
        asked_s=asked_s,
        measured_s=measured_s,
        interrupted=measured_s < asked_s,
        first_ms=None if moved is None else moved.first_ms,
        last_ms=None if moved is None else moved.last_ms,
        spearman=None if moved is None else moved.spearman,
        drifts=moved is not None and moved.is_drift(),
        memory_growth_mb=minutes[-1].resident_mb - warm.resident_mb,
        minutes=minutes,
    )


def _trend(counted: Samples) -> Trend | None:
    """Return how latency moved over the calls after the warm-up, in order of their answers."""
    order = np.argsort(counted.answered_ms, kind="stable")
    order = order[np.isfinite(counted.answered_ms[order])]
    return trend(counted.latency_ms[order], counted.answered_ms[order])


def _minute(
    number: int,
    every_state: Sequence[tuple[float, float, float | None]],
    latency_ms: np.ndarray,
    answered_s: np.ndarray,
) -> MinuteFigures:
    first, last = np.searchsorted(answered_s, [(number - 1) * _MINUTE_S, number * _MINUTE_S])
    calls = latency_ms[first:last]
    states = [each for each in every_state if _minute_of(each[0]) == number]
    states = states or [every_state[-1]]
    temperatures = [celsius for _, _, celsius in states if celsius is not None]
    return MinuteFigures(
        minute=number,
        calls=len(calls),
        median_ms=float(np.median(calls)) if len(calls) else None,
        largest_ms=float(calls.max()) if len(calls) else None,
        resident_mb=max(resident for _, resident, _ in states),
        temperature_c=max(temperatures, default=None),
    )


def _minute_of(at_s: float) -> int:
    """Return the number of the minute that a slice ended in, from 1."""
    return max(1, int(np.ceil(at_s / _MINUTE_S)))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
