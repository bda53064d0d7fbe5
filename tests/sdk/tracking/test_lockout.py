"""Lock-out of a camera after repeated spoofs, for a time or until unlocked."""

from __future__ import annotations

import math

import pytest

from fasdk.errors import UsageError
from fasdk.tracking.lockout import LockOut
from fasdk.tracking.policy import LockOutPolicy

POLICY = LockOutPolicy(spoofs=3, window_ms=1000.0, locked_ms=500.0, same_face_ms=100.0)


def locked_after(policy, *times_ms, same_face=False) -> LockOut:
    lock_out = LockOut(policy)
    for at_ms in times_ms:
        lock_out.spoof(at_ms, same_face=same_face)
    return lock_out


def test_so_many_spoofs_within_the_window_lock_for_a_time():
    lock_out = locked_after(POLICY, 0.0, 400.0)
    assert not lock_out.is_locked(400.0)
    lock_out.spoof(1000.0, same_face=False)
    assert lock_out.left_ms(1000.0) == 500.0
    assert lock_out.is_locked(1499.9)
    assert not lock_out.is_locked(1500.0)
    # What led to it is forgotten with it.
    lock_out.spoof(1500.0, same_face=False)
    assert not lock_out.is_locked(1500.0)


def test_a_spoof_is_forgotten_after_the_window():
    assert not locked_after(POLICY, 0.0, 500.0, 1000.1).is_locked(1000.1)
    assert locked_after(POLICY, 0.0, 500.0, 1000.1, 1500.0).is_locked(1500.0)


def test_lockout_counts_the_same_face_again_only_after_the_window():
    assert not locked_after(POLICY, 0.0, 30.0, 60.0, 99.0, same_face=True).is_locked(99.0)
    assert locked_after(POLICY, 0.0, 100.0, 200.0, same_face=True).is_locked(200.0)
    assert locked_after(POLICY, 0.0, 30.0, 60.0).is_locked(60.0)


def test_without_a_time_it_lasts_until_unlocked():
    lock_out = locked_after(LockOutPolicy(spoofs=1, locked_ms=None), 0.0)
    assert lock_out.left_ms(1e12) == math.inf
    lock_out.unlock()
    assert not lock_out.is_locked(1e12)


def test_a_spoof_while_locked_does_not_prolong_it():
    lock_out = locked_after(POLICY, 0.0, 1.0, 2.0)
    lock_out.spoof(400.0, same_face=False)
    assert not lock_out.is_locked(502.0)


def test_lockout_is_on_by_default():
    usual = LockOutPolicy()
    assert usual.spoofs <= 5
    assert usual.locked_ms is None or usual.locked_ms >= 30_000.0
    assert not locked_after(None, *range(100)).is_locked(100.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spoofs": 0}, "spoofs is 0, expected a whole number of at least 1"),
        ({"spoofs": True}, "spoofs is True"),
        ({"spoofs": 2.0}, "spoofs is 2.0"),
        ({"window_ms": 0}, "window_ms is 0, expected milliseconds above 0"),
        ({"window_ms": math.nan}, "window_ms is nan"),
        ({"locked_ms": -1}, "locked_ms is -1"),
        ({"locked_ms": math.inf}, "locked_ms is inf"),
        ({"same_face_ms": -1}, "same_face_ms is -1, expected milliseconds, 0 or more"),
        ({"same_face_ms": "2"}, "same_face_ms is '2'"),
    ],
)
def test_a_limit_out_of_range_is_refused(change, words):
    with pytest.raises(UsageError, match=words):
        LockOutPolicy(**change)
