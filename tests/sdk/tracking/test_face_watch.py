"""Face continuity: lost on no face, several faces, a gap or a jump of the box."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture
from fasdk.reasons import Reason
from fasdk.tracking.face_watch import FaceWatch

HERE, NEARBY, ELSEWHERE = (20, 10, 20, 20), (25, 12, 20, 20), (2, 10, 20, 20)


def capture(face=None, *, width=64, height=48) -> Capture:
    return Capture(rgb=np.zeros((height, width, 3), np.uint8), face=face)


def look(watch, face=HERE, at_ms=0.0, codes=(), is_scored=True, **size) -> bool:
    return watch.is_same(capture(face, **size), codes, at_ms, is_scored=is_scored)


@pytest.fixture
def watch() -> FaceWatch:
    return FaceWatch(lost_ms=1000.0, min_overlap=0.3)


def test_the_first_face_is_a_new_one_and_then_the_same(watch):
    assert not look(watch)
    assert look(watch, NEARBY, 100.0)
    assert look(watch, HERE, 1100.0)


def test_a_gap_loses_it(watch):
    look(watch)
    assert not look(watch, HERE, 1000.1)
    assert look(watch, HERE, 1200.0)


def test_a_jump_loses_it(watch):
    look(watch)
    assert not look(watch, ELSEWHERE, 100.0)
    assert look(watch, ELSEWHERE, 200.0)


@pytest.mark.parametrize("reason", [Reason.NO_FACE, Reason.SEVERAL_FACES])
def test_no_face_or_several_lose_it_at_once(watch, reason):
    look(watch)
    assert not look(watch, HERE, 10.0, codes=(reason,), is_scored=False)
    assert not look(watch, HERE, 20.0)


def test_a_frame_that_was_not_judged_still_shows_where_the_face_is(watch):
    look(watch)
    assert look(watch, NEARBY, 900.0, codes=(Reason.BLURRED,), is_scored=False)
    assert look(watch, NEARBY, 1800.0)
    assert not look(watch, ELSEWHERE, 1900.0, codes=(Reason.BLURRED,), is_scored=False)


def test_face_watch_ignores_a_frame_without_a_box(watch):
    look(watch)
    assert look(watch, None, 900.0, codes=(Reason.BAD_CAPTURE,), is_scored=False)
    assert look(watch, HERE, 950.0)
    # Nor does it bridge a gap.
    assert look(watch, None, 1900.0, codes=(Reason.BAD_CAPTURE,), is_scored=False)
    assert not look(watch, HERE, 1960.0)


def test_a_box_that_comes_or_goes_is_another_face(watch):
    look(watch)
    assert not look(watch, None, 100.0)
    assert look(watch, None, 200.0)
    assert not look(watch, HERE, 300.0)


def test_boxes_compare_across_frame_sizes(watch):
    look(watch)
    assert look(watch, (40, 20, 40, 40), 100.0, width=128, height=96)
    assert not look(watch, HERE, 200.0, width=128, height=96)
