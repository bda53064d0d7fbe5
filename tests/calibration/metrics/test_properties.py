"""Metrics of degenerate scores: all tied, infinite, of one class, a handful."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    EerRule,
    Scores,
    apcer_by_species,
    auc,
    binomial_interval,
    binomial_upper,
    bpcer,
    bpcer_at_apcer,
    curve,
    eer_threshold,
    equal_error_rate,
    fuse,
    half_total_error_rate,
    summarize,
)

SPECIES = ("print", "mask", "replay")
# Few distinct scores make ties likely; neighbors, extremes and infinities make middles hard.
SCORE = st.one_of(
    st.sampled_from(
        [0.0, 0.5, math.nextafter(0.5, 1), 1.0, 5e-324, 1.7e308, -1.7e308, math.inf, -math.inf]
    ),
    st.floats(allow_nan=False),
)
PRESENTATION = st.tuples(SCORE, st.sampled_from(("bona fide", *SPECIES)))
BOTH_CLASSES = st.builds(
    lambda live, attack, rest: [(live, "bona fide"), attack, *rest],
    SCORE,
    st.tuples(SCORE, st.sampled_from(SPECIES)),
    st.lists(PRESENTATION, max_size=12),
)
QUICK = settings(max_examples=150)


def columns(presentations):
    scores = np.array([score for score, _ in presentations])
    species = [name for _, name in presentations]
    return scores, np.array([name == "bona fide" for name in species]), species


def shares(scores, live, threshold):
    """FPR and FNR as fractions, counted one by one."""
    attacks = [float(s) for s, bona_fide in zip(scores, live, strict=True) if not bona_fide]
    genuine = [float(s) for s, bona_fide in zip(scores, live, strict=True) if bona_fide]
    return (
        Fraction(sum(s > threshold for s in attacks), len(attacks)),
        Fraction(sum(not s > threshold for s in genuine), len(genuine)),
    )


@QUICK
@given(BOTH_CLASSES)
def test_every_point_of_the_curve_is_what_its_threshold_does(presentations):
    scores, live, _ = columns(presentations)
    points = curve(scores, live)
    for threshold, fpr, fnr in zip(
        points.thresholds[1:], points.fpr[1:], points.fnr[1:], strict=True
    ):
        assert (fpr, fnr) == tuple(map(float, shares(scores, live, threshold)))
    assert (points.fpr[0], points.fnr[0]) == (1.0, 0.0)
    assert (points.fpr[-1], points.fnr[-1]) == (0.0, 1.0)
    assert (np.diff(points.accepted) <= 0).all()
    assert (np.diff(points.refused) >= 0).all()


@QUICK
@given(BOTH_CLASSES)
def test_auc_is_the_share_of_pairs_won_ties_half(presentations):
    scores, live, _ = columns(presentations)
    won = [Fraction(2 * int(a > b) + int(a == b), 2) for a in scores[live] for b in scores[~live]]
    assert auc(scores, live) == float(sum(won) / len(won))


@QUICK
@given(BOTH_CLASSES)
def test_the_score_rule_takes_the_lowest_score_that_minimizes_the_gap(presentations):
    scores, live, _ = columns(presentations)
    gaps = {float(t): abs(a - b) for t in scores for a, b in [shares(scores, live, t)]}
    least = min(gaps.values())
    lowest = min(t for t, gap in gaps.items() if gap == least)
    assert eer_threshold(scores, live, EerRule.SCORE) == lowest


@QUICK
@given(BOTH_CLASSES)
def test_the_middle_rule_finds_the_same_gap_and_no_higher_hter(presentations):
    scores, live, _ = columns(presentations)
    middle = eer_threshold(scores, live)
    score = eer_threshold(scores, live, EerRule.SCORE)
    gap = [abs(a - b) for t in (middle, score) for a, b in [shares(scores, live, t)]]
    assert gap[0] == gap[1]
    assert half_total_error_rate(scores, live, middle) <= half_total_error_rate(scores, live, score)


@QUICK
@given(BOTH_CLASSES)
def test_ranks_alone_decide_and_swapping_the_classes_mirrors(presentations):
    scores, live, _ = columns(presentations)
    ranks = np.unique(scores, return_inverse=True)[1].astype(float)
    for figure in (auc, equal_error_rate):
        assert figure(ranks, live) == figure(scores, live)
        assert figure(-scores, ~live) == pytest.approx(figure(scores, live), abs=1e-12)
    assert equal_error_rate(-scores, live) == pytest.approx(
        1 - equal_error_rate(scores, live), abs=1e-12
    )


@QUICK
@given(BOTH_CLASSES, st.sampled_from([0.0, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.99]))
def test_no_lower_threshold_holds_the_target_of_every_species(presentations, target):
    scores, live, species = columns(presentations)
    found = bpcer_at_apcer(scores, live, species, target)

    def worst(threshold):
        return max(r.rate for r in apcer_by_species(scores, live, species, threshold).values())

    assert worst(found.threshold) == found.apcer.rate <= target + 1e-9
    assert bpcer(scores, live, found.threshold) == found.bpcer
    for lower in scores[scores < found.threshold]:
        assert worst(lower) > target


@QUICK
@given(st.integers(1, 3000), st.data())
def test_bounds_enclose_the_rate_and_grow_with_errors(total, data):
    errors = data.draw(st.integers(0, total))
    interval = binomial_interval(errors, total)
    assert 0.0 <= interval.lower <= errors / total <= interval.upper <= 1.0
    assert errors / total <= binomial_upper(errors, total) <= interval.upper
    if errors < total:
        more = binomial_interval(errors + 1, total)
        assert interval.lower < more.lower
        assert interval.upper <= more.upper
        assert binomial_interval(errors, total + 1).upper < interval.upper


@settings(max_examples=60)
@given(BOTH_CLASSES, st.data())
def test_summarize_gives_all_figures_or_refuses(presentations, data):
    scores, live, species = columns(presentations)
    count = len(scores)
    subjects = data.draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    takes = data.draw(st.lists(st.sampled_from("xy"), min_size=count, max_size=count))
    frames = Scores(
        values=scores,
        is_bona_fide=live,
        species=tuple(species),
        presentation=tuple("".join(parts) for parts in zip(species, subjects, takes, strict=True)),
        subject=tuple(subjects),
        domain=("d",) * count,
        responded=np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count))),
    )
    try:
        found = summarize(frames, resamples=5)
    except DatasetError as error:
        event("refused")
        assert "got a response" in str(error) or "they have no mean" in str(error)
        return
    event("whole")
    assert found.presentations == len(fuse(frames))
    for share in (found.auc, found.eer, found.hter, found.hter_at_eer, found.acer):
        assert 0.0 <= share <= 1.0
    judged = found.bpcer.total + sum(rate.total for rate in found.apcer.values())
    silent = found.bpnrr.errors + sum(rate.errors for rate in found.apnrr.values())
    assert judged + silent == found.presentations
