"""Tail latency of a session and of the engine alone, by the profiler's own open load."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import pytest

from fasdk.decision import Decision, Verdict
from fasdk_tools.profiling import open_loop

from support import tiny_bundle
from support.scripted_engine import live
from support.timed_engine import TimedEngine, timed_session

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"


@pytest.fixture
def session_tail(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    sys.modules.pop("session_tail", None)
    return importlib.import_module("session_tail")


def test_the_tail_of_both_is_what_the_profilers_open_load_measures(session_tail, monkeypatch):
    asked = []
    measured = open_loop.measure_open

    def seen(session, captures, request):
        samples = measured(session, captures, request)
        asked.append((session, request.rate_per_s, samples))
        return samples

    monkeypatch.setattr(session_tail, "measure_open", seen)
    capture = tiny_bundle.capture()
    with timed_session(TimedEngine(lambda: 0.5)) as session:
        scored = session.check(capture)
        bare = session_tail.BareEngine(session.bundle, lambda: time.sleep(0.001), scored)
        for each in (session, bare):
            median, tail = session_tail.constant_tail(each, capture, 600.0, 0.1)
            assert asked[-1][:2] == (each, 600.0)
            latencies = sorted(asked[-1][2].latency_ms)
            assert len(latencies) == 299  # the fewest with a 99th percentile
            assert (median, tail) == (latencies[149], latencies[296])
            assert median >= 0.5


def test_a_bare_engine_answers_in_the_thread_that_submits(session_tail):
    done = []
    decision = Decision(Verdict.LIVE, score=0.9)
    with timed_session(TimedEngine(lambda: 0.0)) as session:
        bare = session_tail.BareEngine(session.bundle, lambda: done.append(1), decision)
    future = bare.submit(tiny_bundle.capture())
    assert future.done()
    assert future.result() is decision
    assert done == [1]


def test_captures_that_are_not_scored_end_the_measurement(session_tail):
    answers = [live(1)] * 3  # the warm-up

    class Failing(TimedEngine):
        def run(self, inputs):  # noqa: ARG002 - the engine's own parameter
            if not answers:
                raise RuntimeError("out of memory")
            return answers.pop()

    with (
        timed_session(Failing(lambda: 0.0)) as session,
        pytest.raises(SystemExit, match="meaningless"),
    ):
        session_tail.constant_tail(session, tiny_bundle.capture(), 5000.0, 0.1)
