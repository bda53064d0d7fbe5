"""Attack: an artefact shown for one to three frames, then taken away, again and again.

The attacker has one artefact and patience. Each showing is another run of the sequential test, of
which one in twenty is LIVE, and stepping away or jumping made all that was against it forgotten:
400 runs a minute. Answer: each showing is an attempt of the camera, whatever the face; the waits
between them grow and a LIVE takes more evidence.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fasdk.decision import Verdict
from fasdk.reasons import Reason
from fasdk.tracking.policy import AttemptPolicy, TrackPolicy

from support.attack_door import AttackDoor

POLICY = AttemptPolicy()
MINUTE_MS = 60_000.0
CORNER = (0, 0, 12, 12)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_showings_in_a_minute_are_what_the_schedule_says(frames):
    door = AttackDoor(policy=TrackPolicy(lock_out=None))

    def show():
        for _ in range(frames - 1):
            shown = door.see(-0.5)
            assert shown.verdict is Verdict.RETRY
        shown = door.see(-0.5)
        door.step_away()
        return shown

    begun = door.attempts_within(MINUTE_MS, show)
    assert begun <= POLICY.attempts_within(MINUTE_MS)
    assert begun >= POLICY.attempts_within(MINUTE_MS) - 1


@pytest.mark.parametrize(
    "leave",
    [
        lambda door: door.step_away(),
        lambda door: door.see(-0.5, face=CORNER),
        lambda door: door.see(-0.5, face=None),
        lambda door: door.track.reset(),
    ],
    ids=["away", "jump", "no box", "reset"],
)
def test_every_way_to_leave_is_an_attempt(leave):
    door = AttackDoor()
    assert door.see(-0.5).frames == 1
    leave(door)
    waits = door.see(4.9)
    assert (waits.verdict, waits.codes) == (Verdict.RETRY, (Reason.WAIT,))
    assert 0.0 < waits.wait_ms <= POLICY.wait_ms(2)
    assert "lobby judges nobody for another" in waits.reasons[0]


def test_a_gap_after_which_the_face_may_be_another_is_an_attempt():
    door = AttackDoor()
    door.see(-0.5)
    assert door.see(-0.5, after_ms=1000.1).frames == 1  # the second attempt
    waits = door.see(-0.5, after_ms=1000.1)
    assert waits.codes == (Reason.WAIT,)
    assert waits.wait_ms == pytest.approx(POLICY.wait_ms(2) - 1000.1)


def test_covering_a_sensor_is_an_attempt_too():
    door = AttackDoor()
    door.see(-0.5)
    whole, door.session._say = door.session._say, None
    door.session._say = lambda frame: replace(whole(frame), operating_point="standard/rgb")
    covered = door.see(4.9)
    assert (covered.verdict, covered.codes) == (Verdict.RETRY, (Reason.WAIT,))


def test_after_attempts_a_live_takes_more_evidence():
    door = AttackDoor()
    door.see(-0.5)
    door.step_away()
    door.clock.now_ms += POLICY.wait_ms(1)
    assert door.see(5.5).verdict is Verdict.RETRY  # LIVE by the test's own bound of 5 nats
    assert door.see(5.5).verdict is Verdict.LIVE
    assert door.see(5.5).verdict is Verdict.LIVE  # which clears the attempts


def test_frames_are_not_worth_more_for_coming_faster():
    door = AttackDoor()
    assert door.see(1.0).frames == 1
    for _ in range(9):
        assert door.see(3.0, after_ms=5.0).codes == (Reason.UNDECIDED,)
    assert door.see(1.0, after_ms=5.0).frames == 2
