"""Attack: one camera tried through two sessions, processes or names of threads at once.

The attacker finds a door that opens its bundle twice, or a service beside it. Each session had
attempts of its own. Answer: one account of attempts per camera, on the disk, whoever asks.
"""

from __future__ import annotations

import subprocess
import sys

from fasdk.decision import Verdict
from fasdk.reasons import Reason
from fasdk.tracking import attempt_files
from fasdk.tracking.policy import AttemptPolicy

from support.attack_door import AttackDoor
from support.track_fakes import capture, plain_bundle

POLICY = AttemptPolicy()


def test_an_attempt_in_one_session_is_waited_for_in_the_other():
    door = AttackDoor(plain_bundle())
    other = door.another_session()
    assert door.see(1.0).frames == 1  # an attempt under way
    assert other.check(capture()).codes == (Reason.WAIT,)
    assert door.see(1.0).frames == 2  # whose own frames go on
    assert door.see(-1.0).verdict is Verdict.SPOOF
    assert other.check(capture()).codes == (Reason.WAIT,)


def test_spoofs_of_all_sessions_lock_the_camera():
    door = AttackDoor(plain_bundle())
    tracks = [door.another_session() for _ in range(5)]
    for track in tracks:
        door.track = track
        assert door.see(-1.0, after_ms=POLICY.wait_ms(4) + 1.0).verdict is Verdict.SPOOF
    assert all(track.is_locked_out for track in tracks)


def test_attempts_of_another_process_count_here():
    door = AttackDoor(plain_bundle())
    door.see(-1.0)
    door.clock.now_ms += POLICY.wait_ms(1)
    script = (
        "from fasdk.tracking.tracks import account_of; "
        "from fasdk.tracking.policy import TrackPolicy; "
        f"account_of('lobby', TrackPolicy()).begin({door.clock.now_ms}, {door.clock.now_ms})"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    waits = door.see(9.0)
    assert waits.codes == (Reason.WAIT,)
    assert waits.wait_ms == POLICY.wait_ms(2) - 100.0


def test_release_by_hand_reaches_a_running_track():
    door = AttackDoor(plain_bundle())
    door.see(-1.0)
    assert door.see(9.0).codes == (Reason.WAIT,)
    attempt_files.release_camera("lobby")
    assert [door.see(9.0).verdict for _ in range(3)][-1] is Verdict.LIVE


def test_a_live_clears_the_attempts_of_every_session():
    door = AttackDoor(plain_bundle())
    other = door.another_session()
    door.see(-1.0)
    door.clock.now_ms += POLICY.longest_wait_ms
    assert [door.see(9.0).verdict for _ in range(3)][-1] is Verdict.LIVE
    door.track = other
    assert door.see(9.0).frames == 1
