"""Liveness budget: each figure alone can miss it, and a score that is not a number never passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.capture import Modality
from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError, UsageError
from fasdk_calibration.metrics import Scores
from fasdk_engines.quantization.mixed_precision.budget import (
    BudgetLimits,
    check_budget,
    expected_flips,
)

ALL = (Modality.RGB, Modality.DEPTH, Modality.IR)
RGB = (Modality.RGB,)
WIDE = BudgetLimits(0.5, 0.5, 0.5)


def point(threshold=0.5, modalities=ALL):
    return OperatingPoint(
        level="standard",
        modalities=modalities,
        threshold=threshold,
        source="test",
        apcer_upper=1.0,
        graph_sha256="0" * 64,
    )


def scores(values, live, species=None, presentation=None):
    count = len(values)
    names = species or ["print"] * count
    return Scores(
        values=np.array(values, np.float64),
        is_bona_fide=np.array(live, bool),
        species=tuple(
            "bona fide" if is_live else s for s, is_live in zip(names, live, strict=True)
        ),
        presentation=tuple(presentation or [f"p{k}" for k in range(count)]),
        subject=tuple(presentation or [f"s{k}" for k in range(count)]),
        domain=("door",) * count,
    )


BEFORE = [0.9, 0.8, 0.6, 0.1, 0.2, 0.4]
LIVE = [True, True, True, False, False, False]


def compared(after, limits=WIDE, before=BEFORE, present=None, points=None, **columns):
    return check_budget(
        scores(before, LIVE, **columns),
        np.array(after),
        present or [ALL] * len(before),
        points if points is not None else [point()],
        limits,
    )


@pytest.mark.parametrize(
    ("after", "flips", "apcer", "bpcer"),
    [
        ([0.9, 0.8, 0.6, 0.1, 0.2, 0.4], 0, 0.0, 0.0),
        ([0.9, 0.8, 0.5, 0.1, 0.2, 0.4], 1, 0.0, 1 / 3),  # on the threshold: not live
        ([0.9, 0.8, 0.6, 0.1, 0.2, 0.6], 1, 1 / 3, 0.0),
        ([0.9, 0.8, np.nan, 0.1, 0.2, 0.4], 1, 0.0, 1 / 3),
        ([0.9, 0.8, 0.6, 0.1, 0.2, np.nan], 1, 0.0, 0.0),  # SPOOF → ERROR is a change as well
    ],
)
def test_flips_and_rates_are_counted_at_the_frozen_threshold(after, flips, apcer, bpcer):
    (found,) = compared(after).combinations
    assert found.flips == flips
    assert found.apcer.change == pytest.approx(apcer)
    assert found.bpcer.change == pytest.approx(bpcer)
    assert found.modalities == "rgb+depth+ir"


@pytest.mark.parametrize(
    ("after", "limits", "words"),
    [
        ([0.9, 0.8, 0.5, 0.1, 0.2, 0.4], BudgetLimits(0.1, 0.5, 0.5), "decision flips 0.1667"),
        ([0.9, 0.8, 0.6, 0.1, 0.2, 0.46], BudgetLimits(0.5, 0.009, 0.5), "mean score drift 0.0100"),
        ([0.9, 0.8, 0.5, 0.1, 0.2, 0.4], BudgetLimits(0.5, 0.5, 0.3), "change of BPCER 0.3333"),
        ([0.9, 0.8, 0.6, 0.1, 0.2, 0.6], BudgetLimits(0.5, 0.5, 0.3), "worst species' APCER"),
        ([np.nan] * 6, WIDE, "decision flips 1.0000 (6 of 6"),
    ],
)
def test_each_figure_alone_can_miss_its_limit(after, limits, words):
    report = compared(after, limits)
    assert not report.holds
    assert any(words in miss for miss in report.misses)
    assert compared(BEFORE, limits).holds


def test_a_share_equal_to_the_limit_holds():
    limits = BudgetLimits(1 / 6, 0.5, 1 / 3)
    assert compared([0.9, 0.8, 0.5, 0.1, 0.2, 0.4], limits).holds


def test_the_worst_species_may_become_another():
    after = [0.9, 0.8, 0.6, 0.7, 0.2, 0.7]
    before = [0.9, 0.8, 0.6, 0.7, 0.2, 0.4]
    species = ["", "", "", "mask", "mask", "print"]
    (found,) = compared(after, before=before, species=species).combinations
    assert found.apcer.species == ("mask", "print")
    assert (found.apcer.before, found.apcer.after) == (0.5, 1.0)


def test_rates_count_presentations_and_flips_count_captures():
    before, after = [0.9, 0.8, 0.6, 0.1, 0.2, 0.4], [0.9, 0.8, 0.4, 0.1, 0.2, 0.4]
    together = ["a", "b", "b", "c", "d", "e"]  # 0.8 and 0.4 fuse to 0.6, still live
    (found,) = compared(after, before=before, presentation=together).combinations
    assert (found.flips, found.bpcer.change, found.bpcer.presentations) == (1, 0.0, 2)


def test_every_combination_is_compared_at_its_own_threshold():
    present = [ALL, ALL, RGB, ALL, ALL, RGB]
    after = [0.9, 0.8, 0.6, 0.1, 0.2, 0.55]
    points = [point(), point(0.58, RGB)]
    whole, rgb = compared(after, present=present, points=points).combinations
    assert (whole.captures, whole.flips) == (4, 0)
    assert (rgb.modalities, rgb.captures, rgb.threshold, rgb.flips) == ("rgb", 2, 0.58, 0)


def test_a_combination_without_a_threshold_is_compared_by_drift_alone():
    present = [ALL, ALL, RGB, ALL, ALL, RGB]
    report = compared([0.9, 0.8, 0.1, 0.1, 0.2, 0.4], BudgetLimits(0.0, 0.2, 0.0), present=present)
    assert report.combinations[1].flips is None
    assert report.misses == ("rgb: mean score drift 0.2500, limit 0.2",)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("name", ["max_flips", "max_drift", "max_rate_change"])
def test_a_limit_outside_zero_to_one_is_refused(name, value):
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        BudgetLimits(**{name: value})


@pytest.mark.parametrize(
    ("before", "after", "present"),
    [
        (BEFORE, [0.1], [ALL] * 6),
        (BEFORE, BEFORE, [ALL]),
        ([np.nan, *BEFORE[1:]], BEFORE, [ALL] * 6),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(before, after, present):
    with pytest.raises(DatasetError):
        check_budget(scores(before, LIVE), np.array(after), present, [point()], WIDE)


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


@pytest.mark.parametrize("size", [0.002, 0.02, 0.1])
def test_expected_flips_are_those_of_many_other_captures(size):
    rng = np.random.default_rng(1)

    def drawn(count):
        odds = rng.normal(0.5, 2.0, count)
        return odds, odds + rng.normal(0, size, count)

    many, moved = drawn(400_000)
    share = ((many > 0) != (moved > 0)).mean()
    found = []
    for _ in range(40):  # 200 captures flip 0.03 to 1.5 times
        odds, after = drawn(200)
        found.append(expected_flips(sigmoid(odds), sigmoid(after), 0.5))
    assert np.mean(found) == pytest.approx(share, rel=0.1)
    assert np.std(found) < 0.4 * share


def test_expected_flips_do_not_depend_on_a_capture_on_the_threshold():
    odds = np.linspace(-4, 4, 240)
    odds[120] = 1e-6
    moved = odds + np.where(np.arange(240) % 2, 0.001, -0.001)
    assert ((odds > 0) != (moved > 0)).sum() == 1  # 0.4 %
    assert expected_flips(sigmoid(odds), sigmoid(moved), 0.5) == pytest.approx(1.25e-4, rel=0.1)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=80),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_expected_flips_are_a_share_and_none_without_a_drift(before, threshold, seed):
    values = np.array(before)
    moved = np.random.default_rng(seed).permutation(values)
    assert 0.0 <= expected_flips(values, moved, threshold) <= 1.0
    assert expected_flips(values, values, threshold) == 0.0
    assert expected_flips(values, np.full(len(values), np.nan), threshold) == 1.0


def test_a_threshold_among_bona_fide_captures_flips_only_those():
    rng = np.random.default_rng(6)
    live = np.arange(400) % 2 == 0
    odds = np.where(live, rng.normal(0.0, 1.0, 400), -20.0)  # no attack comes near
    after = sigmoid(odds + 0.01)
    reference = scores(sigmoid(odds), live)
    (found,) = check_budget(reference, after, [RGB] * 400, [point(0.5, RGB)], WIDE).combinations
    assert found.expected_class_flips == pytest.approx(2 * found.expected_flips, rel=0.01)
