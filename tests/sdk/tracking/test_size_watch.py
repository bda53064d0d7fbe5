"""Size against distance of one face: constant as it moves, forgotten with the face."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture
from fasdk.reasons import Reason
from fasdk.tracking.size_watch import MOST_RATIO, SizeWatch, size_times_distance


def face(side, distance_mm, **fields):
    depth = np.full((120, 160), distance_mm, np.uint16)
    rgb = np.zeros((240, 320, 3), np.uint8)
    box = (160 - side // 2, 120 - side // 2, side, side)
    return Capture(**{"rgb": rgb, "depth": depth, "face": box} | fields)


def found(*captures):
    watch = SizeWatch()
    return [watch.take_in(capture) is not None for capture in captures]


def test_who_comes_nearer_grows_by_as_much():
    assert size_times_distance(face(80, 500)) == 80 * 500
    assert found(*(face(round(40_000 / mm), mm) for mm in range(800, 300, -50))) == [False] * 10


@pytest.mark.parametrize(("side", "mm"), [(106, 500), (80, 660), (60, 500), (80, 375)])
def test_one_that_changes_without_the_other_is_found(side, mm):
    assert found(*[face(80, 500)] * 5, face(side, mm)) == [False] * 5 + [True]


def test_a_slow_change_adds_up():
    sides = [80 + 4 * n for n in range(12)]
    first = next(n for n, each in enumerate(found(*(face(s, 500) for s in sides))) if each)
    assert sides[first] / 88 > MOST_RATIO


def test_a_finding_and_another_face_begin_anew():
    watch = SizeWatch()
    steps = [*[face(80, 500)] * 4, face(120, 500), *[face(120, 500)] * 4]
    findings = [watch.take_in(step) for step in steps]
    assert [each is not None for each in findings] == [False] * 4 + [True] + [False] * 4
    assert findings[4].reason is Reason.SENSORS_DISAGREE
    watch.forget()
    assert watch.take_in(face(50, 500)) is None


def test_what_does_not_tell_is_passed_over():
    holes = np.zeros((120, 160), np.uint16)
    for fields in ({"depth": None}, {"depth": holes}, {"face": None}, {"rgb": None}):
        box = {"face": (30, 30, 40, 40)} if "rgb" in fields else {}
        assert size_times_distance(face(80, 500, **fields, **box)) is None
