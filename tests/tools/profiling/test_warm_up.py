"""Warm-up of a run: it ends where three windows agree, whatever the load and its length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.samples import Outcome, Samples
from fasdk_tools.profiling.steady import WINDOW_CALLS
from fasdk_tools.profiling.warm_up import LEAST_CALLS, first_steady_call, without_warm_up

from support.profile_queueing import waiting_by_recursion


def run_of(latency_ms, *, due_ms=None, load=Load.CLOSED, warmup=0) -> Samples:
    """Return a closed loop of some latencies, or a load that was due at given times."""
    latency_ms = np.float64(latency_ms)
    due_ms = np.cumsum(latency_ms) - latency_ms if due_ms is None else np.float64(due_ms)
    return Samples(
        load=load,
        batch=1,
        lanes=1,
        rate_per_s=None,
        due_ms=due_ms,
        submitted_ms=due_ms,
        answered_ms=due_ms + latency_ms,
        outcome=np.full(len(due_ms), Outcome.DECIDED, np.uint8),
        warmup=warmup,
    )


def ramp(slow: int, factor: float, steady: int, seed: int) -> np.ndarray:
    """Return latencies that fall from `factor` times 10 ms within `slow` calls, then stay there."""
    rng = np.random.default_rng(seed)
    falling = np.linspace(factor, 1.0, slow, endpoint=False)
    return 10.0 * np.concatenate([falling, np.ones(steady)]) * rng.lognormal(0, 0.01, slow + steady)


@settings(max_examples=40, deadline=None)
@given(
    slow=st.integers(0, 400),
    factor=st.floats(2.0, 10.0),
    seed=st.integers(0, 999),
    is_open=st.booleans(),
)
def test_it_ends_where_a_slow_start_does(slow, factor, seed, is_open):
    latency_ms = ramp(slow, factor, 6 * WINDOW_CALLS, seed)
    due_ms = 120.0 * np.arange(len(latency_ms)) if is_open else None
    start = first_steady_call(
        run_of(latency_ms, due_ms=due_ms, load=Load.CONSTANT if is_open else Load.CLOSED)
    )
    assert start is not None
    # Up to half of a window may be slow without moving its median.
    assert slow - 1.5 * WINDOW_CALLS <= start <= slow + WINDOW_CALLS + 1


@settings(max_examples=40, deadline=None)
@given(growth=st.floats(1.1, 1.5), calls=st.integers(1, 900), first_ms=st.floats(0.1, 50.0))
def test_a_latency_that_goes_on_growing_is_never_steady(growth, calls, first_ms):
    run = run_of(first_ms * growth ** (np.arange(calls) / WINDOW_CALLS))
    assert first_steady_call(run) is None
    assert without_warm_up(run) is run


@settings(max_examples=40, deadline=None)
@given(
    calls=st.integers(1, 700),
    spread=st.floats(0.0, 1.0),
    seed=st.integers(0, 999),
    warmup=st.integers(0, 5),
    shift_ms=st.floats(-1e6, 1e6),
)
def test_no_call_is_taken_out_and_the_answer_is_that_of_the_run_alone(
    calls, spread, seed, warmup, shift_ms
):
    latency_ms = 8.0 * np.random.default_rng(seed).lognormal(0, spread, calls)
    run = run_of(latency_ms, warmup=min(warmup, calls))
    found = without_warm_up(run)
    assert found.due_ms is run.due_ms
    assert found.answered_ms is run.answered_ms
    assert found.warmup >= run.warmup
    assert without_warm_up(found).warmup == found.warmup
    shifted = first_steady_call(run.shifted(round(shift_ms)))
    assert shifted == first_steady_call(run)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), share=st.floats(0.05, 0.9))
def test_calls_without_a_decision_move_the_end_to_the_same_call(seed, share):
    latency_ms = ramp(120, 5.0, 300, seed)
    due_ms = 80.0 * np.arange(len(latency_ms))
    start = first_steady_call(run_of(latency_ms, due_ms=due_ms, load=Load.POISSON))
    refused = np.random.default_rng(seed).random(len(due_ms)) < share
    places = np.flatnonzero(np.ravel(np.column_stack([refused, np.ones_like(refused)])))
    is_refused = places % 2 == 0
    twice_ms, late_ms = np.repeat(due_ms, 2)[places], np.repeat(latency_ms, 2)[places]
    run = run_of(late_ms, due_ms=twice_ms, load=Load.POISSON)
    run.answered_ms[is_refused] = np.nan
    found = first_steady_call(run)
    assert start is not None
    assert found is not None
    assert not is_refused[found]
    assert run.due_ms[found] == due_ms[start]


def test_a_loaded_queue_is_steady_in_windows_that_are_large_enough():
    """Windows of 50 calls of M/D/1 at 80 % do not agree; those of some thousand do."""
    due_ms = np.cumsum(np.random.default_rng(4).exponential(5.0 / 0.8, 20_000))
    latency_ms = 5.0 + waiting_by_recursion(due_ms, np.full(len(due_ms), 5.0))
    run = run_of(latency_ms, due_ms=due_ms, load=Load.POISSON)
    assert first_steady_call(run) is not None


def test_captures_that_are_due_at_once_are_steady_by_their_rate():
    gaps_ms = np.where(np.arange(500) < 90, 35.0, 10.0)
    run = run_of(np.cumsum(gaps_ms), due_ms=np.zeros(500), load=Load.OFFLINE)
    assert 80 <= first_steady_call(run) <= 160
    even = run_of(10.0 * np.arange(1, 501), due_ms=np.zeros(500), load=Load.OFFLINE)
    assert first_steady_call(even) == 0


@pytest.mark.parametrize("load", [Load.IDLE, Load.COLD])
def test_first_decisions_have_no_warm_up(load):
    assert first_steady_call(run_of([50.0, 5.0], load=load)) == 0


def test_the_fewest_calls_that_can_show_it_do():
    enough = run_of(np.full(LEAST_CALLS, 10.0))
    assert first_steady_call(enough) == 0
    assert first_steady_call(run_of(np.full(LEAST_CALLS - 1, 10.0))) is None


def test_a_longer_warm_up_that_was_asked_for_stays():
    run = replace(run_of(np.full(400, 10.0)), warmup=60)
    assert without_warm_up(run).warmup == 60
