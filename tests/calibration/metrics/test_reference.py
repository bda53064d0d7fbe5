"""Metrics against scikit-learn, SciPy and the published evaluation code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import beta, binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from fasdk_calibration.metrics import (
    EerRule,
    auc,
    binomial_interval,
    binomial_upper,
    bpcer,
    curve,
    eer_threshold,
    equal_error_rate,
    half_total_error_rate,
    tpr_at_fpr,
)

TOLERANCE = 1e-9


def draws(count=120):
    """Random scores of several sizes and separations, from many ties to none."""
    rng = np.random.default_rng(20240607)
    for _ in range(count):
        size = int(rng.integers(2, 400))
        live = np.arange(size) < rng.integers(1, size)
        scores = rng.normal(live * rng.choice([0.0, 1.0, 3.0]), 1.0)
        yield np.round(scores, int(rng.choice([0, 1, 2, 12]))), live


def test_auc_equals_scikit_learns():
    for scores, live in draws():
        assert auc(scores, live) == pytest.approx(roc_auc_score(live, scores), abs=TOLERANCE)


def test_the_curve_is_scikit_learns_one_threshold_down():
    for scores, live in draws():
        fpr, tpr, thresholds = roc_curve(live, scores, drop_intermediate=False)
        found = curve(scores, live)
        np.testing.assert_allclose(found.fpr, fpr[::-1], atol=TOLERANCE)
        np.testing.assert_allclose(found.tpr, tpr[::-1], atol=TOLERANCE)
        np.testing.assert_allclose(found.fnr, 1 - tpr[::-1], atol=TOLERANCE)
        # score >= t there is score > the next lower score here
        np.testing.assert_array_equal(found.thresholds[1:], thresholds[:0:-1])


def test_the_equal_error_rate_is_where_the_interpolated_curve_crosses():
    for scores, live in draws():
        fpr, tpr, _ = roc_curve(live, scores)
        tpr_at = interp1d(fpr, tpr)
        crossing = brentq(lambda x, tpr_at=tpr_at: 1 - x - tpr_at(x), 0.0, 1.0, xtol=1e-14)
        assert equal_error_rate(scores, live) == pytest.approx(crossing, abs=TOLERANCE)


def published_hter(scores, live, **options):
    """HTER as the published evaluation code takes it: at argmin |TPR + FPR - 1|."""
    fpr, tpr, _ = roc_curve(live, scores, **options)
    nearest = np.argmin(np.abs(tpr + fpr - 1))
    return (fpr[nearest] + 1 - tpr[nearest]) / 2


def test_hter_at_the_equal_error_threshold_is_the_published_codes_where_one_is_nearest():
    compared = differing = 0
    for scores, live in draws():
        found = half_total_error_rate(scores, live, eer_threshold(scores, live, EerRule.SCORE))
        gaps = np.sort(np.abs(curve(scores, live).imbalance))
        if gaps[0] == gaps[1]:
            continue  # on ties they take the highest threshold and this the lowest
        compared += 1
        published = published_hter(scores, live, drop_intermediate=False)
        assert found == pytest.approx(published, abs=TOLERANCE)
        # Dropping points on straight lines, scikit-learn's default, may drop the nearest one.
        differing += abs(found - published_hter(scores, live)) > TOLERANCE
    assert compared > 60
    assert differing < compared / 4


def test_tpr_at_fpr_is_the_best_point_of_scikit_learns_curve_that_holds_it():
    for scores, live in draws():
        fpr, tpr, _ = roc_curve(live, scores, drop_intermediate=False)
        for target in (0.0, 0.001, 0.01, 0.1, 0.5):
            found = tpr_at_fpr(scores, live, target)
            assert found.tpr == pytest.approx(tpr[fpr <= target + 1e-12].max(), abs=TOLERANCE)
            assert found.apcer.rate <= target + 1e-12
            assert bpcer(scores, live, found.threshold) == found.bpcer


@pytest.mark.parametrize("total", [1, 2, 3, 10, 59, 60, 299, 1000, 20_000])
def test_bounds_equal_the_quantiles_of_scipys_beta(total):
    rng = np.random.default_rng(total)
    for errors in {0, 1, total // 2, total - 1, total, *rng.integers(0, total + 1, 4).tolist()}:
        lower = beta.ppf(0.025, errors, total - errors + 1) if errors else 0.0
        upper = beta.ppf(0.975, errors + 1, total - errors) if errors < total else 1.0
        found = binomial_interval(errors, total)
        assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=TOLERANCE)
        exact = binomtest(errors, total).proportion_ci(0.95, "exact")
        assert (found.lower, found.upper) == pytest.approx((exact.low, exact.high), abs=TOLERANCE)
        for confidence in (0.5, 0.95, 0.999):
            one_sided = beta.ppf(confidence, errors + 1, total - errors) if errors < total else 1.0
            found_upper = binomial_upper(errors, total, confidence)
            assert found_upper == pytest.approx(one_sided, abs=TOLERANCE)
