"""Search of a policy on a simulated session: it ends in time and meets the target."""

from __future__ import annotations

import pytest

from fasdk.errors import UsageError
from fasdk_tools.profiling.find import CONFIRMATIONS, candidates, find_policy
from fasdk_tools.profiling.target import Target
from fasdk_tools.profiling.time_budget import TimeBudget

from support.simulated_session import SimulatedSession

OPTIONS = candidates(8, 2, 30.0, is_cpu=True)


def found(target, seed=0, budget_s=270.0):
    session = SimulatedSession(target.rate_per_s, seed=seed)
    budget = TimeBudget(budget_s, session.clock)
    answer = find_policy(OPTIONS, session.measure, target, budget=budget)
    return answer, session


@pytest.mark.parametrize("text", ["p99<=30ms@20/s", "p99<=60ms@200/s", "p90<=20ms@5/s"])
def test_what_is_found_meets_the_target_in_five_fresh_runs_of_another_session(text):
    target = Target.parse(text)
    answer, session = found(target)
    assert answer.meets
    assert session.now_s <= 300.0
    assert len(answer.confirmed_ms) == CONFIRMATIONS
    assert max(answer.confirmed_ms) == answer.closest_ms <= target.limit_ms
    chosen = next(
        each
        for each in OPTIONS
        if (each.policy, each.threads) == (answer.policy.batching, answer.policy.threads)
    )
    fresh = SimulatedSession(target.rate_per_s, seed=99)
    assert all(target.is_met(fresh.measure(chosen, target.calls)) for _ in range(5))


def test_a_target_that_nothing_meets_gives_the_closest_in_time():
    answer, session = found(Target.parse("p99<=3ms@20/s"))
    assert not answer.meets
    assert session.now_s <= 300.0
    assert answer.closest_ms > 3.0
    assert answer.policy.chosen_for == ""


def test_candidates_beyond_the_budget_are_left_out():
    answer, session = found(Target.parse("p90<=30ms@2/s"), budget_s=200.0)
    assert 2 <= answer.tried < len(OPTIONS)
    assert session.now_s <= 200.0


def test_a_target_that_takes_too_long_to_confirm_is_refused():
    with pytest.raises(UsageError, match="5 runs of 299 calls to confirm"):
        found(Target.parse("p99<=30ms@1/s"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p99",
        "p98<=30ms@20/s",
        "p99<=0ms@20/s",
        "p99<=30ms@0/s",
        "p99<30ms@20/s",
        "p99<=1.2.3ms@1/s",
    ],
)
def test_a_text_that_is_no_target_is_refused(text):
    with pytest.raises(UsageError, match="is no target"):
        Target.parse(text)


def test_a_target_reads_as_it_was_written():
    assert str(Target.parse("p99.9 <= 30ms @ 0.5/s")) == "p99.9<=30ms@0.5/s"
