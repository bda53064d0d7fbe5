"""Fusion of frames to presentations, and refusal of unmarked ones."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    ErrorRate,
    Scores,
    apnrr_by_species,
    bpnrr,
    fuse,
)

INFINITY, NAN = float("inf"), float("nan")


def scores(values, presentation=None, live=None, **columns):
    count = len(values)
    live = [True] * count if live is None else live
    named = {
        "species": tuple("bona fide" if one else "print" for one in live),
        "presentation": tuple(presentation or (f"p{i}" for i in range(count))),
        "subject": ("s",) * count,
        "domain": ("d",) * count,
    }
    return Scores(values=np.array(values, float), is_bona_fide=np.array(live), **(named | columns))


@pytest.mark.parametrize(
    ("values", "presentation", "fused"),
    [
        ([0.2, 0.4, 0.9], "aab", [0.3, 0.9]),
        ([0.2, 0.9, 0.4], "aba", [0.3, 0.9]),  # frames need not stand together
        ([0.9, 0.2, 0.4], "baa", [0.9, 0.3]),  # order of first appearance
        ([0.1, 0.2, 0.3], "abc", [0.1, 0.2, 0.3]),
        ([INFINITY, 1.0], "aa", [INFINITY]),
        ([-INFINITY, 1.0], "aa", [-INFINITY]),
        ([1.7e308, 1.7e308], "aa", [1.7e308]),  # their sum is not finite
    ],
)
def test_a_presentation_scores_the_mean_of_its_frames(values, presentation, fused):
    found = fuse(scores(values, tuple(presentation)))
    np.testing.assert_allclose(found.values, fused, rtol=1e-15)
    assert found.presentation == tuple(dict.fromkeys(presentation))


@pytest.mark.parametrize("frames", [2, 3, 5, 7, 49])
def test_equal_frames_give_their_very_score_and_stay_on_the_threshold(frames):
    for value in np.random.default_rng(frames).random(200):
        assert fuse(scores([value] * frames, ("a",) * frames)).values[0] == value


def test_fusing_twice_is_fusing_once_to_the_bit():
    rng = np.random.default_rng(0)
    once = fuse(scores(rng.random(60), tuple(f"p{i}" for i in rng.integers(0, 20, 60))))
    assert fuse(once).values.tobytes() == once.values.tobytes()
    assert len(once) == len(set(once.presentation))


def test_presentations_of_two_domains_are_two_even_of_one_name():
    assert len(fuse(scores([0.1, 0.9], ("1", "1"), domain=("W", "C")))) == 2


def test_a_presentation_without_any_response_is_a_non_response():
    found = fuse(
        scores(
            [0.4, NAN, NAN, 0.8],
            ("a", "a", "b", "c"),
            live=[True, True, False, False],
            responded=np.array([True, False, False, True]),
        )
    )
    assert found.responded.tolist() == [True, False, True]
    assert found.values[[0, 2]].tolist() == [0.4, 0.8]
    assert np.isnan(found.values[1])
    assert apnrr_by_species(found) == {"print": ErrorRate(1, 2)}
    assert bpnrr(found) == ErrorRate(0, 1)


def test_a_score_beside_a_non_response_is_not_kept():
    assert np.isnan(scores([0.9], responded=np.array([False])).values[0])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"live": [True, False]}, "'a', entries 1 and 2: bona fide True and False, species"),
        (
            {"live": [False, False], "species": ("print", "mask")},
            "'a', entries 1 and 2: species 'print' and 'mask'",
        ),
        ({"subject": ("x", "y")}, "'a', entries 1 and 2: subject 'x' and 'y'"),
    ],
)
def test_frames_of_one_presentation_must_agree(columns, message):
    with pytest.raises(DatasetError, match=message):
        fuse(scores([0.1, 0.2], ("a", "a"), **columns))


def test_fuse_ignores_the_species_of_bona_fide_frames():
    assert len(fuse(scores([0.1, 0.2], ("a", "a"), species=("none", "live")))) == 1


def test_frames_of_both_infinities_have_no_mean():
    with pytest.raises(DatasetError, match="'a' has scores of plus and minus infinity"):
        fuse(scores([INFINITY, -INFINITY], ("a", "a")))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores([]), "no scores"),
        (lambda: scores([0.1, NAN]), "1 of 2 scores are NaN, the first is entry 2.*'p1'"),
        (lambda: scores([0.1, 0.2], live=[True]), r"is_bona_fide has shape \(1,\)"),
        (lambda: scores([[0.1], [0.2]]), r"values has shape \(2, 1\)"),
        (lambda: scores([0.1, 0.2], subject=("s",)), "1 entries of subject, expected 2"),
        (
            lambda: scores([0.1, 0.2], responded=np.array([True])),
            r"responded has shape \(1,\)",
        ),
        (lambda: scores([0.1, 0.2]).select(np.array([False, False])), "no scores"),
        (lambda: scores([0.1, 0.2]).select([]), "no scores"),
    ],
)
def test_scores_that_do_not_fit_are_refused(call, message):
    with pytest.raises(DatasetError, match=message):
        call()


def test_selection_keeps_the_asked_order_and_every_column():
    chosen = scores([0.1, 0.2, 0.3], domain=("x", "y", "z")).select([2, 0])
    assert chosen.values.tolist() == [0.3, 0.1]
    assert (chosen.presentation, chosen.domain) == (("p2", "p0"), ("z", "x"))
    assert scores([0.1, 0.2]).select(np.array([False, True])).values.tolist() == [0.2]


def test_scores_are_read_only():
    values = np.array([0.1, 0.2])
    found = scores(values)
    values[0] = 0.9
    assert found.values[0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 0.9
