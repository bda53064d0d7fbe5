"""Mixed-precision search: fewest reverted layers, and the outcome when none suffice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk_engines.quantization import Layer
from fasdk_engines.quantization.graph.layers import ExclusionReason
from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
from fasdk_engines.quantization.mixed_precision.evaluator import BudgetEvaluation
from fasdk_engines.quantization.mixed_precision.search import (
    BudgetStatus,
    Fallback,
    Search,
    Trial,
    budget_status,
    estimate_fallbacks,
    int8_share,
    rank_fallbacks,
)
from fasdk_engines.quantization.mixed_precision.sensitivity import (
    LayerSensitivity,
    mean_square,
    sample_size,
)

LIMITS = BudgetLimits()


def layers(*macs: int) -> list[Layer]:
    return [Layer(f"l{k}", "MatMul", count) for k, count in enumerate(macs)]


@dataclass(frozen=True)
class Report:
    """Stands for a report whose figures are all there."""


def evaluation(flips: float, drift: float, misses: tuple[str, ...] = ()) -> BudgetEvaluation:
    return BudgetEvaluation(np.zeros((4, 2), np.float32), 4, 4, Report(), flips, drift, misses)


NOTHING: frozenset[str] = frozenset()


def searching(macs, errors, fine=None, **options):
    """Search where flips and drift follow the root of the squared errors left."""
    found = layers(*macs)
    sensitivities = [
        LayerSensitivity(y.name, y.macs, e, f)
        for y, e, f in zip(found, errors, fine or errors, strict=True)
    ]

    def evaluate(assignment):
        left = [
            c.residual_error if c.name in assignment.residual_layers else c.error
            for c in sensitivities
            if c.name not in assignment.float_layers
        ]
        size = sum(left) ** 0.5
        misses = () if size <= 1.0 else ("decision flips",)
        return evaluation(0.001 * size, 0.005 * size, misses)

    fallbacks, further = rank_fallbacks(found, sensitivities, NOTHING)
    search = Search(found, NOTHING, fallbacks, further, evaluate, LIMITS, **options)
    return search, lambda trial: estimate_fallbacks(
        sensitivities, NOTHING, fallbacks, trial, LIMITS
    )


@pytest.mark.parametrize(
    ("flips", "of_class", "status"),
    [
        (0.0001, 0.0002, BudgetStatus.HOLDS_WITH_MARGIN),
        (0.0001, 0.0003, BudgetStatus.HOLDS),  # all of them bona fide: BPCER has less room
        (0.0003, 0.0001, BudgetStatus.HOLDS),
        (0.0011, 0.0, BudgetStatus.MISSES),
    ],
)
def test_the_margin_is_of_all_captures_and_of_each_class(flips, of_class, status):
    found = replace(evaluation(flips, 0.0), expected_class_flips=of_class)
    assert budget_status(found, LIMITS) is status


@pytest.mark.parametrize(
    ("macs", "errors", "reverted", "status"),
    [
        ([10, 10, 10], [0.003, 0.003, 0.003], (), BudgetStatus.HOLDS_WITH_MARGIN),
        # one cheap layer makes nearly all the error: it pays for the margin
        ([1, 50, 50], [0.9, 0.001, 0.001], ("l0",), BudgetStatus.HOLDS_WITH_MARGIN),
        # the margin would cost more than a tenth of the work: the budget is enough
        ([50, 50], [0.4, 0.4], (), BudgetStatus.HOLDS),
        # what is too large for a tenth is passed over for what is not
        ([3, 50, 4, 50], [0.5, 0.3, 0.1, 0.0], ("l0", "l2"), BudgetStatus.HOLDS),
        # the budget itself may cost anything
        ([50, 50], [0.9, 0.9], ("l0",), BudgetStatus.HOLDS),
        # of two layers alike in error the smaller one goes
        ([50, 20, 50], [0.9, 0.9, 0.05], ("l1",), BudgetStatus.HOLDS),
        # a layer that gives no number goes first
        ([5, 50, 50], [0.1, 0.001, float("inf")], ("l0", "l2"), BudgetStatus.HOLDS_WITH_MARGIN),
    ],
)
def test_as_few_layers_revert_as_hold(macs, errors, reverted, status):
    search, guess = searching(macs, errors)
    trial = search.run(guess).trial
    assert (trial.float_layers, trial.status) == (reverted, status)
    assert trial in search.trials


def test_a_residual_activation_keeps_a_large_layer_in_int8():
    search, guess = searching([50, 50], [2.0, 0.005], [0.005, 0.005])
    found = search.run(guess)
    assert (found.trial.float_layers, found.trial.residual_layers) == ((), ("l0",))
    assert found.trial.int8_share == 1.0
    assert found.trial.status is BudgetStatus.HOLDS_WITH_MARGIN


def test_search_has_no_candidate_where_the_float_graph_misses():
    found = layers(1, 1, 1)
    sensitivities = [LayerSensitivity(y.name, y.macs, 1.0, 1.0) for y in found]
    search = Search(
        found,
        NOTHING,
        *rank_fallbacks(found, sensitivities, NOTHING),
        lambda _: evaluation(1.0, 1.0, ("flips",)),
        LIMITS,
    )
    assert search.run(lambda _: 1) is None
    assert search.trials[-1].float_layers == ("l0", "l1", "l2")  # it was evaluated


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=25
    ),
    st.integers(-3, 60),
)
def test_search_result_holds_and_no_candidate_is_evaluated_twice(kinds, start):
    macs, errors, shares = zip(*kinds, strict=True)
    search, _ = searching(macs, errors, [e * s for e, s in zip(errors, shares, strict=True)])
    found = search.run(lambda _: start)
    assert found is not None  # with every layer in floating point no error is left
    assert found.trial.status is not BudgetStatus.MISSES
    assert found.trial in search.trials
    states = {(t.float_layers, t.residual_layers) for t in search.trials}
    assert len(states) == len(search.trials)
    within = [
        t for t in search.trials if t.int8_share >= 0.9 and t.status is not BudgetStatus.MISSES
    ]
    if within:  # nine tenths stay in eight bits wherever that was seen to be enough
        assert found.trial.int8_share >= 0.9


def test_late_a_candidate_that_holds_is_good_enough():
    ticks = iter(range(0, 10_000, 200))
    macs, errors = [1] * 440, [0.0] * 400 + [0.2] * 5 + [0.0001] * 35
    search, _ = searching(macs, errors, clock=lambda: next(ticks))
    assert len(search.run(lambda _: 39).trial.float_layers) == 39
    assert len(search.trials) == 2
    unhurried, _ = searching(macs, errors)
    assert len(unhurried.run(lambda _: 39).trial.float_layers) == 5


def test_a_stopped_candidate_never_holds():
    stopped = BudgetEvaluation(np.zeros((4, 2), np.float32), 2, 4, None, 0.0, 0.0, ())
    assert not stopped.holds
    assert Trial.of(layers(1), (), NOTHING, stopped, LIMITS).status is BudgetStatus.MISSES


def test_no_flip_on_few_captures_is_not_enough():
    lucky = evaluation(0.002, 0.0)  # none flipped, two of a thousand are to be expected
    trial = Trial.of(layers(1), (), NOTHING, lucky, LIMITS)
    assert trial.status is BudgetStatus.MISSES
    assert trial.misses == ("expected decision flips 0.0020, limit 0.001",)


def test_without_a_margin_the_most_fallbacks_are_made_that_hold():
    flips = [0.0009, 0.0008, 0.0007, 0.0006, 0.0005, 0.0004, 0.0003]
    unlucky = {4, 6}  # a capture on the very threshold: no further fallback helps
    search = Search(
        layers(*[2] * 6, 100),
        NOTHING,
        tuple(Fallback(f"l{k}", True, 1.0, 2) for k in range(6)),
        (),
        lambda assignment: evaluation(
            flips[len(assignment.float_layers)],
            0.0,
            ("a flip",) if len(assignment.float_layers) in unlucky else (),
        ),
        LIMITS,
    )
    assert len(search.run(lambda _: 6).trial.float_layers) == 5


def test_the_share_counts_work_not_layers():
    found = [*layers(90, 9), Layer("head", "Gemm", 1, ExclusionReason.MATRIX_VECTOR)]
    assert int8_share(found, ()) == pytest.approx(0.99)
    assert int8_share(found, ("l1",)) == pytest.approx(0.90)
    assert int8_share([], ()) == 0.0


def test_fallbacks_are_ranked_by_error_removed_for_work():
    found = layers(2, 100, 6, 5)
    sensitivities = [
        LayerSensitivity("l0", 2, 0.4, 0.1),
        LayerSensitivity("l1", 100, 10.0, 1.0),
        LayerSensitivity("l2", 6, 3.0, 0.9),
        LayerSensitivity("l3", 5, 0.1, 0.1),  # two terms bring nothing
    ]
    fallbacks, further = rank_fallbacks(found, sensitivities, frozenset(["l2"]))
    # l2 and l0 leave nine tenths in eight bits; l3 with them does not
    assert [(m.name, m.to_float) for m in fallbacks] == [("l0", True), ("l2", True), ("l1", False)]
    assert [m.gain for m in fallbacks] == [0.4, 0.9, 9.0]
    assert [(m.name, m.to_float) for m in further] == [("l3", True), ("l1", True)]


@pytest.mark.parametrize(
    ("seconds", "count", "available", "size"),
    [
        (0.001, 30, 240, 64),
        (0.1, 30, 240, 32),
        (2.0, 75, 128, 1),
        (9.0, 75, 128, 1),
        (0.1, 1, 3, 2),
    ],
)
def test_sample_size_fits_the_time_and_is_at_least_one_capture(seconds, count, available, size):
    assert sample_size(seconds, count, available, 150.0) == size


def test_a_layer_whose_logits_are_not_finite_is_most_sensitive():
    assert mean_square(np.array([3.0, 4.0])) == 12.5
    assert mean_square(np.array([0.0, np.nan])) == float("inf")
