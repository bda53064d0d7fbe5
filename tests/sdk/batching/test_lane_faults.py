"""Micro-batcher's lanes: engines that fail, hang or cannot be opened."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.decision import Verdict
from fasdk.errors import BackendError
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support.brightness import GOOD, nan
from support.scripted_engine import SECONDS, FakeEngine, Gate, Script, live, until


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
