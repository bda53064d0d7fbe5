"""Flashing infrared emitters: lit frames told from those between, by brightness alone."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from fasdk.cameras import open_camera
from fasdk.cameras.emitter import LitFrames

FRAME = (48, 64)
FOUND_OUT = (
    "its infrared emitter flashes, so only lit frames are used; write emitter=flashing to use no "
    "other from the start, emitter=steady to use all"
)


PATTERNS = [
    # Means of real cameras' bursts, in levels: in a dark room, by day, and weak emitters.
    [1.7, 54.0],
    [0.6, 128.0],
    [43.5, 166.8],
    [0.8, 19.1],
    [0.8, 6.0],
    [1.0, 90.0, 90.0],
    [1.0, 1.0, 90.0],
]


def given(levels, every_ms=33.0, *, is_known=True):
    """Return which frames of those mean levels are given."""
    lit = LitFrames(is_known=is_known)
    rng = np.random.default_rng(1)
    return [
        lit.is_lit(rng.normal(level, 1.0, FRAME).clip(0, 255).astype(np.uint8), number * every_ms)
        for number, level in enumerate(levels)
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_lit_frames_of_a_pattern_are_given_and_no_other(pattern):
    levels = list(itertools.islice(itertools.cycle(pattern), 30))
    middle = (min(pattern) + max(pattern)) / 2
    found = given(levels)
    assert found[3:] == [level > middle for level in levels[3:]]
    assert not any(
        is_given for is_given, level in zip(found, levels, strict=True) if level < middle
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_emitter_that_flashes_is_found_out(pattern):
    levels = list(itertools.islice(itertools.cycle(pattern), 30))
    middle = (min(pattern) + max(pattern)) / 2
    found = given(levels, is_known=False)
    assert all(found[:5])
    assert found[8:] == [level > middle for level in levels[8:]]


@pytest.mark.parametrize(
    "levels",
    [
        [90.0] * 40,
        [20.0 + 3.0 * n for n in range(40)],  # somebody comes closer
        [90.0] * 20 + [30.0] * 20,  # and goes
        [60.0 + 30.0 * np.sin(n / 3.0) for n in range(60)],  # an exposure that swings
        [90.0, 91.5] * 20,
        # People who come and go, frame by frame.
        *(
            90 + np.random.default_rng(4).normal(0.0, 4.0, (4, 300)).cumsum(1).clip(-60, 60)
        ).tolist(),
    ],
)
def test_a_steady_emitter_is_not_taken_for_a_flashing_one(levels):
    assert all(given(levels, is_known=False))


def test_frames_before_the_first_flash_are_held_back():
    levels = [43.5] * 5 + [166.8, 43.5] * 5
    assert given(levels) == [False] * 5 + [True, False] * 5


def test_what_swallows_every_flash_is_judged_and_not_hidden():
    # A screen before the lens: after the first second its frames come as they are.
    found = given([2.0] * 60)
    assert not any(found[:31])
    assert all(found[31:])


def test_a_person_who_steps_in_is_given_at_once():
    levels = [1.0] * 60 + [90.0, 1.0] * 6
    assert given(levels)[60:] == [True, False] * 6


def test_a_video_of_a_flashing_emitter_gives_its_lit_frames(tmp_path, caplog):
    path = tmp_path / "ir.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (64, 48))
    for number in range(20):
        level = 100 + number if number % 2 else 2
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    lit = list(range(101, 120, 2))
    for emitter, expected in (("flashing", lit), ("auto", lit[2:])):
        with open_camera(f"opencv:{path}?modality=ir&emitter={emitter}") as camera:
            levels = [round(float(capture.ir.mean())) for capture in camera]
        assert levels[-len(expected) :] == pytest.approx(expected, abs=2)
        assert [warned.getMessage() for warned in caplog.records] == (
            [f"video {path}: {FOUND_OUT}"] if emitter == "auto" else []
        )
    with open_camera(f"opencv:{path}?modality=ir&emitter=steady") as camera:
        assert len(list(camera)) == 20
