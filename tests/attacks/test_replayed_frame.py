"""Attack: a frame handed in again, from a frozen camera or a recording put in its place.

The attacker freezes the camera's stream on one good frame, or plays some of its frames in a loop.
Three copies with one time stamp were LIVE. Answer: a frame that is bit for bit among the last 64,
or not later than the one before, counts for nothing, in any of the sensors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.decision import Verdict
from fasdk.reasons import Reason
from fasdk.tracking.newness import frame_digest

from support.attack_door import AttackDoor
from support.sequential_tests import sigmoid
from support.track_fakes import capture, plain_bundle, scored

RGB, DEPTH, IR = Modality
EVERY = (RGB, DEPTH, IR)


def show(door, *frames):
    door.answer = lambda: scored(sigmoid(9.0))
    found = []
    for frame in frames:
        door.clock.now_ms += 100.0
        found.append(door.track.check(frame))
    return [(answer.verdict, answer.codes) for answer in found]


GATHERING = (Verdict.RETRY, (Reason.UNDECIDED,))
OLD = (Verdict.RETRY, (Reason.NOT_NEW,))


def test_one_frame_many_times_counts_once():
    frozen = capture()
    assert show(AttackDoor(plain_bundle()), *[frozen] * 5) == [GATHERING] + [OLD] * 4


def test_the_same_content_in_other_memory_with_a_new_time_is_the_same_frame():
    first = capture(taken_ms=dict.fromkeys(EVERY, 10.0))
    again = [
        replace(first, rgb=first.rgb.copy(), taken_ms=dict.fromkeys(EVERY, at)) for at in (20, 30)
    ]
    assert show(AttackDoor(plain_bundle()), first, *again) == [GATHERING, OLD, OLD]


@pytest.mark.parametrize("stuck", EVERY)
def test_one_stuck_sensor_among_moving_ones_is_found(stuck):
    first = capture()
    later = [replace(capture(), **{stuck.value: first.frame(stuck)}) for _ in range(3)]
    assert show(AttackDoor(plain_bundle()), first, *later) == [GATHERING, OLD, OLD, OLD]


def test_a_loop_of_frames_is_no_stream():
    loop = [capture() for _ in range(2)]
    assert show(AttackDoor(plain_bundle()), *loop * 3) == [GATHERING] * 2 + [OLD] * 4


@pytest.mark.parametrize("late", EVERY)
def test_a_frame_that_is_not_later_counts_for_nothing(late):
    def at(taken_ms, other_ms):
        return capture(taken_ms={m: taken_ms if m is late else other_ms for m in EVERY})

    shown = show(AttackDoor(plain_bundle()), at(50.0, 50.0), at(50.0, 60.0), at(40.0, 70.0))
    assert shown == [GATHERING, OLD, OLD]


def test_frames_in_order_are_live():
    frames = [capture(taken_ms=dict.fromkeys(EVERY, 10.0 * n)) for n in range(3)]
    assert show(AttackDoor(plain_bundle()), *frames)[-1] == (Verdict.LIVE, ())


def test_every_byte_of_a_frame_is_part_of_its_digest():
    frame = np.random.default_rng(2).integers(0, 255, (37, 41, 3), np.uint8)
    known = {frame_digest(frame)}
    for at in range(0, frame.size, 7):
        other = frame.copy()
        other.reshape(-1)[at] ^= 1
        known.add(frame_digest(other))
    known.add(frame_digest(frame[::-1]))
    known.add(frame_digest(frame.reshape(41, 37, 3)))
    assert len(known) == len(range(0, frame.size, 7)) + 3


@pytest.mark.parametrize("rows", [8, 16, 32])
def test_a_frame_whose_rows_changed_places_is_another(rows):
    frame = np.zeros((64, 512), np.uint8)
    frame[:rows] = 200
    assert frame_digest(frame) != frame_digest(np.roll(frame, rows, axis=0))
