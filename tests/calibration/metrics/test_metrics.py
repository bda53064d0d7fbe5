"""Error rates, bounds and curves on small examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    ErrorRate,
    apcer_by_species,
    auc,
    binomial_supports,
    binomial_upper,
    bpcer,
    eer_threshold,
    half_total_error_rate,
)

SCORES = np.array([0.9, 0.6, 0.2, 0.5, 0.7, 0.1])
LIVE = np.array([True, True, True, False, False, False])
SPECIES = ["bona fide", "bona fide", "bona fide", "print", "mask", "mask"]
UNKNOWN = np.array([0.9, np.nan, 0.2, np.nan, 0.7, 0.1])


@pytest.mark.parametrize(
    ("errors", "total", "bound"),
    [
        (0, 60, 0.0487),
        (0, 150, 0.0198),
        (0, 360, 0.0083),
        (0, 1, 0.95),
        (1, 1, 1.0),
        (1, 20, 0.2161),
        (5, 10, 0.7776),
        (9, 10, 0.9949),
    ],
)
def test_upper_bound_has_the_published_values(errors, total, bound):
    assert ErrorRate(errors, total).upper() == pytest.approx(bound, abs=5e-5)


def test_upper_bound_of_no_error_is_the_closed_form_and_holds_for_large_counts():
    for total in (1, 7, 300, 10_000_000):
        assert binomial_upper(0, total) == pytest.approx(-math.expm1(math.log(0.05) / total))
    # The normal approximation is good to 1e-4 here.
    p = 0.3
    wide = p + 1.6449 * math.sqrt(p * (1 - p) / 100_000)
    assert binomial_upper(30_000, 100_000) == pytest.approx(wide, abs=1e-4)


def test_a_rate_is_supported_from_its_upper_bound_on():
    for errors, total in ((0, 299), (3, 100), (60, 100), (99, 100)):
        bound = binomial_upper(errors, total)
        assert binomial_supports(errors, total, bound * (1 + 1e-9))
        assert not binomial_supports(errors, total, bound * (1 - 1e-9))
    assert binomial_supports(10, 10, 1.0)
    assert not binomial_supports(10, 10, 0.999)
    assert not binomial_supports(0, 10, 0.0)


@pytest.mark.parametrize(("errors", "total"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(errors, total):
    with pytest.raises(DatasetError, match="impossible"):
        ErrorRate(errors, total)
    with pytest.raises(DatasetError, match="impossible"):
        binomial_upper(errors, total)
    with pytest.raises(DatasetError, match="confidence"):
        binomial_upper(0, 1, confidence=1.0)


def test_live_means_greater_than_the_threshold():
    rates = apcer_by_species(SCORES, LIVE, SPECIES, 0.5)
    assert rates == {"mask": ErrorRate(1, 2), "print": ErrorRate(0, 1)}
    assert bpcer(SCORES, LIVE, 0.6) == ErrorRate(2, 3)


@pytest.mark.parametrize(
    ("live", "attack", "area"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1], [0.9], 0.0),
        ([0.5, 0.5], [0.5], 0.5),
        ([0.9, 0.4], [0.4, 0.5], 0.625),  # two wins and a half of four pairs
    ],
)
def test_auc_counts_pairs_and_ties_half(live, attack, area):
    scores = np.array(live + attack)
    labels = np.arange(len(scores)) < len(live)
    assert auc(scores, labels) == area


@pytest.mark.parametrize(
    ("live", "attack", "threshold", "rate"),
    [
        ([0.8, 0.9], [0.1, 0.2], 0.5, 0.0),  # the middle between the two nearest
        ([0.1], [0.9], 0.5, 1.0),  # upside down
        ([0.2, 0.9], [0.1, 0.4], 0.3, 0.5),  # one of two either way
        ([0.5], [0.5], 0.5, 0.5),  # accepting none or both is equally far: the stricter
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9], 0.7, 0.5),  # 2/3 and 1/3, or 1/3 and 2/3: the stricter
        ([0.3, 0.7, 0.7], [0.3, 0.3, 0.7], 0.5, 1 / 3),  # ties in both classes
        ([0.4, 0.6, 0.8], [0.2, 0.5], 0.45, 5 / 12),  # 1/2 and 1/3 are nearer than 0 and 1/3
        ([0.5, 0.9], [0.1, 0.2, 0.3, 0.5], 0.4, 1 / 8),
    ],
)
def test_the_error_rates_meet_at_the_threshold(live, attack, threshold, rate):
    scores = np.array(live + attack)
    labels = np.arange(len(scores)) < len(live)
    assert eer_threshold(scores, labels) == pytest.approx(threshold)
    assert half_total_error_rate(scores, labels, eer_threshold(scores, labels)) == (
        pytest.approx(rate)
    )


def test_no_other_threshold_brings_the_error_rates_nearer():
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = np.arange(17) < rng.integers(1, 17)
        scores = np.round(rng.random(17), 1)  # many ties

        def apart(threshold: float, scores=scores, labels=labels) -> float:
            accepted = apcer_by_species(scores, labels, ["x"] * 17, threshold)["x"].rate
            return abs(accepted - bpcer(scores, labels, threshold).rate)

        nearest = min(apart(t) for t in np.linspace(-0.05, 1.05, 45))
        assert apart(eer_threshold(scores, labels)) == pytest.approx(nearest)


def test_neighboring_floats_still_have_a_threshold_between():
    low = 0.5
    high = float(np.nextafter(low, 1.0))
    scores, labels = np.array([high, low]), np.array([True, False])
    threshold = eer_threshold(scores, labels)
    assert low <= threshold < high
    assert half_total_error_rate(scores, labels, threshold) == 0.0


def test_hter_counts_both_classes_alike():
    # Attacks 0.5, 0.7, 0.1: two of three above 0.3; bona fide 0.9, 0.6, 0.2: one of three refused.
    assert half_total_error_rate(SCORES, LIVE, 0.3) == pytest.approx((2 / 3 + 1 / 3) / 2)
    many = np.array([0.9] + [0.1] * 99)
    assert half_total_error_rate(many, many > 0.5, 0.95) == 0.5  # one bona fide capture, refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: half_total_error_rate(SCORES[:3], LIVE[:3], 0.5), "no attack"),
        (lambda: half_total_error_rate(SCORES[3:6], LIVE[3:6], 0.5), "no bona fide"),
        (lambda: eer_threshold(SCORES[:3], LIVE[:3]), "both classes"),
        (lambda: eer_threshold(SCORES[3:6], LIVE[3:6]), "both classes"),
        (lambda: eer_threshold(SCORES[:0], LIVE[:0]), "both classes"),
        (lambda: eer_threshold(UNKNOWN, LIVE), "2 of 6 scores are NaN"),
        (lambda: eer_threshold(SCORES, LIVE[:2]), "expected one of each"),
        (lambda: auc(UNKNOWN, LIVE), "2 of 6 scores are NaN"),
        (lambda: bpcer(UNKNOWN, LIVE, 0.5), "2 of 6 scores are NaN"),
        (lambda: apcer_by_species(UNKNOWN, LIVE, SPECIES, 0.5), "2 of 6 scores are NaN"),
        (lambda: half_total_error_rate(UNKNOWN, LIVE, 0.5), "2 of 6 scores are NaN"),
        (lambda: bpcer(SCORES, LIVE, float("nan")), "threshold is NaN"),
        (lambda: apcer_by_species(SCORES, LIVE, SPECIES, float("nan")), "threshold is NaN"),
        (lambda: auc(SCORES[:3], LIVE[:3]), "both classes"),
        (lambda: bpcer(SCORES[3:6], LIVE[3:6], 0.5), "no bona fide"),
        (lambda: apcer_by_species(SCORES[:3], LIVE[:3], SPECIES[:3], 0.5), "no attack"),
        (lambda: apcer_by_species(SCORES, LIVE, SPECIES[:3], 0.5), "expected one of each"),
        (lambda: bpcer(SCORES, LIVE[:2], 0.5), "expected one of each"),
    ],
)
def test_error_rates_without_presentations_are_refused(call, message):
    with pytest.raises(DatasetError, match=message):
        call()
