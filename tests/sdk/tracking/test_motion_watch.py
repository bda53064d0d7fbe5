"""Agreement of the sensors on how the face moves from frame to frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.reasons import Reason
from fasdk.tracking.motion_watch import MotionPair, MotionWatch

from support.moving_person import STILL, frozen, presentation

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR


@pytest.fixture(scope="module")
def moving():
    return presentation(4)


@pytest.fixture(scope="module")
def person(moving):
    return moving[0]


def moved(frame, right, down):
    """Return a frame whose picture is so many pixels further right and down."""
    return np.roll(frame, (down, right), axis=(0, 1))


def step(person, **shifts):
    """Return the person's next frame, each sensor's picture moved by (right, down) pixels."""
    return replace(person, **{m: moved(getattr(person, m), *by) for m, by in shifts.items()})


def only(capture, *modalities):
    return Capture.of({m: capture.frame(m) for m in modalities}, face=capture.face)


def findings(frames):
    watch = MotionWatch()
    return [finding for frame in frames if (finding := watch.take_in(frame)) is not None]


def gaps_of_two(first, second):
    watch = MotionWatch()
    assert watch.gaps(first) == {}
    return watch.gaps(second)


def test_one_face_that_moves_is_let_through(moving):
    assert findings(moving) == []


@pytest.mark.parametrize("names", [("depth",), ("ir",), ("depth", "ir")])
def test_sensors_that_repeat_an_old_frame_are_found(moving, names):
    found = findings(frozen(moving, *names))
    assert found
    assert {finding.reason for finding in found} == {Reason.SENSORS_DISAGREE}
    assert "the same movement" in found[0].message


def test_where_nobody_moves_nothing_is_said():
    still = presentation(1, STILL)
    assert findings(still) == findings(frozen(still, "depth", "ir")) == []


@pytest.mark.parametrize(("right", "down"), [(14, 0), (-14, 0), (20, 0), (0, 20)])
def test_all_sensors_moved_alike_move_together_and_one_alone_does_not(person, right, down):
    by = (right, down)
    together = gaps_of_two(person, step(person, rgb=by, depth=by, ir=by))
    assert together.keys() == {MotionPair.RGB_DEPTH, MotionPair.RGB_IR}
    assert all(gap < pair.most / 8 for pair, gap in together.items())
    for name, pair in (("depth", MotionPair.RGB_DEPTH), ("ir", MotionPair.RGB_IR)):
        gaps = gaps_of_two(person, step(person, **{name: by}))
        assert gaps[pair] > pair.most
        assert gaps.keys() == together.keys()


def test_slow_movement_adds_up(person):
    slow = [step(person, rgb=(3 * n, 0), ir=(3 * n, 0)) for n in range(8)]
    assert gaps_of_two(*slow[:2])[MotionPair.RGB_DEPTH] == 0.0
    assert findings(slow)


@pytest.mark.parametrize(
    ("modalities", "pairs"),
    [
        ((RGB, DEPTH, IR), {MotionPair.RGB_DEPTH, MotionPair.RGB_IR}),
        ((RGB, IR), {MotionPair.RGB_IR}),
        ((RGB, DEPTH), {MotionPair.RGB_DEPTH}),
        ((DEPTH, IR), {MotionPair.IR_DEPTH}),
        ((RGB,), set()),
        ((DEPTH,), set()),
    ],
)
def test_what_sensors_there_are_is_compared(moving, modalities, pairs):
    frames = [only(frame, *modalities) for frame in moving[:2]]
    assert gaps_of_two(*frames).keys() == pairs


def test_a_sensor_that_comes_or_goes_is_not_compared(person):
    alone = only(person, RGB, IR)
    assert gaps_of_two(person, alone).keys() == {MotionPair.RGB_IR}
    assert gaps_of_two(alone, person).keys() == {MotionPair.RGB_IR}
    watch = MotionWatch()
    watch.gaps(alone)
    watch.gaps(person)
    assert watch.gaps(person).keys() == {MotionPair.RGB_DEPTH, MotionPair.RGB_IR}


def test_frames_of_other_sizes_are_compared_in_their_own_boxes(moving):
    halves = [replace(f, ir=np.ascontiguousarray(f.ir[::2, ::2])) for f in moving]
    assert findings(halves) == []
    assert findings(frozen(halves, "ir"))


@pytest.mark.parametrize("box", [FaceBox(0, 0, 1, 1), FaceBox(319, 239, 1, 1), (0, 0, 320, 240)])
def test_any_box_gets_an_answer(moving, box):
    found = gaps_of_two(*(replace(frame, face=box) for frame in moving[:2]))
    assert all(0.0 <= gap <= 2.0 for gap in found.values())


@pytest.mark.parametrize("change", ["no face", "blank", "noise"])
def test_frames_that_do_not_tell_how_they_moved_say_nothing(person, change):
    rng = np.random.default_rng(0)
    frames = [person, person]
    for n, frame in enumerate(frames):
        if change == "no face":
            frames[n] = replace(frame, face=None)
        elif change == "blank":
            frames[n] = replace(frame, ir=np.full_like(frame.ir, 90), depth=frame.depth * 0)
        else:
            noise = [rng.integers(0, 256, frame.ir.shape) for _ in range(2)]
            frames[n] = replace(
                frame, ir=noise[0].astype(np.uint8), depth=(500 + noise[1]).astype(np.uint16)
            )
    assert gaps_of_two(*frames) == {}


def test_a_face_that_is_forgotten_is_compared_with_nothing(person):
    watch = MotionWatch()
    watch.gaps(person)
    watch.forget()
    assert watch.gaps(step(person, rgb=(14, 0))) == {}


def test_the_same_frames_give_the_same_gaps_bit_for_bit(moving):
    first, second = MotionWatch(), MotionWatch()
    mixed = frozen(moving, "depth")
    assert [first.gaps(f) for f in mixed] == [second.gaps(f) for f in mixed]
