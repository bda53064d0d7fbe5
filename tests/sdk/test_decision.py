"""Decisions: LIVE only above a threshold tuned for exactly these modalities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from fasdk.capture import Modality
from fasdk.decision import (
    MissingModalities,
    OperatingPoint,
    ScoreCalibration,
    Verdict,
    class_scores,
    decide,
    live_score,
    log_odds,
    missing_finding,
    refused,
    select_calibration,
    select_point,
)
from fasdk.errors import OperatingPointError
from fasdk.reasons import Reason

from support import tiny_bundle

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR


@pytest.mark.parametrize(
    ("score", "threshold", "verdict"),
    [
        (0.6, 0.5, Verdict.LIVE),
        (0.5, 0.5, Verdict.SPOOF),  # on the threshold: not greater, so not live
        (0.4, 0.5, Verdict.SPOOF),
        (1.0, 1.0, Verdict.SPOOF),
        (1.0, 0.0, Verdict.LIVE),
        (0.0, 0.0, Verdict.SPOOF),
        (math.nan, 0.0, Verdict.ERROR),
        (math.inf, 0.0, Verdict.ERROR),
        (-math.inf, 0.0, Verdict.ERROR),
        (1.0000001, 0.5, Verdict.ERROR),
        (-0.0000001, 0.5, Verdict.ERROR),
        (np.float32(0.75), 0.5, Verdict.LIVE),
    ],
)
def test_only_a_finite_score_above_the_threshold_is_live(score, threshold, verdict):
    assert decide(score, tiny_bundle.point(threshold=threshold)) is verdict


def test_a_point_is_never_borrowed_from_other_modalities_or_levels():
    points = [tiny_bundle.point(), tiny_bundle.point("strict", (RGB, IR), 0.9)]
    assert select_point(points, "standard", frozenset({RGB, DEPTH, IR})) is points[0]
    assert select_point(points, "strict", frozenset({IR, RGB})) is points[1]
    for level, present in [
        ("standard", {RGB, IR}),
        ("strict", {RGB, IR, DEPTH}),
        ("strict", {RGB}),
        ("lax", {RGB, DEPTH, IR}),
        ("standard", set()),
    ]:
        with pytest.raises(OperatingPointError, match=f"no operating point for {level}/"):
            select_point(points, level, frozenset(present))


def test_a_bundle_without_points_says_none():
    with pytest.raises(OperatingPointError, match="this bundle has none"):
        select_point([], "standard", frozenset({RGB}))


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": math.nan},
        {"threshold": -0.1},
        {"threshold": 1.1},
        {"apcer_upper": math.inf},
        {"modalities": ()},
        {"modalities": (RGB, RGB)},
        {"modalities": ("thermal",)},
        {"margin": 0.1},
        {"graph_sha256": ""},
        {"graph_sha256": "A" * 64},
        {"graph_sha256": None},
    ],
)
def test_an_operating_point_that_means_nothing_is_refused(change):
    with pytest.raises(ValidationError):
        OperatingPoint(**(tiny_bundle.point().model_dump() | change))


def test_a_point_is_named_by_level_and_modalities():
    assert tiny_bundle.point("strict", (RGB, IR)).id == "strict/rgb+ir"


@given(arrays(np.float32, st.integers(1, 5), elements=st.floats(width=32)))
def test_class_scores_are_a_distribution_or_all_nan(logits):
    scores = class_scores(logits)
    if np.isfinite(logits).all():
        assert math.isclose(scores.sum(), 1.0, abs_tol=1e-12)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert scores[logits.argmax()] == scores.max()
    else:
        assert np.isnan(scores).all()


LOGITS = arrays(np.float32, st.integers(2, 5), elements=st.floats(width=32))
CALIBRATIONS = st.builds(
    tiny_bundle.calibration,
    slope=st.floats(min_value=5e-324, max_value=1.7e308),
    offset=st.floats(allow_nan=False, allow_infinity=False),
)


@given(arrays(np.float32, st.integers(2, 5), elements=st.floats(-200, 200, width=32)))
def test_class_scores_are_numpys_softmax(logits):
    wide = logits.astype(np.float64)
    parts = np.exp(wide - wide.max())
    np.testing.assert_allclose(class_scores(logits), parts / parts.sum(), rtol=1e-14)
    others = wide[:-1]
    largest = others.max()
    odds = wide[-1] - largest - np.log(np.exp(others - largest).sum())
    assert log_odds(logits, len(logits) - 1) == pytest.approx(odds, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize(
    "change",
    [
        {"slope": 0.0},  # every capture would score alike
        {"slope": -1.0},  # the ranking would turn round
        {"slope": math.inf},
        {"slope": math.nan},
        {"offset": math.inf},
        {"offset": math.nan},
        {"modalities": ()},
        {"modalities": (RGB, RGB)},
        {"graph_sha256": ""},
        {"prior": 0.5},
    ],
)
def test_a_calibration_that_means_nothing_is_refused(change):
    with pytest.raises(ValidationError):
        ScoreCalibration(**(tiny_bundle.calibration().model_dump() | change))


def test_a_calibration_is_never_borrowed_from_other_modalities():
    held = [tiny_bundle.calibration(), tiny_bundle.calibration(modalities=(RGB, IR))]
    assert select_calibration(held, frozenset({IR, RGB})) is held[1]
    assert select_calibration(held, frozenset({RGB})) is None
    assert select_calibration([], frozenset({RGB})) is None


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 2.0], 2.0),
        ([100.0, -100.0], -200.0),  # a softmax score would have lost this
        ([-3e38, 3e38], 6e38),
        ([0.0, 0.0, math.log(2.0)], 0.0),  # bona fide is the last of three
        ([math.nan, 0.0], math.nan),
        ([math.inf, 0.0], math.nan),
        ([0.0, math.inf], math.nan),
    ],
)
def test_log_odds_come_from_the_logits(logits, expected):
    found = log_odds(np.float32(logits), len(logits) - 1)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("value", "slope", "offset", "expected"),
    [
        (0.0, 2.0, 0.0, 0.5),
        (1.0, 2.0, -1.0, 1 / (1 + math.exp(-1.0))),
        (1e300, 1e300, -1e300, 1.0),
        (-1e300, 1e300, 1e300, 0.0),
        (0.0, 1e308, -1e308, 0.0),
        (math.inf, 1.0, 0.0, math.nan),
        (-math.inf, 1.0, 0.0, math.nan),
        (math.nan, 1.0, 0.0, math.nan),
    ],
)
def test_a_calibrated_score_is_a_probability_or_nan(value, slope, offset, expected):
    found = tiny_bundle.calibration(slope, offset).score(value)
    assert found == pytest.approx(expected, nan_ok=True)


@given(LOGITS, st.none() | CALIBRATIONS, st.floats(0.0, 1.0))
def test_non_finite_score_is_never_live_whatever_the_calibration(logits, calibration, threshold):
    score = live_score(logits, 1, calibration)
    verdict = decide(score, tiny_bundle.point(threshold=threshold))
    if np.isfinite(logits).all():
        assert 0.0 <= score <= 1.0
        assert verdict is (Verdict.LIVE if score > threshold else Verdict.SPOOF)
    else:
        assert math.isnan(score)
        assert verdict is Verdict.ERROR


@given(LOGITS)
def test_without_a_calibration_the_score_is_the_softmax(logits):
    assert np.array_equal(live_score(logits, 0), class_scores(logits)[0], equal_nan=True)


@given(st.lists(LOGITS, min_size=2, max_size=2), CALIBRATIONS)
def test_calibration_never_turns_two_captures_round(pair, calibration):
    below, above = sorted(pair, key=lambda logits: log_odds(logits, 1))
    scores = [live_score(logits, 1, calibration) for logits in (below, above)]
    assert any(map(math.isnan, scores)) or scores[0] <= scores[1]


def test_the_unit_calibration_is_the_softmax():
    unit = tiny_bundle.calibration(slope=1.0, offset=0.0)
    for logits in ([0.0, 1.5], [3.0, -2.0, 0.5], [-80.0, 80.0]):
        values = np.float32(logits)
        assert live_score(values, 1, unit) == pytest.approx(live_score(values, 1), rel=1e-12)


@pytest.mark.parametrize(
    ("policy", "verdict", "reason"),
    [
        (MissingModalities.REQUIRE, Verdict.RETRY, Reason.MODALITY_MISSING),
        (MissingModalities.REFUSE, Verdict.ERROR, Reason.BAD_CAPTURE),
    ],
)
def test_a_missing_modality_is_named_by_policy(policy, verdict, reason):
    found = missing_finding(policy, (RGB, DEPTH, IR), (RGB,))
    assert found is not None
    assert found.reason is reason
    assert refused([found]).verdict is verdict
    assert "lacks depth, ir" in found.message
    assert missing_finding(policy, (RGB, IR), (RGB, DEPTH, IR)) is None


def test_to_degrade_leaves_it_to_the_operating_points():
    assert missing_finding(MissingModalities.DEGRADE, (RGB, DEPTH, IR), (RGB,)) is None
