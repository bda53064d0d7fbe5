"""The search gives back as little as holds, costliest layers first, and says when nothing does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk_calibration.budget import BudgetLimits
from fasdk_engines.int8.costs import LayerCost, mean_square, probing_size, ranked
from fasdk_engines.int8.judge import Judgement
from fasdk_engines.int8.search import Level, Search, Trial, guess_length, int8_share
from fasdk_engines.quantisation import Layer

LIMITS = BudgetLimits()


def layers(*macs: int) -> list[Layer]:
    return [Layer(f"l{k}", "MatMul", count, True, "") for k, count in enumerate(macs)]


@dataclass(frozen=True)
class Report:
    """Stands for a report whose figures are all there."""


def judgement(flips: float, drift: float, misses: tuple[str, ...] = ()) -> Judgement:
    return Judgement(np.zeros((4, 2), np.float32), 4, 4, Report(), flips, drift, misses)


def searching(macs, errors, **options):
    """Search where flips and drift follow the root of the squared errors left."""
    found = layers(*macs)
    costs = [LayerCost(y.name, y.macs, e) for y, e in zip(found, errors, strict=True)]

    def judge(kept):
        left = sum(c.error for c in costs if c.name not in kept) ** 0.5
        misses = () if left <= 1.0 else ("decision flips",)
        return judgement(0.001 * left, 0.005 * left, misses)

    search = Search(found, ranked(costs), judge, LIMITS, **options)
    return search, lambda trial: guess_length(costs, trial, LIMITS)


@pytest.mark.parametrize(
    ("macs", "errors", "given_back", "level"),
    [
        ([10, 10, 10], [0.003, 0.003, 0.003], (), Level.HOLDS_WITH_MARGIN),
        # one cheap layer makes nearly all the error: it pays for the margin
        ([1, 50, 50], [0.9, 0.001, 0.001], ("l0",), Level.HOLDS_WITH_MARGIN),
        # the margin would cost more than a tenth of the work: the budget is enough
        ([50, 50], [0.4, 0.4], (), Level.HOLDS),
        # what is too large for a tenth is passed over for what is not
        ([3, 50, 4, 50], [0.5, 0.3, 0.1, 0.0], ("l0", "l2"), Level.HOLDS),
        # the budget itself may cost anything
        ([50, 50], [0.9, 0.9], ("l0",), Level.HOLDS),
        # of two layers alike in error the smaller one goes
        ([50, 20, 50], [0.9, 0.9, 0.05], ("l1",), Level.HOLDS),
        # a layer that gives no number goes first
        ([5, 50, 50], [0.1, 0.001, float("inf")], ("l2",), Level.HOLDS),
    ],
)
def test_as_little_is_given_back_as_holds(macs, errors, given_back, level):
    search, guess = searching(macs, errors)
    trial, _ = search.run(guess)
    assert (trial.kept_float, trial.level) == (given_back, level)
    assert trial in search.trials


def test_where_even_the_float_graph_misses_there_is_no_candidate():
    search = Search(
        layers(1, 1, 1), ("l0", "l1", "l2"), lambda _: judgement(1.0, 1.0, ("flips",)), LIMITS
    )
    assert search.run(lambda _: 1) is None
    assert search.trials[-1].kept_float == ("l0", "l1", "l2")  # it was asked


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=25),
    st.integers(-3, 40),
)
def test_where_prefixes_only_improve_the_shortest_that_holds_is_found(kinds, start):
    macs, errors = zip(*kinds, strict=True)
    search, _ = searching(macs, errors)
    trial, _ = search.run(lambda _: start)
    # In the model's own arithmetic: which prefix is the first to hold, and the first with margin?
    names = list(search.order)
    holding = [n for n in range(len(names) + 1) if not search.judge(frozenset(names[:n])).misses]
    assert trial.level is not Level.MISSES
    if trial.level is Level.HOLDS and int8_share(search.layers, trial.kept_float) < 0.9:
        assert len(trial.kept_float) == holding[0]
    assert len(search.trials) <= 2 * len(names) + 1
    assert len({t.kept_float for t in search.trials}) == len(search.trials)  # none judged twice


def test_late_a_candidate_that_holds_is_good_enough():
    ticks = iter(range(0, 10_000, 400))
    errors = [0.2] * 5 + [0.0001] * 35  # margin from the fifth on
    search, _ = searching([1] * 400 + [1] * 40, [0.0] * 400 + errors, clock=lambda: next(ticks))
    trial, _ = search.run(lambda _: 39)
    assert len(trial.kept_float) == 39
    assert len(search.trials) == 2
    unhurried, _ = searching([1] * 400 + [1] * 40, [0.0] * 400 + errors)
    shortest, _ = unhurried.run(lambda _: 39)
    assert len(shortest.kept_float) == 5


def test_a_stopped_candidate_never_holds():
    stopped = Judgement(np.zeros((4, 2), np.float32), 2, 4, None, 0.0, 0.0, ())
    assert not stopped.holds
    assert Trial.of(layers(1), (), stopped, LIMITS).level is Level.MISSES


def test_luck_on_few_captures_is_not_enough():
    lucky = judgement(0.002, 0.0)  # none flipped, two of a thousand are to be expected
    trial = Trial.of(layers(1), (), lucky, LIMITS)
    assert trial.level is Level.MISSES
    assert trial.misses == ("decision flips to expect 0.0020, limit 0.001",)


def test_without_a_margin_the_most_layers_are_given_back_that_hold():
    found = layers(*[2] * 6, 100, 100)
    order = [y.name for y in found]
    flips = {0: 0.0009, 1: 0.0008, 2: 0.0007, 3: 0.0006, 4: 0.0005, 5: 0.0004, 6: 0.0003}
    unlucky = {4, 6}  # a capture on the very threshold: no more layers help
    search = Search(
        found,
        order,
        lambda kept: judgement(flips[len(kept)], 0.0, ("a flip",) if len(kept) in unlucky else ()),
        LIMITS,
    )
    trial, _ = search.run(lambda _: 6)
    assert len(trial.kept_float) == 5


def test_the_share_counts_work_not_layers():
    found = [*layers(90, 9), Layer("head", "Gemm", 1, False, "matrix-vector product")]
    assert int8_share(found, ()) == pytest.approx(0.99)
    assert int8_share(found, ("l1",)) == pytest.approx(0.90)
    assert int8_share([], ()) == 0.0


def test_layers_are_ranked_by_error_for_work_and_then_by_place():
    costs = [LayerCost("a", 10, 1.0), LayerCost("b", 1, 1.0), LayerCost("c", 10, 1.0)]
    assert ranked(costs) == ("b", "a", "c")


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
def test_probing_takes_what_time_allows_and_at_least_one_capture(seconds, count, available, size):
    assert probing_size(seconds, count, available, 150.0) == size


def test_a_layer_that_gives_no_number_costs_most():
    assert mean_square(np.array([3.0, 4.0])) == 12.5
    assert mean_square(np.array([0.0, np.nan])) == float("inf")
