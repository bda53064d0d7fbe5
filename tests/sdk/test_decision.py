"""Only a score above a threshold tuned for exactly these modalities is live."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from fasdk.capture import Modality
from fasdk.decision import OperatingPoint, Verdict, class_scores, decide, select_point
from fasdk.errors import OperatingPointError

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
