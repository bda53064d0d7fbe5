"""Highest rate held, and what says whether one is."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk_tools.profiling.held_rate import (
    CONFIRMATIONS,
    backlog_per_s,
    find_held_rate,
    goodput,
    is_held,
)
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.samples import Outcome, Samples
from fasdk_tools.profiling.searches import lasting_latencies


def queue(rate_per_s, service_ms, calls=400, refused=()):
    """One lane that serves arrivals at even intervals in order."""
    due = 1e3 / rate_per_s * np.arange(calls)
    answered, free = np.zeros(calls), 0.0
    for number in range(calls):
        free = answered[number] = max(free, due[number]) + service_ms
    outcome = np.zeros(calls, np.uint8)
    outcome[list(refused)] = Outcome.REFUSED
    answered[list(refused)] = np.nan
    return Samples(Load.CONSTANT, 1, 1, rate_per_s, due, due.copy(), answered, outcome)


def test_the_backlog_grows_by_what_is_offered_beyond_what_is_served():
    assert backlog_per_s(queue(50.0, 10.0)) == pytest.approx(0.0, abs=1e-9)
    assert backlog_per_s(queue(200.0, 10.0)) == pytest.approx(100.0, rel=0.01)


def test_captures_that_were_never_submitted_are_no_backlog():
    samples = queue(50.0, 10.0, refused=range(100, 400))
    samples.submitted_ms[100:] = np.nan
    assert backlog_per_s(samples) == pytest.approx(0.0, abs=0.5)


def test_a_rate_is_held_if_none_is_refused_and_the_backlog_stays():
    assert is_held(queue(99.0, 10.0), None)
    assert not is_held(queue(105.0, 10.0), None)
    assert not is_held(queue(50.0, 10.0, refused=[7]), None)


def test_a_run_too_short_to_show_an_overload_by_its_latency_counts_none_as_decided():
    at_once = queue(1e6, 0.1, calls=300)  # done after 30 ms, and never held
    assert np.isinf(lasting_latencies(at_once, 200.0)).all()
    assert np.array_equal(lasting_latencies(at_once, 0.001), at_once.latency_ms)
    held = queue(50.0, 10.0)
    assert np.array_equal(lasting_latencies(held, 1e9), held.latency_ms)


def test_with_a_deadline_a_held_rate_meets_it():
    samples = queue(50.0, 10.0)
    assert goodput(samples, 10.0 + 1e-6) == 1.0
    assert goodput(samples, 9.0) == 0.0
    assert is_held(samples, 10.0 + 1e-6)
    assert not is_held(samples, 9.0)
    assert goodput(queue(50.0, 10.0, refused=range(100)), 20.0) == 0.75


@pytest.mark.parametrize("guess", [20.0, 100.0, 900.0])
def test_the_search_ends_close_below_the_highest_rate_and_confirms_it(guess):
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= 100.0

    found = find_held_rate(holds, guess)
    assert 94.0 <= found.rate_per_s <= 100.0
    assert tried[-CONFIRMATIONS:] == [found.rate_per_s] * CONFIRMATIONS
    assert (found.confirmations, found.tries) == (CONFIRMATIONS, len(tried))


def test_a_rate_that_is_held_by_luck_is_lowered():
    def holds(rate):
        # The first look at each rate is lucky up to 100, later ones tell: 80.
        seen[rate] = seen.get(rate, 0) + 1
        return rate <= (100.0 if seen[rate] == 1 else 80.0)

    seen = {}
    found = find_held_rate(holds, 100.0)
    assert 0.95 * 80.0 <= found.rate_per_s <= 80.0


def test_a_search_without_any_held_rate_ends():
    found = find_held_rate(lambda _: False, 100.0)
    assert found.rate_per_s is None
    assert found.tries < 20
