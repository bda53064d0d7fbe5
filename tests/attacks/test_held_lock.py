"""A lock of the account's state that somebody holds, or that was not there to be held.

A process that was stopped holds the lock of the cameras' attempts: each judged frame would wait for
it for ever. Answer: nobody is judged, which is said after a stated time, and everything goes on
once the lock is free. Two revocations at once: none is lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from contextlib import contextmanager

import pytest

from fasdk import file_lock
from fasdk.bundle.signing import build_signer
from fasdk.bundle.trust_store import read_store, revoke_key
from fasdk.decision import Verdict
from fasdk.errors import AttemptError, StateError
from fasdk.file_lock import take_lock
from fasdk.home import home_folder
from fasdk.reasons import Reason
from fasdk.tracking import attempt_files
from fasdk.tracking.policy import AttemptPolicy

from support.attack_door import AttackDoor


@contextmanager
def held_lock(*below):
    descriptor = os.open(home_folder(*below), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_held_lock_of_the_attempts_is_an_error_and_no_wait_for_ever(monkeypatch):
    waits_s = []

    def take(descriptor, path, wait_s):
        waits_s.append(wait_s)
        take_lock(descriptor, path, min(wait_s, 0.02))

    monkeypatch.setattr(attempt_files, "take_lock", take)
    door = AttackDoor()
    with held_lock("state", "attempts"):
        for _ in range(3):
            found = door.see(9.0)
            assert (found.verdict, found.codes) == (Verdict.ERROR, (Reason.UNRECORDED,))
        with pytest.raises(AttemptError, match=r"held by another process .* `fuser /"):
            door.track.unlock()
        assert door.track.is_locked_out  # nothing says that it is not
    assert waits_s[0] == 1.0
    assert not any(waits_s[1:])  # frames do not queue up behind the holder
    door.clock.now_ms += AttemptPolicy().longest_wait_ms
    assert door.see(9.0).verdict is Verdict.LIVE


def test_a_held_lock_of_the_build_key_is_an_error(monkeypatch):
    monkeypatch.setattr(file_lock, "take_lock", lambda *at: take_lock(*at, wait_s=0.0))
    with held_lock("keys"), pytest.raises(StateError, match="held by another process"):
        build_signer()
    assert build_signer().key_id


def test_of_revocations_at_once_none_is_lost():
    fingerprints = {hashlib.sha256(bytes([n])).hexdigest() for n in range(12)}
    together = threading.Barrier(len(fingerprints))

    def revoke(fingerprint):
        together.wait()
        assert revoke_key(fingerprint) == (fingerprint,)

    threads = [threading.Thread(target=revoke, args=[one]) for one in fingerprints]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_store().revoked == fingerprints
