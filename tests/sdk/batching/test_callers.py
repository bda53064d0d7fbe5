"""Micro-batcher's callers: cancelled futures, callbacks, closing, and all of it at once."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.batching import BatchingPolicy, WhenFull
from fasdk.decision import Verdict
from fasdk.errors import BackendError
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support.brightness import GOOD, SHADES, Brightness, nan
from support.scripted_engine import SECONDS, FakeEngine, Gate, Script, live, until

# ---- callers that do odd things ----


def test_a_cancelled_capture_is_never_run_and_holds_nobody_up(opened):
    gate = Gate()
    engine = FakeEngine(gate)
    session = opened(engine, lanes=1, max_batch=1)
    first, second, third = (session.submit(GOOD) for _ in range(3))
    until(lambda: gate.inside == 1)
    assert second.cancel()
    assert not first.cancel()  # it is in the engine
    gate.open()
    assert first.result(SECONDS).verdict is third.result(SECONDS).verdict is Verdict.LIVE
    with pytest.raises(CancelledError):
        second.result(0)
    assert len(engine.batches) == 2


def test_a_future_resolved_by_its_owner_ends_no_lane(opened):
    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1, max_batch=1)
    first, second = session.submit(GOOD), session.submit(GOOD)
    until(lambda: gate.inside == 1)
    first.set_result("mine")
    second.set_result("mine too")
    gate.open()
    assert session.check(GOOD).verdict is Verdict.LIVE
    assert (first.result(), second.result()) == ("mine", "mine too")


def test_callbacks_may_submit_close_or_raise(opened):
    session = opened(FakeEngine(live), lanes=1)
    delivered = []

    def raises(_):
        raise SystemExit

    def again(_):
        delivered.append(session.submit(GOOD))

    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1)
    future = session.submit(GOOD)
    for callback in (raises, again):
        future.add_done_callback(callback)
    gate.open()
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)
    until(lambda: delivered or future.done())
    last = session.submit(GOOD)
    last.add_done_callback(lambda _: session.close())
    until(lambda: session.check(GOOD).codes == (Reason.CLOSED,))


def test_a_callback_that_never_returns_holds_up_its_own_caller_alone(opened):
    gate, stuck = Gate(), threading.Event()
    session = opened(FakeEngine(gate), lanes=1, deadline_ms=150)
    future = session.submit(GOOD)
    future.add_done_callback(lambda _: stuck.wait(SECONDS))
    gate.open()
    verdicts = []

    def ask():
        until(lambda: session.check(GOOD).verdict is Verdict.LIVE)
        verdicts.append(Verdict.LIVE)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(SECONDS)
    assert verdicts == [Verdict.LIVE]
    stuck.set()


# ---- closing ----


@pytest.mark.parametrize("drain", [True, False])
def test_closing_judges_what_waits_or_fails_it_and_leaves_nothing_pending(bundle, drain):
    gate = Gate()
    engine = FakeEngine(gate)
    session = Liveness(bundle, engine, batching=BatchingPolicy(lanes=1, max_batch=2))
    first = session.submit(GOOD)
    until(lambda: gate.inside == 1)
    rest = [session.submit(GOOD) for _ in range(5)]
    closing = threading.Thread(target=lambda: session.close(drain=drain))
    closing.start()
    until(lambda: session._closed)
    gate.open()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert first.result(0).verdict is Verdict.LIVE
    codes = [f.result(0).codes for f in rest]
    assert codes == [() if drain else (Reason.CLOSED,)] * 5
    assert engine.closed == 1
    assert all(lane.closed for lane in engine.lanes)
    assert session.check(GOOD).codes == (Reason.CLOSED,)
    session.close()


def _fasdk_threads():
    return [t for t in threading.enumerate() if t.name.startswith("fasdk-")]


def test_no_thread_outlives_its_session_closed_or_forgotten(bundle):
    before = set(_fasdk_threads())
    policy = BatchingPolicy(deadline_ms=50)
    closed, forgotten = (Liveness(bundle, FakeEngine(live), batching=policy) for _ in range(2))
    assert closed.check(GOOD).verdict is forgotten.check(GOOD).verdict is Verdict.LIVE
    assert len(set(_fasdk_threads()) - before) == 6
    closed.close()
    until(lambda: len(set(_fasdk_threads()) - before) == 3)
    del forgotten
    gc.collect()
    until(lambda: not set(_fasdk_threads()) - before)


# ---- everything at once ----

FAULTS = {
    "live": live,
    "raise": BackendError("lost"),
    "nan": nan,
    "shape": lambda size: live(size + 1),
    "slow": lambda size: (time.sleep(0.002), live(size))[1],
}


@given(
    steps=st.lists(st.sampled_from(sorted(FAULTS)), max_size=12),
    captures=st.lists(st.sampled_from(["good", "bad", "cancel"]), min_size=1, max_size=24),
    lanes=st.integers(1, 3),
    max_batch=st.integers(1, 4),
    queue_limit=st.integers(1, 8),
    when_full=st.sampled_from(WhenFull),
    drain=st.booleans(),
)
@settings(max_examples=60)
def test_whatever_happens_every_future_resolves_to_a_decision(
    bundle, steps, captures, lanes, max_batch, queue_limit, when_full, drain
):
    script = Script(*(FAULTS[step] for step in steps))
    policy = BatchingPolicy(
        lanes=lanes, max_batch=max_batch, queue_limit=queue_limit, when_full=when_full
    )
    engine = FakeEngine(script)
    session = Liveness(bundle, engine, batching=policy)
    delivered, futures, cancelled = [], [], set()
    for number, kind in enumerate(captures):
        future = session.submit(None if kind == "bad" else GOOD)
        refused = future.done() and future.result().codes in [
            (Reason.BAD_CAPTURE,),
            (Reason.QUEUE_FULL,),
        ]
        if not refused:
            future.add_done_callback(lambda _, number=number: delivered.append(number))
        if kind == "cancel" and future.cancel():
            cancelled.add(number)
        futures.append(future)
    session.close(drain=drain)
    assert all(future.done() for future in futures)
    assert engine.closed == 1
    run = sum(len(batch["rgb"]) for batch in engine.batches)
    answered = [f.result(0) for n, f in enumerate(futures) if n not in cancelled]
    assert run >= sum(d.verdict is Verdict.LIVE for d in answered)
    for number, decision in enumerate(f.result(0) for f in futures if not f.cancelled()):
        assert decision.verdict in (Verdict.LIVE, Verdict.ERROR), number
        assert (decision.verdict is Verdict.LIVE) == (not decision.codes)
        assert decision.bundle_id == bundle.id
    in_turn = [number for number in delivered if number not in cancelled]
    assert in_turn == sorted(in_turn)
    if "raise" not in steps and "nan" not in steps and "shape" not in steps and drain:
        good = [f for f, kind in zip(futures, captures, strict=True) if kind == "good"]
        assert {f.result(0).codes for f in good} <= {(), (Reason.QUEUE_FULL,)}


def test_under_load_with_faults_cancels_and_a_close_nothing_is_lost_or_mixed_up(bundle, expected):
    rng = np.random.default_rng(7)
    shades = {id(capture): score for capture, score in zip(SHADES, expected, strict=True)}

    def before(_):
        if rng.random() < 0.2:
            raise BackendError("lost")
        time.sleep(rng.random() * 1e-3)

    policy = BatchingPolicy(
        lanes=2, max_batch=4, queue_limit=6, when_full=WhenFull.REJECT, deadline_ms=1e5
    )
    engine = Brightness(before)
    session = Liveness(bundle, engine, batching=policy)
    asked = [[] for _ in range(8)]
    enough = threading.Event()

    def call(mine, seed):
        own = np.random.default_rng(seed)
        while not enough.is_set():
            capture = [*SHADES, None][own.integers(len(SHADES) + 1)]
            future = session.submit(capture)
            mine.append((capture, future))
            if own.random() < 0.2:
                future.cancel()
            if own.random() < 0.5 and not future.cancelled():
                future.result(SECONDS)
            if future.done():  # refused, perhaps: others need the processor too
                time.sleep(0.0005)

    threads = [threading.Thread(target=call, args=(own, n)) for n, own in enumerate(asked)]
    for thread in threads:
        thread.start()
    until(lambda: len(engine.batches) >= 100)
    session.close()
    enough.set()
    for thread in threads:
        thread.join(SECONDS)
    assert engine.closed == 1
    judged = 0
    for capture, future in (pair for own in asked for pair in own):
        assert future.done()
        if future.cancelled():
            continue
        decision = future.result()
        if decision.codes:
            assert decision.verdict is Verdict.ERROR
        else:
            judged += 1
            assert decision.score == pytest.approx(shades[id(capture)], abs=1e-6)
    assert judged > 100
