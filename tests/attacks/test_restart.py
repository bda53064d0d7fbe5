"""Attack: the door's power, its process or its account of attempts taken away between attempts.

The attacker reaches the plug, crashes the process or waits for the watchdog: attempts and lock-out
were in memory and gone afterwards. Answer: they are on the disk before the attempt's first answer,
the time without power does not count, and a file that cannot be read is the longest wait.
"""

from __future__ import annotations

import logging
import os

import pytest

from fasdk.decision import Verdict
from fasdk.errors import AttemptError
from fasdk.home import home_path
from fasdk.reasons import Reason
from fasdk.tracking import attempt_files
from fasdk.tracking.policy import AttemptPolicy, LockOutPolicy, TrackPolicy

from support.attack_door import AttackDoor
from support.track_fakes import plain_bundle

POLICY = AttemptPolicy()
UNTIL_RELEASED = TrackPolicy(lock_out=LockOutPolicy(spoofs=1, locked_ms=None))


def file():
    (path,) = attempt_files.recorded()
    return path


def test_a_restart_in_the_middle_of_an_attempt_does_not_make_it_free():
    door = AttackDoor()
    for attempt in range(1, 5):
        assert door.see(-0.5).frames == 1
        door.restart()
        waits = door.see(-0.5)
        assert waits.codes == (Reason.WAIT,)
        assert waits.wait_ms == pytest.approx(POLICY.wait_ms(attempt) - 100.0)
        door.clock.now_ms += waits.wait_ms


def test_a_lock_out_until_released_outlives_restarts_and_days():
    door = AttackDoor(plain_bundle(), UNTIL_RELEASED)
    assert door.see(-1.0).verdict is Verdict.SPOOF
    for _ in range(3):
        door.restart()
        locked = door.see(9.0, after_ms=1e8)
        assert (locked.verdict, locked.codes) == (Verdict.ERROR, (Reason.LOCKED_OUT,))
        assert locked.wait_ms == float("inf")
    door.track.unlock()
    door.restart()
    assert [door.see(9.0).verdict for _ in range(3)][-1] is Verdict.LIVE


@pytest.mark.parametrize("clock_ms", [0.0, 5.0, 1e9], ids=["zero", "young", "old"])
def test_the_time_without_power_does_not_count(monkeypatch, clock_ms):
    door = AttackDoor(plain_bundle())
    for _ in range(4):
        door.see(-1.0, after_ms=POLICY.wait_ms(4))
    monkeypatch.setattr(attempt_files, "boot_id", lambda: "the next boot")
    door.clock.now_ms = clock_ms  # the machine's clock begins anew with each boot
    door.restart()
    waits = door.see(9.0, after_ms=0.0)
    assert waits.codes == (Reason.WAIT,)
    assert waits.wait_ms == pytest.approx(POLICY.wait_ms(4))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one digit": lambda path: path.write_bytes(
        path.read_bytes().replace(b'failed":1', b'failed":0')
    ),
    "garbage": lambda path: path.write_bytes(b"\xff" * 1000),
    "huge": lambda path: path.write_bytes(b"0" * (1 << 20)),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "link": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_account_is_the_longest_wait_and_says_so(damage, caplog):
    door = AttackDoor()
    door.see(-0.5)
    damage(file())
    door.restart()
    with caplog.at_level(logging.WARNING):
        waits = door.see(9.0)
    assert waits.codes == (Reason.WAIT,)
    assert waits.wait_ms == POLICY.longest_wait_ms
    assert "it counts as the longest wait" in caplog.text


def test_a_damaged_account_locks_where_only_a_guard_releases():
    door = AttackDoor(plain_bundle(), UNTIL_RELEASED)
    door.see(-1.0)
    DAMAGE["half"](file())
    door.restart()
    assert door.see(9.0).codes == (Reason.LOCKED_OUT,)
    attempt_files.release_camera("lobby")
    assert door.see(9.0).codes == (Reason.UNDECIDED,)


def test_an_absent_account_is_a_new_camera_and_says_so(caplog):
    door = AttackDoor()
    door.see(-0.5)
    file().unlink()
    door.restart()
    with caplog.at_level(logging.WARNING):
        assert door.see(-0.5).frames == 1
    assert "camera lobby begins with no attempts" in caplog.text


def test_an_account_removed_under_a_running_track_is_written_again(caplog):
    door = AttackDoor()
    door.see(-0.5)
    door.step_away()
    file().unlink()
    assert door.see(9.0).codes == (Reason.WAIT,)
    door.clock.now_ms += POLICY.wait_ms(1)
    assert door.see(-0.5).frames == 1
    assert attempt_files.read_record(file()).state.failed == 2
    assert "removed" in caplog.text


def test_nobody_is_judged_where_attempts_cannot_be_recorded(monkeypatch):
    def full(path, **_):
        raise AttemptError(f"cannot write {path}: No space left on device")

    door = AttackDoor()
    door.see(-0.5, after_ms=0.0)
    door.clock.now_ms += 10_000.0
    monkeypatch.setattr(attempt_files, "atomic_write", full)
    for _ in range(3):
        found = door.see(9.0)
        assert (found.verdict, found.codes) == (Verdict.ERROR, (Reason.UNRECORDED,))
    monkeypatch.undo()
    door.clock.now_ms += POLICY.longest_wait_ms
    assert door.see(9.0).verdict is Verdict.LIVE


def test_the_account_is_private_to_its_owner():
    door = AttackDoor()
    door.see(-0.5)
    assert file().stat().st_mode & 0o777 == 0o600
    assert (home_path() / "state" / "attempts").stat().st_mode & 0o777 == 0o700
