"""Sequential tests: LIVE on sufficient evidence alone, within frame and time limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fasdk.errors import UsageError
from fasdk.sequential import ConsecutiveRun, ScoredFrame, SequentialRun, Step, select_test

from support.sequential_tests import evidence, sequential_test, sigmoid


def frames(*log_odds: float, every_ms: float = 100.0) -> list[ScoredFrame]:
    return [
        ScoredFrame(sigmoid(value), value > 0, at * every_ms) for at, value in enumerate(log_odds)
    ]


def steps(run, taken) -> list[Step]:
    return [run.add(frame) for frame in taken]


GO, LIVE, SPOOF = Step.UNDECIDED, Step.LIVE, Step.SPOOF


@pytest.mark.parametrize(
    ("correlation", "values", "expected"),
    [
        (0.0, [2.0, 2.0, 2.0], [GO, GO, LIVE]),  # Wald's sum: 2, 4, 6 against 5
        (1.0, [4.0, 4.0, 4.0], [GO, GO, GO]),  # the mean never gets there
        (0.5, [4.0, 4.0, 4.0], [GO, LIVE]),  # 4, then 8 / 1.5
        (0.0, [6.0], [LIVE]),
        (0.0, [-3.0], [GO]),
        (0.0, [-3.0, -1.0], [GO, SPOOF]),  # on the lower bound is a SPOOF
        (0.0, [4.0, -4.0, 4.0, -4.0], [GO, GO, GO, Step.OUT_OF_FRAMES]),
    ],
)
def test_the_bounds_are_met_by_the_log_likelihood_ratio(correlation, values, expected):
    run = SequentialRun(sequential_test(evidence=evidence(correlation=correlation)))
    assert steps(run, frames(*values)[: len(expected)]) == expected


def test_a_ratio_on_the_upper_bound_is_not_live():
    run = SequentialRun(sequential_test(evidence=evidence(most=2.5)))
    assert steps(run, frames(20.0, 20.0)) == [GO, GO]
    assert run.log_likelihood_ratio == 5.0


def test_evidence_of_one_frame_is_limited():
    run = SequentialRun(sequential_test(evidence=evidence(most=3.0)))
    assert run.add(ScoredFrame(1.0, True, 0.0)) is GO  # a score of 1 has infinite log-odds
    assert run.log_likelihood_ratio == 3.0
    run = SequentialRun(sequential_test(evidence=evidence(most=3.0), spoof_bound=-2.0))
    assert run.add(ScoredFrame(0.0, False, 0.0)) is SPOOF
    assert run.log_likelihood_ratio == -3.0


def test_the_prior_of_the_scores_is_taken_away():
    assert evidence(prior=0.9).of_frame(0.9) == pytest.approx(0.0, abs=1e-12)
    assert evidence(prior=0.5).of_frame(sigmoid(1.25)) == pytest.approx(1.25)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.1, 1.1])
@pytest.mark.parametrize("kind", ["sequential", "consecutive"])
def test_frame_without_a_score_leaves_the_run_unchanged(kind, score):
    run = SequentialRun(sequential_test()) if kind == "sequential" else ConsecutiveRun(2, 1e3)
    assert run.add(ScoredFrame(sigmoid(1.0), True, 0.0)) is GO
    before = run.frames, run.log_likelihood_ratio
    assert run.add(ScoredFrame(score, True, 10.0)) is GO
    assert (run.frames, run.log_likelihood_ratio) == before


@pytest.mark.parametrize("late_ms", [1000.1, math.nan, math.inf])
def test_a_bound_met_too_late_is_not_met(late_ms):
    run = SequentialRun(sequential_test(max_ms=1e9), max_ms=1e3)
    assert run.add(ScoredFrame(sigmoid(4.0), True, 0.0)) is GO
    assert run.is_expired(late_ms)
    assert run.add(ScoredFrame(sigmoid(4.0), True, late_ms)) is Step.OUT_OF_TIME
    run = SequentialRun(sequential_test(max_ms=1e3))
    assert run.add(ScoredFrame(sigmoid(4.0), True, 0.0)) is GO
    assert run.add(ScoredFrame(sigmoid(4.0), True, 1e3)) is LIVE


def test_a_run_that_has_ended_takes_no_more():
    run = SequentialRun(sequential_test())
    assert run.add(ScoredFrame(sigmoid(9.0), True, 0.0)) is LIVE
    with pytest.raises(UsageError, match="has ended"):
        run.add(ScoredFrame(sigmoid(9.0), True, 1.0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], [GO, GO, LIVE]),
        ([1.0, 1.0, -0.1], [GO, GO, SPOOF]),
        ([-0.1], [SPOOF]),
    ],
)
def test_without_a_test_live_takes_live_frames_in_a_row(values, expected):
    run = ConsecutiveRun(3, 1e3)
    assert steps(run, frames(*values)) == expected
    assert run.log_likelihood_ratio is None


@given(
    values=st.lists(
        st.one_of(st.floats(-12, 12), st.sampled_from([math.nan, math.inf, -math.inf])),
        min_size=1,
        max_size=30,
    ),
    correlation=st.floats(0, 1),
    every_ms=st.floats(0, 400),
)
def test_live_is_never_said_without_the_evidence(values, correlation, every_ms):
    """Recomputed from the frames alone, by another road than the run's."""
    test = sequential_test(evidence=evidence(correlation=correlation, most=6.0), max_frames=8)
    run = SequentialRun(test)
    taken: list[float] = []
    first = next((at for at, value in enumerate(values) if math.isfinite(value)), 0)
    for at, value in enumerate(values):
        step = run.add(ScoredFrame(sigmoid(value), True, at * every_ms))
        if math.isfinite(value):
            taken.append(min(max(value, -6.0), 6.0))
        if step is LIVE:
            mean = math.fsum(taken) / len(taken)
            weight = len(taken) / (1 + (len(taken) - 1) * correlation)
            assert mean * weight > test.live_bound - 1e-6
            assert len(taken) <= test.max_frames
            assert (at - first) * every_ms <= test.max_ms  # a frame without a score starts no run
        if step is not GO:
            break


@pytest.mark.parametrize(
    "change",
    [
        {"live_bound": 0.0},
        {"live_bound": math.inf},
        {"live_bound": math.nan},
        {"spoof_bound": 0.0},
        {"max_frames": 1},
        {"max_ms": 0.0},
        {"max_ms": math.inf},
        {"calibrated": False},
        {"modalities": ()},
        {"apcer_upper": 1.5},
        {"evidence": {"prior": 0.5, "correlation": 1.1, "most_per_frame": 1.0}},
        {"evidence": {"prior": 0.5, "correlation": 0.5, "most_per_frame": 0.0}},
        {"evidence": {"prior": 1.0, "correlation": 0.5, "most_per_frame": 1.0}},
    ],
)
def test_a_test_that_could_say_live_for_nothing_cannot_be_made(change):
    with pytest.raises(ValidationError):
        sequential_test(**change)


def test_a_test_is_never_borrowed():
    tests = [sequential_test()]
    assert select_test(tests, "standard/rgb+depth+ir") is tests[0]
    assert select_test(tests, "strict/rgb+depth+ir") is None
    assert select_test(tests, "standard/rgb") is None
