"""Rates, deadlines and the times of arrival of a process that was stopped."""

from __future__ import annotations

import time

import pytest

from fasdk.errors import UsageError
from fasdk_tools.serving.arrivals import Arrivals
from fasdk_tools.serving.limits import ServeLimits
from fasdk_tools.serving.refusals import Refusal, RefusedError
from fasdk_tools.serving.service import Deadline, RateLimit


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_more_captures_than_the_rate_are_refused_until_time_passes():
    clock = Clock()
    rate = RateLimit(5.0, clock)
    for _ in range(5):
        rate.take()
    with pytest.raises(RefusedError) as caught:
        rate.take()
    assert caught.value.refusal is Refusal.RATE
    clock.now = 0.2
    rate.take()
    with pytest.raises(RefusedError):
        rate.take()
    clock.now = 1e6  # no more than a second's worth is saved
    for _ in range(5):
        rate.take()
    with pytest.raises(RefusedError):
        rate.take()


def test_a_deadline_is_the_sooner_of_two_and_refuses_what_is_late():
    now_s = time.monotonic()
    deadline = Deadline.within(60_000.0)
    assert deadline.sooner(None, now_s) is deadline
    assert deadline.sooner(100.0, now_s).at_s == pytest.approx(now_s + 0.1)
    assert deadline.sooner(1e9, now_s).at_s == deadline.at_s
    deadline.require()
    with pytest.raises(RefusedError) as caught:
        Deadline(now_s - 1.0).require()
    assert caught.value.refusal is Refusal.DEADLINE


def test_what_waited_while_the_process_was_stopped_arrived_before():
    clock = Clock()
    arrivals = Arrivals(clock)
    for clock.now in (50.0, 100.0, 150.0):
        arrivals.tick()
    clock.now = 160.0
    assert arrivals.now_ms() == 160.0
    clock.now = 5_000.0  # read before the next tick
    assert arrivals.now_ms() == 150.0
    arrivals.tick()
    clock.now = 5_010.0  # read after it, of the same buffers
    assert arrivals.now_ms() == 150.0
    for clock.now in (5_060.0 + 50.0 * n for n in range(60)):
        arrivals.tick()
    assert arrivals.now_ms() == clock.now


@pytest.mark.parametrize(
    "changes",
    [
        {"deadline_ms": 0.0},
        {"deadline_ms": float("nan")},
        {"captures": 0},
        {"rate_per_s": 0.0},
        {"rate_per_s": float("inf")},
        {"idle_s": -1.0},
    ],
)
def test_a_limit_that_is_none_is_refused(changes):
    with pytest.raises(UsageError, match=next(iter(changes))):
        ServeLimits(**changes)
