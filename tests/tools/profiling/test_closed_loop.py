"""Closed loop: stages of every call, captures in turn, and what the loop does between two calls."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest

from fasdk.backends.engine import EngineOutputs
from fasdk.errors import BackendError
from fasdk.scorer import Scorer
from fasdk.telemetry import DeviceTimes
from fasdk_tools.profiling import closed_loop
from fasdk_tools.profiling.closed_loop import measure_closed
from fasdk_tools.profiling.load import LoadRequest

from support import tiny_bundle
from support.scripted_engine import FakeEngine, live
from support.timed_engine import TimedEngine, timed_session

SHORT = LoadRequest(seconds=0.001, warmup=0, min_calls=20)


def measured(engine, request=SHORT, captures=None, **options):
    with timed_session(engine) as session:
        return measure_closed(session, captures or [tiny_bundle.capture()], request, **options)


def answering(device=None):
    """Return an engine of calls of a millisecond, timed by a device or not."""

    def answer(size):
        time.sleep(0.001)
        outputs = live(size)
        return EngineOutputs(outputs.logits, outputs.reliability, device)

    return FakeEngine(answer)


def test_a_call_that_no_device_timed_is_the_engines():
    samples = measured(answering())
    stages = samples.stages_ms
    assert len(samples) == 20
    assert (stages["engine"] >= 1.0).all()
    for name in ("queue", "upload", "download", "other"):
        assert not stages[name].any()
    np.testing.assert_allclose(sum(stages.values()), samples.latency_ms)


def test_what_a_device_timed_is_told_apart_from_the_rest_of_the_call():
    stages = measured(answering(DeviceTimes(0.2, 0.5, 0.1))).stages_ms
    for name, ms in (("upload", 0.2), ("engine", 0.5), ("download", 0.1)):
        np.testing.assert_allclose(stages[name], ms, atol=2e-6)
    assert (stages["other"] >= 0.2).all()


class CapturesEngine(FakeEngine):
    """An engine whose lanes take captures; packing one takes a millisecond, and so does a call."""

    def __init__(self) -> None:
        super().__init__(live)
        self.put_rows: list[int] = []
        self.tended = 0

    def open_lane(self, max_batch):
        lane = super().open_lane(max_batch)
        lane.put = self.put
        lane.run_captures = self.run_captures
        lane.tend = self.tend
        return lane

    def put(self, _, row):
        time.sleep(0.001)
        self.put_rows.append(row)

    def run_captures(self, batch):
        time.sleep(0.001)
        outputs = live(batch)
        times = DeviceTimes(0.1, 0.4, 0.05, preprocess_ms=0.2)
        return EngineOutputs(outputs.logits, outputs.reliability, times)

    def tend(self):
        self.tended += 1


def test_a_lane_that_takes_captures_is_given_them_and_its_kernels_are_the_preprocessing():
    engine = CapturesEngine()
    samples = measured(engine, LoadRequest(batch=2, seconds=1e-6, warmup=0, min_calls=5))
    assert engine.put_rows == [0, 1] * 5
    assert engine.tended == 5
    assert not engine.batches  # nothing was run on tensors of the host
    stages = samples.stages_ms
    for name, ms in (("upload", 0.1), ("preprocess", 0.2), ("engine", 0.4), ("download", 0.05)):
        np.testing.assert_allclose(stages[name], ms, atol=2e-6)
    assert (stages["other"] >= 2.2).all()  # packing, and the rest of the call
    np.testing.assert_allclose(sum(stages.values()), samples.latency_ms)


def test_calls_are_kept_in_order_beyond_one_block_of_memory(monkeypatch):
    monkeypatch.setattr(closed_loop, "_ROOM", 8)
    samples = measured(FakeEngine(live), LoadRequest(seconds=1e-6, warmup=2, min_calls=30))
    assert (len(samples), samples.warmup) == (32, 2)
    assert (np.diff(samples.due_ms) > 0).all()
    assert (samples.answered_ms[:-1] <= samples.due_ms[1:]).all()


def test_captures_are_taken_in_turn_from_each_of_them_on():
    engine = FakeEngine(live)
    captures = [tiny_bundle.capture(level) for level in (0, 100, 200)]
    measured(engine, LoadRequest(batch=2, seconds=1e-6, warmup=0, min_calls=4), captures)
    levels = [np.round(127.5 * (1 + b["rgb"].mean(axis=(1, 2, 3))), -2) for b in engine.batches]
    assert [row.tolist() for row in levels] == [[0, 100], [100, 200], [200, 0], [0, 100]]


def test_progress_is_told_from_the_start_to_the_end():
    shares = []
    measured(answering(), LoadRequest(seconds=0.25, warmup=1), on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert 3 <= len(shares) <= 5


def test_an_answer_without_a_score_ends_the_run():
    wrong = EngineOutputs(np.full((1, 2), np.nan, np.float32), np.full((1, 3), 0.5, np.float32))
    with pytest.raises(BackendError, match="a call failed while profiling: "):
        measured(FakeEngine(wrong))


def calls_of(function, threads=threading) -> Counter[str]:
    """Return how often each function was called while `function` and its threads ran."""
    found: Counter[str] = Counter()

    def note(frame, event, argument):
        if event == "c_call":
            found[argument.__qualname__] += 1
        elif event == "call":
            found[frame.f_code.co_name] += 1

    threads.setprofile(note)
    try:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    finally:
        threads.setprofile(None)
    return found


def test_a_call_costs_five_readings_of_the_clock_beside_the_bare_ones():
    """Counted, not timed: functions called in one more call of the loop and of a bare one."""
    capture = tiny_bundle.capture()
    with timed_session(TimedEngine(lambda: 0.0)) as session:
        scorer, lane = Scorer(session.bundle, session.level), session.engine.open_lane(1)

        def bare(calls):
            for _ in range(calls):
                scorer.require(capture)
                scorer.fill(capture, lane.inputs, 0)
                scorer.score(capture, scorer.require_outputs(lane.run(1), 1), 0)

        def profiled(calls):
            request = LoadRequest(seconds=1e-9, warmup=0, min_calls=calls)
            measure_closed(session, [capture], request)

        def of_one_call(loop):
            loop(1)  # what is looked up once a scorer
            few, many = (calls_of(lambda n=n: loop(n)) for n in (10, 20))
            return Counter({name: (many[name] - few[name]) / 10 for name in many})

        added = of_one_call(profiled)
        added.subtract(of_one_call(bare))
        lane.close()
    # Rounded: a thread that ends now and then calls something too.
    added = {name: round(count) for name, count in added.items() if round(count)}
    # While the calls that were asked for are not made, it looks after each whether it is over.
    assert added == {"perf_counter_ns": 5, "_next_look_ns": 1, "len": 1}
