"""Median and 99th percentile under a constant rate: of a session, and of the engine alone."""

from __future__ import annotations

import os
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fasdk.batching import BatchingPolicy
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.open_loop import measure_open
from fasdk_tools.profiling.percentiles import calls_needed, percentile
from fasdk_tools.profiling.samples import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.decision import Decision
    from fasdk_tools.profiling.open_loop import Submittable


class BareEngine:
    """An engine without a session, as an open load sees it: it answers in the thread that submits.

    Attributes:
        bundle: Bundle of the engine.
        batching: One lane and one capture a call.
    """

    def __init__(self, bundle: Bundle, work: Callable[[], object], decision: Decision) -> None:
        """Answer by a piece of work.

        Args:
            bundle: Bundle of the engine.
            work: What is done for each capture.
            decision: Decision with a score, which every call answers: the work makes none.
        """
        self.bundle = bundle
        self.batching = BatchingPolicy(lanes=1, max_batch=1)
        self._work, self._decision = work, decision

    def check(self, _capture: Capture) -> Decision:
        """Do the work and return the decision."""
        self._work()
        return self._decision

    def submit(self, capture: Capture) -> Future[Decision]:
        """Do the work and return the decision as one that is there already."""
        answered: Future[Decision] = Future()
        answered.set_result(self.check(capture))
        return answered


def constant_tail(
    session: Submittable, capture: Capture, rate_per_s: float, seconds: float
) -> tuple[float, float]:
    """Return the median and the 99th percentile at a constant rate, from due time, in ms.

    Args:
        session: Session, or engine alone.
        capture: Capture to submit.
        rate_per_s: Captures a second.
        seconds: Length of the run, which is longer where a 99th percentile needs more calls.
    """
    request = LoadRequest(
        load=Load.CONSTANT,
        rate_per_s=rate_per_s,
        seconds=seconds,
        min_calls=calls_needed(99.0),
    )
    with able_to_interrupt():  # the thread that submits has this one's priority
        samples = measure_open(session, [capture], request)
    if (samples.outcome != Outcome.DECIDED).any():
        raise SystemExit("a capture was not scored: the times would be meaningless")
    median, tail = (percentile(samples.latency_ms, p).ms for p in (50.0, 99.0))
    if median is None or tail is None:
        raise SystemExit(f"{len(samples)} calls have no 99th percentile: measure longer")
    return median, tail


def is_real_time() -> bool:
    """Return whether this process runs before all others, as by `chrt -r 1`."""
    return os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO)


@contextmanager
def able_to_interrupt() -> Iterator[None]:
    """Let this thread interrupt the others when it wakes, which only real-time policies deny it."""
    if not is_real_time():
        yield
        return
    policy, own = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, policy, os.sched_param(own.sched_priority + 1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, own)
