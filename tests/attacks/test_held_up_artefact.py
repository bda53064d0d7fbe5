"""Attack: an artefact simply held up where the bundle has no sequential test.

The attacker has an artefact of which one frame in ten is LIVE by itself, and holds it up. Three
such frames in a row were a LIVE, and a SPOOF frame ended nothing: 30 tries a second. Answer: a
SPOOF frame ends the attempt for a time that grows, and can raise the LIVE frames that it takes.
"""

from __future__ import annotations

import random

from fasdk.decision import Verdict
from fasdk.reasons import Reason
from fasdk.tracking.policy import AttemptPolicy, TrackPolicy

from support.attack_door import AttackDoor
from support.track_fakes import plain_bundle

POLICY = AttemptPolicy()


def test_a_spoof_frame_ends_the_attempt_for_a_time_that_grows():
    door = AttackDoor(plain_bundle(), TrackPolicy(lock_out=None))
    for attempt in range(1, 12):
        assert door.see(-1.0).verdict is Verdict.SPOOF
        judged = door.session.judged
        assert door.see(9.0).codes == (Reason.WAIT,)
        assert door.session.judged == judged  # the engine is left alone
        left_ms = POLICY.wait_ms(attempt) - 100.0
        assert door.see(9.0, after_ms=left_ms - 1.0).codes == (Reason.WAIT,)
    assert POLICY.wait_ms(11) == POLICY.longest_wait_ms


def test_each_attempt_can_take_a_live_frame_more():
    raised = AttemptPolicy(raise_frames=1, most_raises=2)
    door = AttackDoor(plain_bundle(), TrackPolicy(attempts=raised, lock_out=None))
    for needed in (3, 4, 5, 5):
        verdicts = [door.see(1.0).verdict for _ in range(needed - 1)]
        assert verdicts == [Verdict.RETRY] * (needed - 1)
        assert door.see(-1.0).verdict is Verdict.SPOOF
        door.clock.now_ms += POLICY.longest_wait_ms


def test_ten_minutes_of_it_are_a_handful_of_attempts():
    frames = random.Random(5)  # noqa: S311 - an artefact
    door = AttackDoor(plain_bundle(), TrackPolicy(lock_out=None))
    shown = [
        door.see(1.0 if frames.random() < 0.1 else -1.0, after_ms=200.0).verdict
        for _ in range(3000)
    ]
    assert shown.count(Verdict.SPOOF) == POLICY.attempts_within(600_000.0)
    assert Verdict.LIVE not in shown
