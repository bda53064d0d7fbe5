"""Division of a data set by people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.errors import DatasetError
from fasdk_calibration.datasets import CaptureRecord, Dataset, Label
from fasdk_calibration.datasets.split import absent_strata, split_dataset

SHARES = {"train": 0.6, "development": 0.2, "test": 0.2}
KINDS = ("bona fide", "print", "replay")


def dataset(rows: list[tuple[str, str, str]]) -> Dataset:
    """Return a data set of (subject, species, domain) without frames, one a presentation."""
    records = tuple(
        CaptureRecord(
            id=str(number),
            rgb=f"{number}.png",
            label=Label.BONA_FIDE if species == "bona fide" else Label.ATTACK,
            species=species,
            subject=subject,
            domain=domain,
            presentation=str(number),
        )
        for number, (subject, species, domain) in enumerate(rows)
    )
    return Dataset("made", Path(), records)


def people(count: int, kinds: tuple[str, ...] = KINDS) -> list[tuple[str, str, str]]:
    return [
        (f"{domain}{person}", kind, domain)
        for domain in ("a", "b")
        for person in range(count)
        for kind in kinds
    ]


@settings(max_examples=30)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(KINDS), st.sampled_from("xy")),
        max_size=60,
    ),
    seed=st.integers(0, 5),
)
def test_every_capture_is_in_one_part_and_nobody_in_two(rows, seed):
    whole = dataset(people(6) + rows)
    parts = split_dataset(whole, SHARES, seed)
    held = Counter(record.id for part in parts for record in part.records)
    assert held == Counter(record.id for record in whole.records)
    seen = Counter(subject for part in parts for subject in part.subjects)
    assert set(seen.values()) == {1}
    backwards = Dataset("made", Path(), whole.records[::-1])
    again = split_dataset(backwards, SHARES, seed)
    assert [part.subjects for part in again] == [part.subjects for part in parts]


def test_parts_are_alike_in_label_species_and_domain():
    rng = np.random.default_rng(0)
    rows = people(60)
    rows += [rows[index] for index in rng.integers(0, len(rows), 300)]  # some show much more
    rows += [(f"a{person}", "mask", "a") for person in range(0, 60, 4)]
    whole = dataset(rows)
    total = Counter((r.species, r.domain) for r in whole.records)
    for part in split_dataset(whole, SHARES, 1):
        found = Counter((r.species, r.domain) for r in part.records)
        assert found.keys() == total.keys()
        for stratum, count in found.items():
            assert abs(count - part.share * total[stratum]) <= 3, (part.name, stratum)


def test_what_too_few_people_show_is_named():
    rows = [*people(5), ("a0", "mask", "a")]
    parts = split_dataset(dataset(rows), SHARES, 0)
    (note,) = absent_strata(parts)
    assert note.startswith("mask of a is not in ") and note.endswith("it is shown by 1 person")


@pytest.mark.parametrize(
    ("rows", "shares", "message"),
    [
        (people(3), {"a": 0.5, "b": 0.4}, "the shares of a, b make 0.9, expected 1"),
        (people(3), {"a": 0.0, "b": 1.0}, "part a has a share of 0"),
        (people(3), {"a": float("nan"), "b": 1.0}, "part a has a share of nan"),
        (people(1), SHARES, "bona fide captures of 2 and attacks of 2 people for 3 parts"),
    ],
)
def test_a_split_that_cannot_be_is_refused(rows, shares, message):
    with pytest.raises(DatasetError, match=message):
        split_dataset(dataset(rows), shares, 0)
