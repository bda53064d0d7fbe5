"""Long runs: minutes, drift, memory and temperature, on a clock moved by hand."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from fasdk.errors import UsageError
from fasdk_tools.profiling.idle import Timing
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.long_run import (
    ProcessState,
    ended_by_interrupt,
    measure_long,
    parse_duration,
)
from fasdk_tools.profiling.samples import Outcome, Samples


class Machine:
    """A clock that slices move, and a process whose memory and temperature follow it."""

    def __init__(self, *, ms_per_s: float = 0.0, mb_per_s: float = 0.0, celsius_per_s=0.0) -> None:
        self.now_s = 0.0
        self._ms_per_s, self._mb_per_s, self._celsius_per_s = ms_per_s, mb_per_s, celsius_per_s
        self._rng = np.random.default_rng(0)

    def slice(self, seconds: float) -> Samples:
        due_ms = np.arange(0.0, 1e3 * seconds, 100.0)
        noise = self._rng.normal(0.0, 0.1, len(due_ms))
        latency_ms = 10.0 + self._ms_per_s * (self.now_s + due_ms / 1e3) + noise
        self.now_s += seconds
        return Samples(
            load=Load.CONSTANT,
            batch=1,
            lanes=1,
            rate_per_s=10.0,
            due_ms=due_ms,
            submitted_ms=due_ms,
            answered_ms=due_ms + latency_ms,
            outcome=np.full(len(due_ms), Outcome.DECIDED, np.uint8),
        )

    def measure(self, seconds, stopped=None, measure_slice=None):
        state = ProcessState(
            resident_mb=lambda: 200.0 + self._mb_per_s * self.now_s,
            temperature_c=lambda: 40.0 + self._celsius_per_s * self.now_s,
        )
        return measure_long(
            measure_slice or self.slice,
            seconds,
            stopped=stopped or threading.Event(),
            state=state,
            timing=Timing(clock_s=lambda: self.now_s),
        )


def test_a_run_is_told_minute_by_minute():
    run = Machine(celsius_per_s=0.1).measure(150.0)
    found = run.figures
    assert [each.minute for each in found.minutes] == [1, 2, 3]
    assert sum(each.calls for each in found.minutes) == 1500
    assert [each.temperature_c for each in found.minutes] == [46.0, 52.0, 55.0]
    assert (found.load, found.measured_s, found.interrupted) == ("constant", 150.0, False)
    assert not found.drifts
    assert found.memory_growth_mb == pytest.approx(0.0, abs=0.1)
    assert run.samples.due_ms.tolist() == pytest.approx(np.arange(0.0, 150e3, 100.0))
    assert np.all(np.abs(run.samples.latency_ms - 10.0) < 1.0)


def test_a_latency_that_rises_is_a_drift_and_a_growing_memory_is_told():
    found = Machine(ms_per_s=0.02, mb_per_s=0.1).measure(300.0).figures
    assert found.drifts
    assert found.spearman > 0.9
    assert found.last_ms > 1.3 * found.first_ms
    assert found.memory_growth_mb == pytest.approx(0.1 * 180, rel=0.05)


def test_a_slow_first_minute_is_warm_up_and_no_drift():
    machine = Machine()

    def measure_slice(seconds):
        slow = 3.0 if machine.now_s < 50.0 else 0.0
        taken = machine.slice(seconds)
        lasting = slow * np.linspace(1.0, 0.8, len(taken)) * (1.0 - (machine.now_s - 10.0) / 60.0)
        return replace(taken, answered_ms=taken.answered_ms + 10.0 * lasting)

    run = machine.measure(300.0, measure_slice=measure_slice)
    assert 450 <= run.samples.warmup <= 550
    assert not run.figures.drifts
    assert run.figures.first_ms == pytest.approx(10.0, abs=0.1)
    assert run.figures.minutes[0].largest_ms > 35.0  # minutes leave no call out


def test_what_the_measurement_keeps_is_no_growth_of_the_session():
    machine = Machine()
    kept = []
    state = ProcessState(
        resident_mb=lambda: 200.0 + sum(each.kept_mb for each in kept), temperature_c=lambda: None
    )

    def measure_slice(seconds):
        samples = machine.slice(seconds)
        kept.append(samples)
        return samples

    found = measure_long(
        measure_slice,
        200.0,
        stopped=threading.Event(),
        state=state,
        timing=Timing(clock_s=lambda: machine.now_s),
    ).figures
    assert kept[0].kept_mb == 25 * len(kept[0]) / 1e6
    assert found.memory_growth_mb == pytest.approx(0.0, abs=1e-9)
    assert [each.temperature_c for each in found.minutes] == [None] * 4


def test_a_run_that_is_stopped_gives_what_was_measured():
    machine, stopped = Machine(), threading.Event()

    def measure_slice(seconds):
        if machine.now_s >= 70.0:
            stopped.set()
        return machine.slice(seconds)

    found = machine.measure(2700.0, stopped, measure_slice).figures
    assert (found.measured_s, found.asked_s, found.interrupted) == (80.0, 2700.0, True)
    assert len(found.minutes) == 2


def test_a_run_that_is_stopped_before_its_first_slice_still_measures_one():
    stopped = threading.Event()
    stopped.set()
    assert Machine().measure(60.0, stopped).figures.measured_s == 10.0


def test_refused_calls_have_no_latency():
    machine = Machine()

    def measure_slice(seconds):
        samples = machine.slice(seconds)
        samples.answered_ms[::2] = np.nan
        return samples

    assert machine.measure(20.0, measure_slice=measure_slice).figures.minutes[0].calls == 100


def test_the_first_interrupt_ends_a_run_and_the_second_one_raises():
    before = signal.getsignal(signal.SIGINT)
    with ended_by_interrupt() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(10.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("text", "seconds"), [("45m", 2700.0), ("90s", 90.0), ("1.5h", 5400.0)])
def test_a_duration_has_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["45", "0m", "-5m", "5 min", "", "1e3s", "200h", "0.5s"])
def test_another_duration_is_refused(text):
    with pytest.raises(UsageError, match="such as 45m"):
        parse_duration(text)


def test_temperatures_are_those_of_the_kernels_zones(tmp_path):
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("tj-thermal\n")
    (zone / "temp").write_text("51500\n")
    state = ProcessState.of_this_machine(tmp_path)
    assert state.temperature_c() == 51.5
    assert state.resident_mb() > 1.0
    assert ProcessState.of_this_machine(tmp_path / "none").temperature_c() is None
    less = ProcessState.of_this_machine(tmp_path, kept_mb=lambda: 1e6)
    assert less.resident_mb() < 0.0
