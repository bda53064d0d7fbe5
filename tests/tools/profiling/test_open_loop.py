"""Open loads on a session over engines that answer as the test says."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import BackendError, UsageError
from fasdk.session.session import Liveness
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.result import Run
from fasdk_tools.profiling.samples import Outcome

from support import tiny_bundle
from support.scripted_engine import FakeEngine, live

BURST = LoadRequest(Load.REPLAY, arrivals_ms=np.zeros(12), warmup=0)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    path = tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb")
    return open_bundle(path, TrustPolicy.unsigned())


def session(opened, answer, **policy):
    settings = {"lanes": 1, "max_batch": 1, **policy}
    batching = BatchingPolicy(**settings)
    # One golden capture lacks a modality.
    return Liveness(opened, FakeEngine(answer), batching=batching, missing="degrade")


def captures_of(opened):
    return [item.capture for item in opened.golden]


def slow(seconds):
    def answer(size):
        time.sleep(seconds)
        return live(size)

    return answer


def test_every_call_is_kept_and_its_stages_sum_to_its_latency(opened):
    with session(opened, slow(0.002)) as liveness:
        samples = measure(liveness, captures_of(opened), BURST)
    assert (samples.outcome == Outcome.DECIDED).all()
    assert len(samples) == 12
    np.testing.assert_allclose(sum(samples.stages_ms.values()), samples.latency_ms, rtol=1e-9)
    assert all((values >= -1e-6).all() for values in samples.stages_ms.values())
    # One lane, all due at once: each waits for those before it.
    assert (np.diff(samples.latency_ms) >= 2.0).all()
    assert samples.stages_ms["queue"][-1] >= 11 * 2.0


def test_latency_counts_from_the_due_time_of_a_capture_that_could_not_be_submitted(opened):
    """A queue of one holds the camera up; what it submits late was still due early."""
    with session(opened, slow(0.005), queue_limit=1) as liveness:
        samples = measure(liveness, captures_of(opened), BURST)
    assert samples.submitted_ms[-1] > 8 * 5.0  # the camera was held up
    assert samples.latency_ms[-1] >= 12 * 5.0
    np.testing.assert_allclose(samples.latency_ms, samples.answered_ms)


def test_a_capture_later_than_the_deadline_is_refused_and_not_submitted(opened):
    held = threading.Event()

    def answer(size):
        held.wait(0.3)
        return live(size)

    with session(opened, answer, queue_limit=1, deadline_ms=150.0) as liveness:
        samples = measure(liveness, captures_of(opened), BURST)
        held.set()
    assert (samples.outcome == Outcome.REFUSED).any()
    assert np.isnan(samples.answered_ms[samples.outcome == Outcome.REFUSED]).all()
    assert len(samples) == 12


def test_an_engine_that_fails_is_counted(opened):
    calls = []

    def answer(size):
        calls.append(size)
        return RuntimeError("out of memory") if len(calls) > 4 else live(size)

    with session(opened, answer) as liveness:
        samples = measure(liveness, captures_of(opened), BURST)
    run = Run.of(samples)
    assert run.failed == 8
    assert run.refused == 0
    assert run.held is None  # a burst has no rate


def test_a_warm_up_that_fails_ends_the_measurement(opened):
    with (
        session(opened, RuntimeError("out of memory")) as liveness,
        pytest.raises(BackendError, match="out of memory"),
    ):
        measure(liveness, captures_of(opened), replace(BURST, warmup=1))


def test_cameras_submit_from_threads_of_their_own(opened):
    callers = set()
    with session(opened, live) as liveness:
        submit = liveness.submit

        def seen(capture):
            callers.add(threading.get_ident())
            return submit(capture)

        liveness.submit = seen
        request = LoadRequest(Load.CONSTANT, cameras=3, fps=100.0, seconds=0.1, warmup=0)
        samples = measure(liveness, captures_of(opened), request)
    assert len(samples) == 30
    assert len(callers) == 3


def test_a_stall_shows_in_an_open_load_and_not_in_a_closed_one(opened):
    """The captures due while the engine stalls wait, which a closed loop never asks for."""

    def stalling():
        calls = []

        def answer(size):
            calls.append(size)
            time.sleep(0.15 if len(calls) == 20 else 0.001)
            return live(size)

        return answer

    constant = LoadRequest(Load.CONSTANT, rate_per_s=200.0, seconds=0.5, warmup=0)
    with session(opened, stalling()) as liveness:
        found = measure(liveness, captures_of(opened), constant).latency_ms
    with session(opened, stalling()) as liveness:
        closed = LoadRequest(seconds=0.1, warmup=0, min_calls=100)
        beside = measure(liveness, captures_of(opened), closed).latency_ms
    # 30 of the 100 captures are due during the stall; of the closed loop's calls, one was long.
    assert np.count_nonzero(found > 40.0) >= 15
    assert np.count_nonzero(beside > 40.0) < 15


def test_without_captures_there_is_nothing_to_measure(opened):
    with session(opened, live) as liveness, pytest.raises(UsageError, match="--captures LIST"):
        measure(liveness, [], BURST)
