"""Subjects shared between sets of captures."""

from __future__ import annotations

import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.overlap import (
    NAMED_SUBJECTS,
    require_none_shared,
    shared_subjects,
)


def test_shared_subjects_are_those_of_both_in_name_order():
    assert shared_subjects(["c", "a", "b", "a"], ("d", "c", "b")) == ("b", "c")
    assert shared_subjects([], ["a"]) == ()


def test_no_shared_subject_is_accepted():
    require_none_shared((), name="cal.jsonl", other="dev.jsonl", fix="take others")


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (1, r"^cal shares 1 subject with dev: s0: take others$"),
        (10, r"^cal shares 10 subjects with dev: s0, .*, s9: take others$"),
        (13, r"^cal shares 13 subjects with dev: s0, .*, s9 and 3 more: take others$"),
    ],
)
def test_shared_subjects_are_counted_and_the_first_ten_named(count, message):
    shared = [f"s{number}" for number in range(count)]
    with pytest.raises(DatasetError, match=message) as error:
        require_none_shared(shared, name="cal", other="dev", fix="take others")
    assert str(error.value).count(", s") == min(count, NAMED_SUBJECTS) - 1
