"""Micro-batcher: every capture's own answer, in order and in time, under faults."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy, WhenFull
from fasdk.capture import Modality
from fasdk.decision import Verdict
from fasdk.errors import (
    BackendError,
    UsageError,
)
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.scripted_engine import SECONDS, FakeEngine, Gate, Script, live, until

GOOD = tiny_bundle.capture(200)


class Brightness(FakeEngine):
    """Scores a row by its own pixels, so that an answer given to the wrong capture shows."""

    def __init__(self, before=None) -> None:
        super().__init__(live)
        self.before = before

    def run(self, inputs):
        if self.before is not None:
            self.before(inputs)
        self.batches.append({name: rows.copy() for name, rows in inputs.items()})
        return brightness(inputs)


def brightness(inputs):
    means = inputs["rgb"].mean((1, 2, 3), dtype=np.float64)
    logits = np.stack([np.zeros(len(means)), 4 * means], axis=1).astype(np.float32)
    return EngineOutputs(logits, live(len(means)).reliability)


SHADES = [tiny_bundle.capture(level) for level in range(40, 240, 10)]


@pytest.fixture(scope="module")
def expected(bundle):
    """The score of each of SHADES by its own pixels."""
    session = Liveness(bundle, Brightness())
    return [decision.score for decision in session.check_batch(SHADES)]


@pytest.fixture
def opened(bundle):
    """Open sessions on scripted engines, and close them."""
    sessions = []

    def make(engine, **policy):
        batching = BatchingPolicy(**policy)
        session = Liveness(bundle, engine, batching=batching, missing="degrade").start()
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close(drain=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lanes": 0}, "lanes is 0, expected a whole number of at least 1"),
        ({"lanes": 1.5}, "lanes is 1.5"),
        ({"lanes": True}, "lanes is True"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"queue_limit": 0}, "queue_limit is 0"),
        ({"spare_lanes": -1}, "spare_lanes is -1, expected a whole number of at least 0"),
        ({"max_wait_ms": -1}, "max_wait_ms is -1, expected milliseconds"),
        ({"max_wait_ms": float("nan")}, "max_wait_ms is nan"),
        ({"deadline_ms": float("inf")}, "deadline_ms is inf"),
        (
            {"deadline_ms": 1e15},
            "deadline_ms is 1000000000000000.0, expected .* at most 86,400,000",
        ),
        ({"deadline_ms": None}, "deadline_ms is None"),
        ({"deadline_ms": 0}, "expected more than max_wait_ms"),
        ({"deadline_ms": 5, "max_wait_ms": 5}, "expected more than max_wait_ms"),
        ({"when_full": "drop"}, "expected reject or block"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        BatchingPolicy(**settings)
    assert BatchingPolicy(when_full="reject").when_full is WhenFull.REJECT


# ---- batches ----


def test_captures_that_wait_join_the_next_batch_up_to_its_limit(opened):
    gate = Gate()
    engine = FakeEngine(gate)
    session = opened(engine, lanes=1, max_batch=4)
    first = session.submit(GOOD)
    until(lambda: gate.inside == 1)
    rest = [session.submit(GOOD) for _ in range(6)]
    gate.open()
    assert [f.result(SECONDS).verdict for f in (first, *rest)] == [Verdict.LIVE] * 7
    assert [len(batch["rgb"]) for batch in engine.batches] == [1, 4, 2]


@pytest.mark.parametrize(("wait_ms", "taken"), [(0, [3, 2]), (60, [4, 1])])
def test_lanes_share_what_has_no_answer_unless_large_batches_were_asked_for(opened, wait_ms, taken):
    gates = [Gate(), Gate()]
    engine = FakeEngine(Script(*gates))
    session = opened(engine, lanes=2, max_batch=4, max_wait_ms=wait_ms)
    first = [session.submit(GOOD)]
    until(lambda: gates[0].inside == 1)
    first.append(session.submit(GOOD))
    until(lambda: gates[1].inside == 1)
    rest = [session.submit(GOOD) for _ in range(5)]
    gates[0].open()  # five wait and one is in the other lane: half of six are this one's
    until(lambda: len(engine.batches) == 4)
    gates[1].open()
    assert not wait([*first, *rest], SECONDS).not_done
    assert [len(batch["rgb"]) for batch in engine.batches[2:]] == taken


def test_without_max_batch_a_lane_takes_the_bundles_as_far_as_the_engine_does(bundle, opened):
    assert opened(FakeEngine(live)).check(GOOD).verdict is Verdict.LIVE
    for limit, expected in ((None, bundle.manifest.max_batch), (3, 3), (99, 4)):
        engine = FakeEngine(live, limit)
        opened(engine, lanes=3)
        assert [lane.max_batch for lane in engine.lanes] == [expected] * 3
    with pytest.raises(UsageError, match="max_batch 5, this engine takes 3"):
        opened(FakeEngine(live, 3), max_batch=5)


def test_a_batch_waits_for_others_no_longer_than_it_must(opened):
    engine = FakeEngine(live)
    session = opened(engine, lanes=2, max_batch=3, max_wait_ms=SECONDS * 1e3, deadline_ms=1e6)
    futures = [session.submit(GOOD) for _ in range(3)]
    assert not wait(futures, SECONDS / 2).not_done  # it was full at once
    assert [len(batch["rgb"]) for batch in engine.batches] == [3]
    session = opened(FakeEngine(live), lanes=2, max_batch=3, max_wait_ms=30)
    assert session.check(GOOD).timings_ms["queue"] >= 29


def test_closing_does_not_wait_for_a_batch_to_fill(opened):
    session = opened(FakeEngine(live), max_wait_ms=SECONDS * 1e3, deadline_ms=1e6)
    future = session.submit(GOOD)
    session.close()
    assert future.result(0).verdict is Verdict.LIVE


def test_every_capture_gets_the_answer_to_its_own_pixels(opened, expected):
    session = opened(Brightness(), lanes=2, max_batch=4)
    futures = [session.submit(capture) for capture in SHADES]
    assert [f.result(SECONDS).score for f in futures] == pytest.approx(expected, abs=1e-6)


def test_absent_modalities_leave_nothing_of_the_last_capture_in_a_row(opened):
    engine = Brightness()
    session = opened(engine, lanes=1, max_batch=1)
    session.check(GOOD)
    alone = session.check(tiny_bundle.capture(200, (Modality.RGB,)))
    assert alone.operating_point == "standard/rgb"
    assert (engine.batches[1]["depth"] == -1.0).all()


def test_a_capture_that_cannot_be_judged_never_sees_the_engine(opened):
    engine = FakeEngine(live)
    session = opened(engine, lanes=1)
    for bad in (None, "capture", tiny_bundle.capture(200, (Modality.IR,))):
        future = session.submit(bad)
        assert future.done()
        decision = future.result()
        assert decision.verdict is Verdict.ERROR
        assert decision.reasons
        assert decision.timings_ms["engine"] == 0.0
    assert not engine.batches
    assert session.check(GOOD).verdict is Verdict.LIVE


def test_capture_failing_in_preprocessing_leaves_its_batch_intact(opened, monkeypatch):
    import fasdk.scorer

    real = fasdk.scorer.fill_row
    bad = tiny_bundle.capture(90)

    def fill(capture, *rest):
        real(capture, *rest)
        if capture is bad:
            raise MemoryError("no memory")

    monkeypatch.setattr("fasdk.scorer.fill_row", fill)
    gate = Gate()
    engine = Brightness(lambda inputs: gate(len(inputs["rgb"])))
    session = opened(engine, lanes=1, max_batch=4)
    futures = [session.submit(GOOD)]
    until(lambda: gate.inside == 1)
    futures += [session.submit(capture) for capture in (SHADES[0], bad, SHADES[-1])]
    gate.open()
    answers = [f.result(SECONDS) for f in futures]
    assert [a.verdict for a in answers] == [
        Verdict.LIVE,
        Verdict.SPOOF,
        Verdict.ERROR,
        Verdict.LIVE,
    ]
    assert answers[2].codes == (Reason.UNEXPECTED,)
    assert [len(batch["rgb"]) for batch in engine.batches] == [1, 2]


def test_stage_times_are_each_captures_own_and_add_up(opened):
    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1, max_batch=1)
    first = session.submit(GOOD)
    until(lambda: gate.inside == 1)
    second = session.submit(GOOD)
    time.sleep(0.02)
    gate.open()
    for future, stage in ((first, "engine"), (second, "queue")):
        timings = dict(future.result(SECONDS).timings_ms)
        total = timings.pop("end_to_end")
        assert sum(timings.values()) == pytest.approx(total, abs=1e-9)
        assert all(spent >= 0 for spent in timings.values())
        assert timings[stage] >= 19
        assert timings["preprocess"] > 0


# ---- order ----


def test_a_caller_hears_in_the_order_it_asked_and_nobody_else_waits_for_it(opened):
    calls = iter([Gate(), live, live])
    lock = threading.Lock()
    gates = []

    def answer(size):
        with lock:
            this = next(calls)
            gates.append(this)
        return this(size)

    session = opened(FakeEngine(answer), lanes=2, max_batch=1)
    delivered = []
    first = session.submit(GOOD)
    until(lambda: len(gates) == 1)
    second = session.submit(GOOD)
    for name, future in (("first", first), ("second", second)):
        future.add_done_callback(lambda _, name=name: delivered.append(name))
    until(lambda: len(gates) == 2)
    other = []
    thread = threading.Thread(target=lambda: other.append(session.check(GOOD).verdict))
    thread.start()
    thread.join(SECONDS)
    assert other == [Verdict.LIVE]
    assert not second.done()
    gates[0].open()
    assert first.result(SECONDS).verdict is second.result(SECONDS).verdict is Verdict.LIVE
    until(lambda: len(delivered) == 2)
    assert delivered == ["first", "second"]
    assert second.result().timings_ms["other"] > 0


def test_many_callers_each_hear_their_own_answers_in_order(opened, expected):
    rng = np.random.default_rng(4)
    session = opened(
        Brightness(lambda _: time.sleep(rng.random() * 1e-3)), lanes=3, max_batch=3, queue_limit=8
    )
    wrong = []

    def call(seed):
        order = np.random.default_rng(seed).integers(len(SHADES), size=40)
        delivered, futures = [], []
        for number, shade in enumerate(order):
            future = session.submit(SHADES[shade])
            future.add_done_callback(lambda _, number=number: delivered.append(number))
            futures.append(future)
        scores = [future.result(SECONDS).score for future in futures]
        until(lambda: len(delivered) == len(order))
        if delivered != sorted(delivered) or scores != pytest.approx(
            [expected[shade] for shade in order], abs=1e-6
        ):
            wrong.append((seed, delivered))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not wrong


# ---- a full queue ----


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


# ---- engines at fault ----


def nan(size):
    return EngineOutputs(np.full((size, 2), np.nan, np.float32), live(size).reliability)


@pytest.mark.parametrize(
    "fault",
    [
        BackendError("the device was lost"),
        ZeroDivisionError("division by zero"),
        MemoryError(),
        SystemExit(),
        nan,
        lambda size: live(size + 1),
        lambda size: EngineOutputs(live(size).logits[:, :1], live(size).reliability),
        lambda size: EngineOutputs(live(size).logits),
        lambda _: None,
    ],
)
def test_an_engine_at_fault_fails_its_batch_and_the_next_capture_works(opened, fault):
    session = opened(FakeEngine(Script(fault)), lanes=1)
    assert session.check(GOOD).verdict is Verdict.ERROR
    assert session.check(GOOD).verdict is Verdict.LIVE


def test_a_row_that_is_not_finite_is_an_error_for_that_capture_alone(opened):
    gate = Gate()

    def middle(size):
        gate(size)
        outputs = live(size)
        if size == 3:
            outputs.logits[1, 0] = np.nan
        return outputs

    session = opened(FakeEngine(middle), lanes=1)
    session.submit(GOOD)
    until(lambda: gate.inside == 1)
    futures = [session.submit(GOOD) for _ in range(3)]
    gate.open()
    codes = [f.result(SECONDS).codes for f in futures]
    assert codes == [(), (Reason.NOT_FINITE,), ()]


def test_a_lane_that_hangs_is_abandoned_and_the_next_capture_works(opened):
    script = Script("hang")
    engine = FakeEngine(script)
    session = opened(engine, lanes=1, deadline_ms=200)
    decision = session.check(GOOD)
    assert (decision.verdict, decision.codes) == (Verdict.ERROR, (Reason.DEADLINE,))
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)
    assert len(engine.lanes) == 2
    script.released.set()  # it comes back, is not needed any more, and goes
    until(lambda: engine.lanes[0].closed)
    assert not engine.lanes[1].closed
    assert session.check(GOOD).verdict is Verdict.LIVE


def test_when_every_lane_hangs_the_answer_comes_at_once_until_one_returns(opened):
    script = Script(*["hang"] * 3)
    engine = FakeEngine(script)
    session = opened(engine, lanes=1, spare_lanes=2, deadline_ms=100)
    until(lambda: session.check(GOOD).codes == (Reason.ENGINE_FAULT,))
    decision = session.check(GOOD)
    assert decision.verdict is Verdict.ERROR
    assert "no lane is left, 3 hang in the engine" in decision.reasons[0]
    assert decision.timings_ms["end_to_end"] < 90
    assert len(engine.lanes) == 3
    script.released.set()
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)
    until(lambda: sum(lane.closed for lane in engine.lanes) == 2)


def test_captures_that_wait_when_the_last_lane_is_lost_are_answered(opened):
    script = Script("hang")
    session = opened(FakeEngine(script), lanes=1, spare_lanes=0, deadline_ms=150)
    first = session.submit(GOOD)
    until(lambda: not script.steps)
    time.sleep(0.05)
    second = session.submit(GOOD)
    assert first.result(SECONDS).codes == (Reason.DEADLINE,)
    assert second.result(SECONDS).codes in [(Reason.ENGINE_FAULT,), (Reason.DEADLINE,)]
    script.released.set()


def test_a_lane_that_cannot_be_opened_in_place_of_a_hung_one_is_said_so(opened):
    script = Script("hang")
    engine = FakeEngine(script)
    session = opened(engine, lanes=1, deadline_ms=100)

    def refuse(_):
        raise BackendError("out of memory")

    engine.open_lane = refuse
    assert session.check(GOOD).codes == (Reason.DEADLINE,)
    until(lambda: session.check(GOOD).codes == (Reason.ENGINE_FAULT,))
    assert "1 hang in the engine: out of memory" in session.check(GOOD).reasons[0]
    script.released.set()
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)


def test_a_process_that_may_start_no_more_threads_still_answers(opened, monkeypatch):
    script = Script("hang")
    session = opened(FakeEngine(script), lanes=1, deadline_ms=100)

    def refuse(_):
        raise RuntimeError("can't start new thread")

    future = session.submit(GOOD)
    until(lambda: not script.steps)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert future.result(SECONDS).codes == (Reason.DEADLINE,)
    until(lambda: session.check(GOOD).codes == (Reason.ENGINE_FAULT,))
    script.released.set()
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)


def test_lanes_that_cannot_be_opened_at_first_are_an_error_of_opening(bundle):
    engine = FakeEngine(live)
    open_lane = engine.open_lane
    engine.open_lane = lambda _: (_ for _ in ()).throw(BackendError("out of memory"))
    with pytest.raises(BackendError, match="out of memory"):
        Liveness(bundle, engine).start()
    decision = Liveness(bundle, engine).check(GOOD)
    assert decision.codes == (Reason.ENGINE_FAULT,)

    def second_fails(size):
        if engine.lanes:
            raise BackendError("out of memory")
        return open_lane(size)

    engine.open_lane = second_fails
    with pytest.raises(BackendError, match="out of memory"):
        Liveness(bundle, engine).start()
    assert [lane.closed for lane in engine.lanes] == [True]


def test_closing_leaves_a_hung_call_its_engine_until_it_returns(bundle):
    script = Script("hang")
    engine = FakeEngine(script)
    session = Liveness(bundle, engine, batching=BatchingPolicy(lanes=1, deadline_ms=50))
    future = session.submit(GOOD)
    until(lambda: not script.steps)
    session.close()
    assert future.result(0).codes == (Reason.DEADLINE,)
    assert not engine.closed
    script.released.set()
    until(lambda: engine.closed)


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
