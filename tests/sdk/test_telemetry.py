"""Stage times: every capture's own, in time, adding up to the whole."""

from __future__ import annotations

import sys
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.decision import Verdict
from fasdk.nvtx_ranges import nvtx_ranges
from fasdk.session.session import Liveness
from fasdk.telemetry import DeviceTimes, Stage, StageClock, split_call

from support import tiny_bundle
from support.scripted_engine import SECONDS, FakeEngine, live, until

GOOD = tiny_bundle.capture(200)
NAMES = [stage.value for stage in Stage]


def require_whole(timings):
    """Check that the stages are each there, none negative, and add up within 1 %."""
    assert list(timings) == [*NAMES, "end_to_end"]
    spent = [timings[name] for name in NAMES]
    assert all(ms >= 0 for ms in spent)
    assert sum(spent) == pytest.approx(timings["end_to_end"], rel=0.01)


@pytest.mark.parametrize(("lanes", "max_batch", "max_wait_ms"), [(1, 1, 0), (2, 4, 0), (2, 4, 2)])
def test_the_stages_of_concurrent_captures_each_add_up(bundle, lanes, max_batch, max_wait_ms):
    policy = BatchingPolicy(lanes=lanes, max_batch=max_batch, max_wait_ms=max_wait_ms)
    engine = FakeEngine(lambda size: (time.sleep(0.002), live(size))[1])
    with Liveness(bundle, engine, batching=policy) as session:
        outside = []

        def call():
            for _ in range(15):
                start_ns = time.perf_counter_ns()
                decision = session.check(GOOD)
                outside.append((time.perf_counter_ns() - start_ns, decision))

        with session.recorded_stages() as recording:
            threads = [threading.Thread(target=call) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS)
        clocks = recording.clocks
        assert len(clocks) == len(outside) == 90
        for spent_ns, decision in outside:
            assert decision.verdict is Verdict.LIVE
            require_whole(decision.timings_ms)
            assert decision.timings_ms["engine"] >= 2
            assert decision.timings_ms["end_to_end"] <= spent_ns / 1e6
        returns = len(recording.lane_returns)
        session.check(GOOD)
        assert len(clocks) == 90, "a clock was kept after the recording"
        assert len(recording.lane_returns) == returns
        assert {lane for lane, _ in recording.lane_returns} == set(range(lanes))
        for clock in clocks:
            assert clock.lane in range(lanes)
            spans = clock.spans()
            assert [span.stage.value for span in spans] == [
                "gates",
                "queue",
                "preprocess",
                "engine",
                "decision",
            ]
            times = [clock.start_ns, *(t for s in spans for t in (s.start_ns, s.end_ns))]
            assert sorted([*times, clock.end_ns]) == [*times, clock.end_ns]


def test_a_batch_waits_for_the_preprocessing_of_all_its_captures(bundle, monkeypatch):
    import fasdk.scorer

    real = fasdk.scorer.fill_row

    def slow(*arguments):
        time.sleep(0.01)
        real(*arguments)

    monkeypatch.setattr("fasdk.scorer.fill_row", slow)
    policy = BatchingPolicy(lanes=1, max_batch=4, max_wait_ms=5000)
    with Liveness(bundle, FakeEngine(live), batching=policy) as session:
        futures = [session.submit(GOOD) for _ in range(4)]
        answers = [future.result(SECONDS) for future in futures]
    assert all(answer.timings_ms["preprocess"] >= 39 for answer in answers)
    assert len({answer.timings_ms["preprocess"] for answer in answers}) == 1


def test_device_times_become_stages_of_their_own(bundle):
    times = DeviceTimes(upload_ms=3.0, engine_ms=8.0, download_ms=2.0)

    def answer(size):
        time.sleep(0.02)
        outputs = live(size)
        return EngineOutputs(outputs.logits, outputs.reliability, times)

    with Liveness(bundle, FakeEngine(answer)) as session:
        for timings in (
            session.check(GOOD).timings_ms,
            session.check_batch([GOOD])[0].timings_ms,
        ):
            require_whole(timings)
            spent = [timings[name] for name in ("upload", "engine", "download")]
            assert spent == pytest.approx([3.0, 8.0, 2.0])
            assert timings["other"] >= 6


@given(
    call_ns=st.integers(0, 10**9),
    times=st.tuples(*[st.floats(0, 2e3, allow_subnormal=False)] * 3),
)
def test_a_calls_spans_lie_within_it_and_touch_each_other(call_ns, times):
    spans = split_call(1000, 1000 + call_ns, DeviceTimes(*times))
    assert [stage for stage, *_ in spans] == [Stage.UPLOAD, Stage.ENGINE, Stage.DOWNLOAD]
    edges = [1000, *(edge for _, *span in spans for edge in span), 1000 + call_ns]
    assert edges == sorted(edges)
    assert all(before[2] == after[1] for before, after in pairwise(spans))


def test_a_stage_that_ends_after_its_check_is_no_part_of_it():
    clock = StageClock()
    clock.add(Stage.GATES, clock.start_ns, time.perf_counter_ns())
    assert clock.spans() == ()
    clock.finish()
    clock.add(Stage.ENGINE, clock.start_ns, time.perf_counter_ns())
    assert [span.stage for span in clock.spans()] == [Stage.GATES]


class Domain:
    """NVTX's domain, which notes what each thread pushes and pops."""

    def __init__(self):
        self.open = threading.local()
        self.closed = []

    def get_event_attributes(self, message):
        return message

    def push_range(self, message):
        self.open.names = [*getattr(self.open, "names", []), message]

    def pop_range(self):
        *self.open.names, last = self.open.names
        self.closed.append(last)


@pytest.fixture
def nvtx(monkeypatch):
    """A stand-in for the package nvtx, for sessions opened from now on."""
    domain = Domain()
    monkeypatch.setitem(sys.modules, "nvtx", SimpleNamespace(get_domain={"fasdk": domain}.get))
    nvtx_ranges.cache_clear()
    yield domain
    nvtx_ranges.cache_clear()


def test_nvtx_ranges_have_the_names_of_the_stages(bundle, nvtx):
    with Liveness(bundle, FakeEngine(live)) as session:
        session.check(GOOD)
        engine_fails = Liveness(bundle, FakeEngine(OSError("lost")))
        assert engine_fails.check(GOOD).verdict is Verdict.ERROR
        engine_fails.close()
    expected = ["gates", "preprocess", "engine", "decision"]
    until(lambda: len(nvtx.closed) == 8)
    assert nvtx.closed == expected * 2


def test_a_session_opens_where_nvtx_cannot_be_loaded(bundle, monkeypatch):
    def broken(name):
        raise OSError("libnvToolsExt is damaged")

    monkeypatch.setitem(sys.modules, "nvtx", SimpleNamespace(get_domain=broken))
    nvtx_ranges.cache_clear()
    try:
        with Liveness(bundle, FakeEngine(live)) as session:
            assert session.check(GOOD).verdict is Verdict.LIVE
    finally:
        nvtx_ranges.cache_clear()
