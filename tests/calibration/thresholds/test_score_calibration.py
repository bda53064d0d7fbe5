"""Score calibration: the fitted logistic, and the unchanged ranking of scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fasdk.capture import Modality
from fasdk.errors import DatasetError, OperatingPointError
from fasdk_calibration.metrics import Scores, auc
from fasdk_calibration.thresholds.score_calibration import fit_score_calibration

ALL = tuple(Modality)
GRAPH = "0" * 64


def frames(live, attack, presentations=None) -> Scores:
    """Return log-odds of bona fide frames, then of attacks, each a presentation of its own."""
    count = len(live) + len(attack)
    return Scores(
        values=np.array([*live, *attack], np.float64),
        is_bona_fide=np.arange(count) < len(live),
        species=("bona fide",) * len(live) + ("print",) * len(attack),
        presentation=tuple(presentations or (f"p{n}" for n in range(count))),
        subject=tuple(f"s{n}" for n in range(count)),
        domain=("lab",) * count,
    )


def fit(live, attack, presentations=None):
    return fit_score_calibration(frames(live, attack, presentations), ALL, GRAPH)


def test_the_slope_and_offset_that_made_the_labels_are_found_again():
    rng = np.random.default_rng(3)
    # Of log-odds z at even priors; the model says x = (z - 1) / 2, so slope 2 and offset 1 mend it.
    z = rng.normal(0, 2, 200_000)
    live = rng.random(z.size) < 1 / (1 + np.exp(-z))
    keep = np.ones(z.size, bool)
    found = fit((z[keep & live] - 1) / 2, (z[keep & ~live] - 1) / 2)
    assert found.slope == pytest.approx(2.0, abs=0.03)
    assert found.offset == pytest.approx(1.0, abs=0.03)


def test_calibration_equals_the_logistic_regression_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(4)
    live, attack = rng.normal(1.0, 2.0, 70), rng.normal(-2.0, 1.5, 230)
    found = fit(live, attack)
    # Soft targets as weights: each presentation once as what it is, once as the other class.
    values = np.concatenate([live, attack])
    truth = np.arange(300) < 70
    target = np.where(truth, 71 / 72, 1 / 232)
    weight = np.where(truth, 0.5 / 70, 0.5 / 230)
    model = linear.LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
    model.fit(
        np.concatenate([values, values])[:, None],
        np.repeat([1, 0], 300),
        sample_weight=300 * np.concatenate([weight * target, weight * (1 - target)]),
    )
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-5)
    assert found.offset == pytest.approx(model.intercept_[0], abs=1e-5)


def test_counts_of_a_class_do_not_move_the_prior():
    """A hundred times the attacks, alike: only their smoothing changes."""
    live, attack = [-1.0, 0.5, 2.0, 3.0] * 25, [-3.0, -1.0, 0.0, 1.0] * 25
    once, often = fit(live, attack), fit(live, attack * 100)
    assert often.slope == pytest.approx(once.slope, rel=0.05)
    assert often.offset == pytest.approx(once.offset, abs=0.05)


def test_many_frames_of_one_presentation_weigh_as_one():
    live, attack = [0.0, 2.0, 3.0], [-2.0, 0.5, -1.0]
    once = fit(live, attack)
    many = fit([0.0, *[2.0] * 50, 3.0], attack, ["a", *["b"] * 50, "c", "d", "e", "f"])
    assert (many.slope, many.offset) == (once.slope, once.offset)
    assert many.source == once.source
    assert "3 attack and 3 bona fide presentations" in once.source
    assert fit([0.0, *[2.0] * 50, 3.0], attack).slope != once.slope


@pytest.mark.parametrize("gap", [1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize(("live", "attack"), [(1, 1), (3, 200), (1000, 1000)])
def test_classes_that_separate_are_as_sure_as_their_counts_allow(gap, live, attack):
    found = fit([gap] * live, [-gap] * attack)
    assert math.isfinite(found.slope)
    assert found.slope > 0
    assert found.score(gap) == pytest.approx((live + 1) / (live + 2), rel=1e-4)
    assert found.score(-gap) == pytest.approx(1 / (attack + 2), rel=1e-4)


@pytest.mark.parametrize(
    ("live", "attack", "error", "words"),
    [
        ([1.0], [], DatasetError, "no attack presentation"),
        ([], [1.0], DatasetError, "no bona fide presentation"),
        ([np.inf, 1.0], [0.0], DatasetError, "1 of 3 log-odds are not finite"),
        ([1.0, 1.0], [1.0], OperatingPointError, r"with rgb\+depth\+ir score alike"),
        ([1e9, 1e9], [1e9 + 1e-7], OperatingPointError, "score alike"),
        ([-1.0, 0.0], [0.0, 1.0], OperatingPointError, "score no lower than bona fide"),
        ([0.0, 1.0, 2.0] * 30, [0.0, 1.0, 2.0] * 50, OperatingPointError, "score no lower"),
        ([0.0, 1.0], [0.0, 1.0], OperatingPointError, "score no lower than bona fide"),
    ],
)
def test_scores_no_increasing_function_makes_probabilities_of_are_refused(
    live, attack, error, words
):
    with pytest.raises(error, match=words):
        fit(live, attack)


def test_a_score_that_is_nan_cannot_even_be_handed_in():
    with pytest.raises(DatasetError, match="NaN"):
        fit([np.nan, 1.0], [0.0])


VALUES = st.lists(st.floats(-50, 50), min_size=1, max_size=30)


@given(VALUES, VALUES)
def test_whatever_is_fitted_keeps_the_ranking(live, attack):
    try:
        found = fit(live, attack)
    except OperatingPointError:
        assume(False)
    scores = frames(live, attack)
    calibrated = np.array([found.score(v) for v in scores.values])
    assert ((calibrated >= 0) & (calibrated <= 1)).all()
    order = np.argsort(scores.values)
    assert (np.diff(calibrated[order]) >= 0).all()
    if len(set(calibrated)) == len(set(scores.values.tolist())):  # none saturated or rounded alike
        assert auc(calibrated, scores.is_bona_fide) == auc(scores.values, scores.is_bona_fide)


def test_fitting_again_gives_the_same_numbers_whatever_the_order():
    rng = np.random.default_rng(8)
    live, attack = rng.normal(1, 1, 50), rng.normal(-1, 1, 80)
    one, other = fit(live, attack), fit(live[::-1], attack[::-1])
    assert (one.slope, one.offset) == (other.slope, other.offset)
    assert one == fit(live, attack)
