"""A process that forks while its session is busy.

The child has the session without its threads, and locks as they were at that moment. Whatever it
calls is answered ERROR (closed), `close` returns, and nothing waits; the parent goes on.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.errors import ClosedError
from fasdk.reasons import Finding, Reason
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy

from support import tiny_bundle
from support.scripted_engine import FakeEngine, live

GOOD = tiny_bundle.capture(200)
CHILD_S = 20.0  # that none comes near, unless it hangs
NO_FACE = Finding(Reason.NO_FACE, "no face in view")

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb"))


def ask_in_child(session, track) -> list[str]:
    """Return what is wrong with the answers that a child gets."""
    answers = {
        "check": lambda: session.check(GOOD),
        "submit": lambda: session.submit(GOOD).result(0),
        "check_batch": lambda: session.check_batch([GOOD])[0],
        "track.check": lambda: track.check(GOOD),
        "track.submit": lambda: track.submit(GOOD).result(0),
        "track.missed": lambda: track.missed(GOOD, NO_FACE),
    }
    wrong = []
    for name, ask in answers.items():
        found = ask()
        if (found.verdict, found.codes) != (Verdict.ERROR, (Reason.CLOSED,)):
            wrong.append(f"{name}: {found}")
    refusals = {
        "swap": lambda: session.swap(session.bundle),
        "start": session.start,
        "track": lambda: session.track("another"),
        "replay_golden": session.replay_golden,
        "unlock": track.unlock,
    }
    wrong += [f"{name} went through" for name, call in refusals.items() if not is_refused(call)]
    track.reset()
    if not track.is_locked_out:
        wrong.append("the track is not locked")
    session.close()
    return wrong


def is_refused(call) -> bool:
    try:
        call()
    except ClosedError:
        return True
    return False


def run_child(session, track) -> int:
    """Fork, and return the child's exit status; -SIGKILL for one that hangs."""
    child = os.fork()
    if not child:
        status = 2
        try:
            status = len(ask_in_child(session, track)) and 1
        finally:
            os._exit(status)
    end = time.monotonic() + CHILD_S
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


@pytest.mark.parametrize(
    "forks", [8, pytest.param(150, marks=pytest.mark.slow)], ids=["quick", "many"]
)
def test_a_child_forked_under_load_is_closed_and_never_hangs(bundle, forks):
    slow = FakeEngine(lambda size: (time.sleep(0.0005), live(size))[1])
    session = Liveness(bundle, slow, batching=BatchingPolicy(lanes=2)).start()
    policy = TrackPolicy(frames_required=1, remembered_frames=0, attempts=None, lock_out=None)
    track = session.track("door", policy)
    enough = threading.Event()
    verdicts = set()

    def load(check):
        while not enough.is_set():
            found = check(GOOD)
            verdicts.add((found.verdict, found.reasons))

    threads = [threading.Thread(target=load, args=(c,)) for c in (session.check, track.check) * 2]
    for thread in threads:
        thread.start()
    try:
        assert {run_child(session, track) for _ in range(forks)} == {0}
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert session.check(GOOD).verdict is track.check(GOOD).verdict is Verdict.LIVE
    assert verdicts == {(Verdict.LIVE, ())}
    session.close()
