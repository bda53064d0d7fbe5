"""Confidence intervals of AUC, EER and HTER, resampled by subject."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    EerRule,
    auc,
    bootstrap_intervals,
    eer_threshold,
    equal_error_rate,
    half_total_error_rate,
)


def people(count, takes, seed, spread=1.0, noise=0.3):
    """Presentations of people who differ more among each other than from take to take."""
    rng = np.random.default_rng(seed)
    live = np.repeat(np.arange(2 * count) < count, takes)
    names = np.repeat([f"s{i:03d}" for i in range(2 * count)], takes)
    person = np.repeat(rng.normal(0, spread, 2 * count), takes)
    return person + live * 1.0 + rng.normal(0, noise, live.size), live, names


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    scores, live, names = people(20, 3, 0)
    once = bootstrap_intervals(scores, live, names, 0.5, resamples=50, seed=3)
    assert once == bootstrap_intervals(scores, live, names, 0.5, resamples=50, seed=3)
    assert once != bootstrap_intervals(scores, live, names, 0.5, resamples=50, seed=4)


def test_bootstrap_does_not_depend_on_the_order_of_rows():
    scores, live, names = people(20, 3, 0)
    mixed = np.random.default_rng(1).permutation(scores.size)
    assert bootstrap_intervals(
        scores[mixed], live[mixed], names[mixed], 0.5, resamples=50
    ) == bootstrap_intervals(scores, live, names, 0.5, resamples=50)


def test_showing_every_presentation_five_times_narrows_nothing():
    scores, live, names = people(20, 2, 0)
    once = bootstrap_intervals(scores, live, names, 0.5, resamples=100)
    often = bootstrap_intervals(
        np.tile(scores, 5), np.tile(live, 5), np.tile(names, 5), 0.5, resamples=100
    )
    for figure in ("auc", "eer", "hter_at_eer", "hter"):
        one, five = getattr(once, figure), getattr(often, figure)
        assert (five.lower, five.upper) == pytest.approx((one.lower, one.upper), abs=1e-12)


def test_intervals_are_the_quantiles_of_the_figures_of_the_resampled_rows():
    scores, live, names = people(8, 2, 1)
    threshold = float(np.sort(scores[~live])[-2])  # a score: on it is not above it
    found = bootstrap_intervals(scores, live, names, threshold, resamples=40, seed=7)
    rng = np.random.default_rng(7)
    unique = np.unique(names)
    figures = []
    for _ in range(40):
        drawn = []
        for group in (unique[:8], unique[8:]):  # bona fide people, then attackers
            drawn += group[rng.integers(0, 8, 8)].tolist()
        rows = np.concatenate([np.flatnonzero(names == name) for name in drawn])
        chosen, labels = scores[rows], live[rows]
        figures.append(
            (
                roc_auc_score(labels, chosen),
                equal_error_rate(chosen, labels),
                half_total_error_rate(chosen, labels, eer_threshold(chosen, labels, EerRule.SCORE)),
                half_total_error_rate(chosen, labels, threshold),
            )
        )
    lower, upper = np.quantile(figures, [0.025, 0.975], axis=0)
    assert (upper - lower > 0.1).all()
    for figure, low, high in zip(("auc", "eer", "hter_at_eer", "hter"), lower, upper, strict=True):
        interval = getattr(found, figure)
        assert (interval.lower, interval.upper) == pytest.approx((low, high), abs=1e-12)


def test_intervals_over_subjects_cover_the_truth_and_over_presentations_do_not():
    truth = auc(*people(4000, 4, 99)[:2])
    covered = {"subject": 0, "presentation": 0}
    trials = 40
    for trial in range(trials):
        scores, live, names = people(25, 6, trial)
        alone = np.array([str(i) for i in range(scores.size)])
        for unit, groups in (("subject", names), ("presentation", alone)):
            found = bootstrap_intervals(scores, live, groups, 0.5, resamples=100).auc
            covered[unit] += found.lower <= truth <= found.upper
    assert covered["subject"] >= 0.85 * trials
    assert covered["presentation"] <= 0.75 * trials  # six takes of one person are not six people


def test_no_resample_lacks_a_class_however_rare():
    scores = np.array([0.9, 0.8, *np.linspace(0, 0.7, 60)])
    live = np.arange(62) < 2
    found = bootstrap_intervals(scores, live, [f"s{i}" for i in range(62)], 0.5, resamples=200)
    assert found is not None
    assert (found.auc.lower, found.auc.upper) == (1.0, 1.0)


def test_subjects_of_both_classes_are_resampled_with_both():
    # Each person's attack scores just below their own bona fide presentation.
    level = np.arange(30.0)
    scores = np.concatenate([level, level - 0.5])
    live = np.arange(60) < 30
    names = [f"s{i}" for i in (*range(30), *range(30))]
    found = bootstrap_intervals(scores, live, names, 10.0, resamples=200)
    apart = bootstrap_intervals(scores, live, [f"s{i}" for i in range(60)], 10.0, resamples=200)
    width = found.auc.upper - found.auc.lower
    assert width < 0.25 * (apart.auc.upper - apart.auc.lower)


@pytest.mark.parametrize("classes", [(1, 5), (5, 1)])
def test_a_class_of_one_subject_gives_no_interval(classes):
    live = np.array([True] * classes[0] + [False] * classes[1])
    names = [f"s{i}" for i in range(live.size)]
    assert bootstrap_intervals(np.arange(6.0), live, names, 0.5) is None


def test_bootstrap_intervals_enclose_the_measured_figures():
    scores, live, names = people(40, 2, 5)
    found = bootstrap_intervals(scores, live, names, 0.5)
    assert found.auc.lower < auc(scores, live) < found.auc.upper
    assert found.eer.lower < equal_error_rate(scores, live) < found.eer.upper


@pytest.mark.parametrize(
    ("options", "live", "message"),
    [
        ({"confidence": 1.0}, [True, True, False, False], "confidence 1.0"),
        ({"resamples": 0}, [True, True, False, False], "0 resamples"),
        ({}, [True] * 4, "both classes"),
        ({}, [False] * 4, "both classes"),
    ],
)
def test_bootstrap_refuses_one_class_and_settings_out_of_range(options, live, message):
    with pytest.raises(DatasetError, match=message):
        bootstrap_intervals(np.arange(4.0), np.array(live), list("abcd"), 0.5, **options)
