from __future__ import annotations

import math

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    ErrorRate,
    apcer_by_species,
    auc,
    binomial_upper,
    bpcer,
)

SCORES = np.array([0.9, 0.6, 0.2, 0.5, 0.7, 0.1, np.nan, np.nan])
LIVE = np.array([True, True, True, False, False, False, False, True])
SPECIES = ["bona fide", "bona fide", "bona fide", "print", "mask", "mask", "mask", "bona fide"]


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


@pytest.mark.parametrize(("errors", "total"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(errors, total):
    with pytest.raises(DatasetError, match="impossible"):
        ErrorRate(errors, total)
    with pytest.raises(DatasetError, match="impossible"):
        binomial_upper(errors, total)
    with pytest.raises(DatasetError, match="confidence"):
        binomial_upper(0, 1, confidence=1.0)


def test_live_means_greater_than_the_threshold_and_nan_is_never_live():
    rates = apcer_by_species(SCORES, LIVE, SPECIES, 0.5)
    assert rates == {"mask": ErrorRate(1, 3), "print": ErrorRate(0, 1)}
    assert bpcer(SCORES, LIVE, 0.6) == ErrorRate(3, 4)
    assert bpcer(SCORES, LIVE, 0.6).rate == 0.75


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
    ("call", "message"),
    [
        (lambda: auc(SCORES, LIVE), "2 scores are NaN"),
        (lambda: auc(SCORES[:3], LIVE[:3]), "both classes"),
        (lambda: bpcer(SCORES[3:6], LIVE[3:6], 0.5), "no bona fide"),
        (lambda: apcer_by_species(SCORES[:3], LIVE[:3], SPECIES[:3], 0.5), "no attack"),
        (lambda: apcer_by_species(SCORES, LIVE, SPECIES[:3], 0.5), "expected one of each"),
        (lambda: bpcer(SCORES, LIVE[:2], 0.5), "expected one of each"),
    ],
)
def test_rates_of_nothing_are_refused(call, message):
    with pytest.raises(DatasetError, match=message):
        call()
