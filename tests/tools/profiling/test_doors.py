"""Doors that a machine serves, on a simulated session whose capacity is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fasdk.errors import UsageError
from fasdk_tools.profiling.doors import CONFIRMATIONS, find_doors
from fasdk_tools.profiling.queue_model import queued_latencies
from fasdk_tools.profiling.time_budget import TimeBudget

FPS, SERVICE_MS, LANES = 5.0, 10.0, 2
CAPACITY = int(1e3 / SERVICE_MS * LANES / FPS)  # 40 doors keep both lanes at work


def machine(slower=1.0, seed=0):
    """Return a function that measures so many doors on two lanes of 10 ms."""
    rng = np.random.default_rng(seed)

    def measure(doors, calls):
        frames = math.ceil(calls / doors)
        phases = rng.uniform(0.0, 1.0, doors)
        due_ms = np.sort((np.arange(frames)[:, None] + phases).ravel()) * 1e3 / FPS
        return queued_latencies(due_ms, lambda _: SERVICE_MS * slower, lanes=LANES)

    return measure


class TimedMachine:
    """The same on a clock that goes on by the length of each run."""

    def __init__(self, fps: float = FPS, seed: int = 0) -> None:
        self.now_s, self._fps, self._rng = 0.0, fps, np.random.default_rng(seed)

    def clock(self) -> float:
        return self.now_s

    def measure(self, doors, calls):
        frames = math.ceil(calls / doors)
        phases = self._rng.uniform(0.0, 1.0, doors)
        due_ms = np.sort((np.arange(frames)[:, None] + phases).ravel()) * 1e3 / self._fps
        latencies = queued_latencies(due_ms, lambda _: SERVICE_MS, lanes=LANES)
        self.now_s += (due_ms + latencies).max() / 1e3
        return latencies

    def answer(self, seconds, asked=1):
        return find_doors(
            self.measure,
            np.full(100, SERVICE_MS),
            asked=asked,
            fps=self._fps,
            deadline_ms=50.0,
            lanes=LANES,
            budget=TimeBudget(seconds, self.clock),
        )


def answer(asked, deadline_ms=50.0, **of_machine):
    return find_doors(
        machine(**of_machine),
        np.full(100, SERVICE_MS),
        asked=asked,
        fps=FPS,
        deadline_ms=deadline_ms,
        lanes=LANES,
    )


def test_the_model_serves_nobody_at_a_rate_that_no_lane_works_off():
    """Its thousand captures are over within a millisecond, before the queue is long."""

    def never_in_time(doors, calls):
        return np.full(calls, math.inf)

    found = find_doors(
        never_in_time,
        np.full(100, SERVICE_MS),
        asked=1,
        fps=1e6,
        deadline_ms=5_000.0,
        lanes=LANES,
    )
    assert (found.predicted, found.serves) == (0, 0)
    (point,) = found.curve
    assert (point.predicted_p99_ms, point.measured_p99_ms) == (None, None)
    crowded = answer(CAPACITY + 5, deadline_ms=1e5)
    assert crowded.predicted == CAPACITY


def test_what_is_measured_agrees_with_the_model_below_capacity():
    found = answer(10)
    assert found.meets
    assert 0.5 * CAPACITY <= found.serves <= CAPACITY
    assert abs(found.serves - found.predicted) <= 0.25 * CAPACITY
    held = [point for point in found.curve if point.doors == found.serves]
    assert sum(point.measured_p99_ms <= 50.0 for point in held) >= CONFIRMATIONS
    assert min(point.goodput for point in held[-CONFIRMATIONS:]) >= 0.98
    assert not answer(CAPACITY + 1).meets


def test_the_measured_curve_decides_where_the_model_is_wrong():
    found = answer(30, slower=2.0)
    assert found.serves <= CAPACITY // 2 < found.predicted
    assert not found.meets


def test_a_deadline_shorter_than_a_call_serves_no_door():
    found = answer(1, deadline_ms=5.0)
    assert (found.serves, found.predicted, found.meets) == (0, 0, False)


def test_captures_that_were_not_decided_are_not_served():
    found = find_doors(
        lambda _, calls: np.full(calls, math.inf),
        np.full(100, SERVICE_MS),
        asked=1,
        fps=FPS,
        deadline_ms=50.0,
        lanes=LANES,
    )
    assert found.serves == 0
    assert {point.measured_p99_ms for point in found.curve} == {None}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"asked": 0}, "--doors is 0"),
        ({"fps": math.nan}, "--fps is nan"),
        ({"deadline_ms": 0.0}, "--deadline is 0"),
    ],
)
def test_a_number_out_of_range_is_refused(wrong, expected):
    usual = {"asked": 1, "fps": FPS, "deadline_ms": 50.0, "lanes": LANES}
    with pytest.raises(UsageError, match=expected):
        find_doors(machine(), np.full(100, SERVICE_MS), **(usual | wrong))


def test_the_model_meets_the_mean_wait_of_m_d_1():
    """Mean wait of M/D/1 at load r: r / (2 (1 - r)) services (Pollaczek 1930, Khinchine 1932)."""
    rng = np.random.default_rng(1)
    due_ms = np.cumsum(rng.exponential(SERVICE_MS / 0.5, 20_000))
    waits = queued_latencies(due_ms, lambda _: SERVICE_MS, lanes=1) - SERVICE_MS
    assert waits.mean() == pytest.approx(SERVICE_MS * 0.5, rel=0.1)


def test_a_batch_takes_what_is_due_when_a_lane_is_free():
    due_ms = np.array([0.0, 1.0, 2.0, 3.0])
    served = queued_latencies(due_ms, lambda batch: 10.0 * batch, lanes=1, max_batch=2)
    np.testing.assert_allclose(served, [10.0, 29.0, 28.0, 37.0])


@pytest.mark.parametrize("fps", [0.2, 1.0, 20.0])
@pytest.mark.parametrize("seconds", [5.0, 40.0, 80.0])
def test_it_ends_in_time_and_says_what_is_not_finished(fps, seconds):
    machine = TimedMachine(fps)
    found = machine.answer(seconds)
    assert machine.now_s <= seconds * 1.1 + 1.0
    assert found.seconds == pytest.approx(machine.now_s)
    assert found.confirmations <= CONFIRMATIONS
    assert bool(found.unfinished) or found.confirmations == CONFIRMATIONS
    assert found.meets == (found.serves >= 1 and found.confirmations == CONFIRMATIONS)
    held = {p.doors for p in found.curve if (p.measured_p99_ms or math.inf) <= 50.0}
    assert found.serves == 0 or found.serves in held


def test_with_time_enough_nothing_is_unfinished_and_with_too_little_no_run_begins():
    ample = TimedMachine().answer(270.0)
    assert (ample.unfinished, ample.meets) == ((), True)
    none = TimedMachine().answer(1.0)
    assert (none.serves, none.confirmations, none.curve, none.meets) == (0, 0, (), False)
    assert "1 of 1 s were left" in none.unfinished[0]


def test_a_number_that_there_was_no_time_to_confirm_is_not_met():
    found = TimedMachine().answer(16.0)
    assert 0 < found.confirmations < CONFIRMATIONS
    assert found.serves == found.predicted == CAPACITY
    assert not found.meets
    assert "to confirm what it shows" in found.unfinished[0]
    assert found.unfinished[1].startswith(f"a run of {CAPACITY} doors takes 2 s: ")
