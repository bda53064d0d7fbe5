"""Micro-batcher's queue: what happens when it is full, and deadlines of what waits in it."""

from __future__ import annotations

import threading
import time
import weakref

from fasdk.batching import WhenFull
from fasdk.decision import Verdict
from fasdk.reasons import Reason

from support import tiny_bundle
from support.brightness import GOOD
from support.scripted_engine import SECONDS, FakeEngine, Gate, live, until


def test_a_full_queue_rejects_where_that_is_the_policy(opened):
    gate = Gate()
    engine = FakeEngine(gate)
    session = opened(engine, lanes=1, max_batch=1, queue_limit=2, when_full=WhenFull.REJECT)
    futures = [session.submit(GOOD)]
    until(lambda: gate.inside == 1)
    futures += [session.submit(GOOD), session.submit(GOOD)]
    refused = session.check(GOOD)
    assert refused.verdict is Verdict.ERROR
    assert refused.codes == (Reason.QUEUE_FULL,)
    assert "2 captures wait already" in refused.reasons[0]
    gate.open()
    assert [f.result(SECONDS).verdict for f in futures] == [Verdict.LIVE] * 3
    assert session.check(GOOD).verdict is Verdict.LIVE
    assert len(engine.batches) == 4


def _blocked(session):
    """Submit from another thread, which finds the queue full; return where its future will be."""
    futures = []
    thread = threading.Thread(target=lambda: futures.append(session.submit(GOOD)))
    thread.start()
    return futures


def test_a_full_queue_makes_a_caller_wait_for_room_where_that_is_the_policy(opened):
    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1, max_batch=1, queue_limit=1)
    session.submit(GOOD)
    until(lambda: gate.inside == 1)
    session.submit(GOOD)
    futures = _blocked(session)
    time.sleep(0.02)
    assert not futures
    gate.open()
    until(lambda: futures)
    decision = futures[0].result(SECONDS)
    assert decision.verdict is Verdict.LIVE
    assert decision.timings_ms["queue"] >= 15


def test_submit_waits_for_room_no_longer_than_the_deadline(opened):
    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1, max_batch=1, queue_limit=1, deadline_ms=50)
    futures = [session.submit(GOOD) for _ in range(5)]
    codes = [f.result(SECONDS).codes for f in futures]
    assert codes == [(Reason.DEADLINE,)] * 5
    gate.open()
    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1, max_batch=1, queue_limit=1)
    session.submit(GOOD)
    until(lambda: gate.inside == 1)
    session.submit(GOOD)
    waiting = _blocked(session)
    closing = threading.Thread(target=session.close)
    closing.start()
    until(lambda: waiting)
    assert waiting[0].result(0).codes == (Reason.CLOSED,)
    gate.open()
    closing.join(SECONDS)


# ---- deadlines ----


def test_a_capture_that_expires_in_the_queue_is_not_run(opened):
    gate = Gate()
    engine = FakeEngine(gate)
    session = opened(engine, lanes=1, max_batch=1, deadline_ms=100)
    futures = [session.submit(GOOD) for _ in range(3)]
    decisions = [f.result(SECONDS) for f in futures]
    assert [d.codes for d in decisions] == [(Reason.DEADLINE,)] * 3
    assert "has not returned" in decisions[0].reasons[0]
    assert "waited too long for a lane" in decisions[2].reasons[0]
    assert decisions[2].timings_ms["queue"] >= 99
    gate.open()
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)
    assert sum(len(batch["rgb"]) for batch in engine.batches) == len(engine.batches)


def test_an_answer_that_comes_too_late_opens_no_door(opened, monkeypatch):
    monkeypatch.setattr("fasdk.batching.batcher.MicroBatcher._overdue", lambda *_: [])
    session = opened(
        FakeEngine(lambda size: (time.sleep(0.03), live(size))[1]), lanes=1, deadline_ms=20
    )
    decision = session.check(GOOD)
    assert (decision.verdict, decision.codes) == (Verdict.ERROR, (Reason.DEADLINE,))


def test_an_array_is_read_before_its_answer_and_never_after(opened, monkeypatch):
    import fasdk.scorer

    real = fasdk.scorer.fill_row
    gate = Gate()

    def fill(*arguments):
        gate(1)
        real(*arguments)

    monkeypatch.setattr("fasdk.scorer.fill_row", fill)
    engine = FakeEngine(live)
    session = opened(engine, lanes=1, deadline_ms=30)
    future = session.submit(GOOD)
    until(lambda: gate.inside == 1)
    time.sleep(0.06)
    assert not future.done()  # overdue, but the frames are being read
    gate.open()
    assert future.result(SECONDS).codes == (Reason.DEADLINE,)
    assert not engine.batches


def test_nothing_of_a_capture_is_kept_once_it_is_answered(opened):
    session = opened(FakeEngine(live), lanes=2)
    capture = tiny_bundle.capture(200)
    kept = weakref.ref(capture)
    assert session.check(capture).verdict is Verdict.LIVE
    del capture
    until(lambda: kept() is None)
