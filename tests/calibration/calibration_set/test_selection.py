"""Selection of a calibration set: every stratum in its share, then coverage."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.errors import DatasetError
from fasdk_calibration.calibration_set.selection import (
    Stratum,
    require_camera_frames,
    select,
    stratum_of,
    take_all,
    thin,
)
from fasdk_calibration.datasets import CaptureRecord, Label


def stratum(domain="door", species="print", modalities="rgb+depth+ir"):
    label = "bona fide" if species == "bona fide" else "attack"
    return Stratum(domain, label, species, modalities)


def record(number: int, subject: str, **frames: str) -> CaptureRecord:
    return CaptureRecord(
        id=f"c{number}",
        **(frames or {"rgb": "a.png"}),
        label=Label.ATTACK,
        species="print",
        subject=subject,
        domain="door",
        presentation=f"p{number}",
    )


def scattered(count: int, width: int = 5, seed: int = 1):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_a_stratum_is_domain_label_species_and_modalities():
    assert stratum_of(record(1, "s1", depth="d.png", ir="i.png")) == Stratum(
        "door", "attack", "print", "depth+ir"
    )


@pytest.mark.parametrize(
    ("counts", "size", "chosen"),
    [
        ([60, 30, 10], 10, [6, 3, 1]),
        ([97, 2, 1], 10, [8, 1, 1]),  # the rare ones are there all the same
        ([50, 50], 4, [2, 2]),
        ([3, 2], 10, [3, 2]),  # no more than there are
        ([5, 9, 7], 2, [0, 1, 1]),  # more strata than places: the larger ones
    ],
)
def test_every_stratum_has_its_share(counts, size, chosen):
    strata = [stratum(domain=f"d{k}") for k, count in enumerate(counts) for _ in range(count)]
    selection = select(scattered(len(strata)), strata, size)
    assert [share.chosen for share in selection.strata] == chosen
    assert [share.candidates for share in selection.strata] == counts
    thinned = Counter(strata[index] for index in thin(strata, size))
    assert [thinned[stratum(domain=f"d{k}")] for k in range(len(counts))] == chosen


def test_within_a_stratum_the_captures_least_alike_are_chosen():
    line = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [9.0], [0.3]], np.float32)
    selection = select(line, [stratum()] * 7, 3)
    assert selection.indices == (0, 3, 5)  # near the mean, then either end
    assert selection.radius == pytest.approx(0.3)


def test_coverage_beats_every_one_of_many_random_draws():
    features, strata = scattered(300, 3), [stratum()] * 300
    selection = select(features, strata, 20)
    rng = np.random.default_rng(5)
    for _ in range(50):
        drawn = features[rng.choice(300, 20, replace=False)]
        gaps = np.linalg.norm(features[:, None] - drawn[None], axis=2).min(axis=1)
        assert selection.radius < gaps.max()


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 100)
)
def test_a_selection_has_the_size_asked_for_no_repeats_and_is_deterministic(kinds, size, seed):
    strata = [stratum(domain=f"d{kind}") for kind in kinds]
    features = scattered(len(kinds), 2, seed)
    selection = select(features, strata, size)
    assert len(set(selection.indices)) == len(selection.indices) == min(size, len(kinds))
    assert selection == select(features, strata, size)
    if size >= len(set(kinds)):
        assert all(share.chosen for share in selection.strata)


def test_a_short_list_is_selected_whole():
    strata = [stratum(), stratum(domain="hall"), stratum()]
    taken = take_all(strata)
    assert taken.indices == select(scattered(3), strata, 3).indices == (0, 1, 2)
    assert taken.strata == select(scattered(3), strata, 8).strata
    with pytest.raises(DatasetError, match="there is no calibration capture"):
        take_all([])


def test_the_radius_is_the_largest_gap():
    features = scattered(40, 2)
    selection = select(features, [stratum()] * 40, 6)
    chosen = features[list(selection.indices)]
    gaps = np.linalg.norm(features[:, None] - chosen[None], axis=2).min(axis=1)
    assert selection.radius == pytest.approx(gaps.max(), rel=1e-6)


@pytest.mark.parametrize(
    ("features", "count", "size", "words"),
    [
        (np.zeros((0, 3)), 0, 8, "there is no calibration capture"),
        (scattered(4), 4, 0, "calibration size is 0"),
        (scattered(4), 3, 2, "expected one row a capture"),
        (np.ones((4, 3)), 4, 2, "no difference between the 4"),
        (np.array([[1.0], [np.nan], [2.0]]), 3, 2, "1 of 3 calibration captures are not finite"),
    ],
)
def test_unfit_candidates_are_refused_with_the_reason(features, count, size, words):
    with pytest.raises(DatasetError, match=words):
        select(features, [stratum()] * count, size)


def smooth(count: int):
    ramp = np.linspace(0, 1, 16, dtype=np.float32)
    noise = np.random.default_rng(2).normal(0, 0.05, (count, 3, 16, 16)).astype(np.float32)
    return ramp * ramp[:, None] + noise


def noise(count: int):
    return np.random.default_rng(3).normal(size=(count, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize(
    ("rgb", "ir", "refused"),
    [
        (smooth(4), smooth(4), False),
        (noise(4), noise(4), True),
        (noise(4), smooth(4), False),  # a dark scene is noise in one modality
        (noise(4), np.zeros((4, 3, 16, 16), np.float32), True),  # a missing one excuses nothing
        (np.concatenate([noise(2), smooth(2)]), np.zeros((4, 3, 16, 16), np.float32), False),
        (np.concatenate([noise(3), smooth(1)]), np.zeros((4, 3, 16, 16), np.float32), True),
    ],
)
def test_random_pixels_are_no_calibration_captures(rgb, ir, refused):
    batches = [{"rgb": rgb, "ir": ir, "present": np.ones((4, 2), np.float32)}]
    if refused:
        with pytest.raises(DatasetError, match="look like random noise"):
            require_camera_frames(batches, "cal.jsonl")
    else:
        require_camera_frames(batches, "cal.jsonl")
