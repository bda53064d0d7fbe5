"""Sessions shared by threads, closed, left open and forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fasdk
from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.decision import Decision, Verdict
from fasdk.errors import (
    BackendError,
)
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.scripted_engine import SECONDS, FakeEngine, Script, live, until


def test_a_closed_session_answers_error_and_closes_twice_in_peace(bundle, bundle_path):
    engine = FakeEngine(live)
    with Liveness(bundle, engine) as session:
        pass
    assert engine.closed == 1
    decision = session.check(tiny_bundle.capture(250))
    assert decision.verdict is Verdict.ERROR
    assert decision.codes == (Reason.CLOSED,)
    assert session.check_batch([tiny_bundle.capture(250)])[0].codes == (Reason.CLOSED,)
    assert not engine.batches
    with pytest.raises(BackendError, match="closed"):
        session.replay_golden()
    real = fasdk.open(bundle_path, backend=Backend.ONNXRUNTIME)
    real.close()
    real.close()
    assert real.check(tiny_bundle.capture(250)).verdict is Verdict.ERROR


class OneAtATime(FakeEngine):
    """Notices when two calls overlap, or one overlaps the closing."""

    def __init__(self) -> None:
        super().__init__(live)
        self.inside = 0
        self.overlapped = False

    def run(self, inputs):
        self.inside += 1
        self.overlapped |= self.inside != 1 or self.closed > 0
        time.sleep(0.002)
        self.overlapped |= self.inside != 1 or self.closed > 0
        self.inside -= 1
        return EngineOutputs(
            np.stack([np.zeros(len(inputs["rgb"])), 4 * inputs["rgb"].mean((1, 2, 3))], 1).astype(
                np.float32
            ),
            live(len(inputs["rgb"])).reliability,
        )


def test_batches_from_many_threads_take_turns_and_keep_their_own_answers(bundle):
    engine = OneAtATime()
    session = Liveness(bundle, engine)
    wrong: list[object] = []

    def ask(level):
        for _ in range(10):
            (decision,) = session.check_batch([tiny_bundle.capture(level)])
            expected = Verdict.LIVE if level > 128 else Verdict.SPOOF
            if decision.verdict is not expected:
                wrong.append(decision)

    threads = [threading.Thread(target=ask, args=(level,)) for level in (40, 90, 180, 230)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not engine.overlapped


@pytest.mark.parametrize("lanes", [1, 2])
def test_closing_waits_for_what_is_under_way(bundle, lanes):
    started, go_on = threading.Event(), threading.Event()

    def slow(size):
        started.set()
        assert go_on.wait(10)
        return live(size)

    engine = FakeEngine(slow)
    session = Liveness(bundle, engine, batching=BatchingPolicy(lanes=lanes))
    first = session.submit(tiny_bundle.capture())
    assert started.wait(10)
    batched: list[Decision] = []
    whole = threading.Thread(
        target=lambda: batched.extend(session.check_batch([tiny_bundle.capture()]))
    )
    whole.start()
    while len(engine.batches) < 2:
        time.sleep(0.001)
    closing = threading.Thread(target=session.close)
    closing.start()
    while not session._closed:
        time.sleep(0.001)
    assert session.check(tiny_bundle.capture()).codes == (Reason.CLOSED,)
    assert closing.is_alive()
    assert not engine.closed
    go_on.set()
    for thread in (closing, whole):
        thread.join(10)
    assert engine.closed == 1
    assert first.result(0).verdict is Verdict.LIVE
    assert [d.verdict for d in batched] == [Verdict.LIVE]


def test_a_check_batch_that_hangs_does_not_keep_a_session_from_closing(bundle):
    """It has no deadline of its own; the engine is released when its call returns."""
    script = Script("hang")
    engine = FakeEngine(script)
    session = Liveness(bundle, engine, batching=BatchingPolicy(deadline_ms=50))
    batch = threading.Thread(target=session.check_batch, args=([tiny_bundle.capture()],))
    batch.start()
    until(lambda: not script.steps)
    closing = threading.Thread(target=session.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    assert not engine.closed
    script.released.set()
    batch.join(SECONDS)
    assert engine.closed == 1


def test_a_session_left_open_ends_with_its_process_and_says_nothing(bundle_path):
    lines = (
        "import sys, fasdk, numpy as np",
        "left_open = fasdk.open(sys.argv[1], backend=fasdk.Backend.ONNXRUNTIME)",
        "rgb, ir = np.full((24, 32, 3), 255, np.uint8), np.full((24, 32), 255, np.uint8)",
        "depth = np.full((24, 32), 500, np.uint16)",
        "print(left_open.check(fasdk.Capture(rgb=rgb, depth=depth, ir=ir)).verdict.value)",
    )
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), bundle_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "live\n", "")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_of_a_session_is_closed_and_never_hangs(session):
    """The child has none of the threads that would answer it or let go of a lane."""
    capture = tiny_bundle.capture()
    assert session.check(capture).verdict is Verdict.LIVE
    child = os.fork()
    if not child:
        try:
            codes = [session.check(capture).codes, session.check_batch([capture])[0].codes]
            session.close()
            os._exit(0 if codes == [(Reason.CLOSED,)] * 2 else 1)
        finally:
            os._exit(2)
    ended = status = 0
    try:
        end = time.monotonic() + 10
        while not ended and time.monotonic() < end:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert (ended, status) == (child, 0)
    assert session.check(capture).verdict is Verdict.LIVE
