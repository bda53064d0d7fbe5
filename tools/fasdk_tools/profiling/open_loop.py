"""Open loop: captures submitted to a session when they are due, whatever was answered."""

from __future__ import annotations

import gc
import math
import threading
import time
from array import array
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fasdk.decision import Decision, Verdict
from fasdk.errors import BackendError
from fasdk.reasons import Reason
from fasdk.telemetry import Stage
from fasdk_tools.profiling.arrivals import due_times_ms
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.samples import Outcome, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from fasdk.batching import BatchingPolicy
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.recording import Recording

# Decisions without a score for which the engine is not to blame.
_REFUSALS = frozenset({Reason.QUEUE_FULL, Reason.DEADLINE})
_LEAD_S = 0.01  # from the start of the threads to the first capture
_PROGRESS_S = 0.1


class Submittable(Protocol):
    """What an open load needs of a session."""

    @property
    def batching(self) -> BatchingPolicy:
        """Lanes, largest batch and deadline."""

    @property
    def bundle(self) -> Bundle:
        """Bundle that is scored with."""

    def check(self, capture: Capture, /) -> Decision:
        """Return the decision on a capture."""

    def submit(self, capture: Capture, /) -> Future[Decision]:
        """Return the decision on a capture to come."""


def measure_open(
    liveness: Submittable,
    captures: Sequence[Capture],
    request: LoadRequest,
    *,
    on_progress: Callable[[float], None] | None = None,
    recording: Recording | None = None,
) -> Samples:
    """Submit captures to a session by due time and keep when each was answered.

    Captures go through the session's gates, queue and lanes. Each of the request's cameras is a
    thread that submits its own ones. A camera that is held up, by a full queue for instance,
    submits late; latency still counts from when the capture was due. One that is later than the
    session's deadline is not submitted but refused, as it would be in the queue.

    Args:
        liveness: An open session, whose policy sets lanes, batch and deadline.
        captures: Captures to take in turn; at least one.
        request: An open load.
        on_progress: Callback in this thread, some ten times a second, with the share of the
            captures that were submitted, in [0, 1].
        recording: Recording of the session under way, which receives when captures were due.

    Raises:
        BackendError: The warm-up was not scored, so that times would be meaningless.
    """
    for number in range(request.warmup):
        warm = liveness.check(captures[number % len(captures)])
        if outcome_of(warm) is Outcome.FAILED:
            raise BackendError(f"a call failed while profiling: {'; '.join(warm.reasons)}")
    generator = _Generator(liveness, captures, due_times_ms(request), request)
    gc.collect()
    before = 0 if recording is None else len(recording.clocks)
    generator.run(request.cameras, on_progress)
    if recording is not None:
        recording.note_due(before, generator.submitted_due_ns())
    return generator.samples(request)


def outcome_of(decision: Decision) -> Outcome:
    """Return how a call ended, by its decision; whatever has a score was decided."""
    if math.isfinite(decision.score):
        return Outcome.DECIDED
    is_refusal = decision.verdict is Verdict.RETRY or _REFUSALS.issuperset(decision.codes)
    return Outcome.REFUSED if is_refusal else Outcome.FAILED


class _Generator:
    """Threads that submit captures when they are due; their memory is there before the start."""

    def __init__(
        self,
        liveness: Submittable,
        captures: Sequence[Capture],
        due_ms: NDArray[np.float64],
        request: LoadRequest,
    ) -> None:
        count = len(due_ms)
        self._liveness = liveness
        self._captures = captures
        self._due_ms = due_ms
        # Everything of an offline load is late but for the first captures.
        is_offline = request.load is Load.OFFLINE
        self._give_up_s = math.inf if is_offline else liveness.batching.deadline_ms / 1e3
        self._due_s: list[float] = []
        self._submitted_s = array("d", [math.nan]) * count
        self._answered_s = array("d", [math.nan]) * count
        self._decisions: list[Decision | None] = [None] * count
        self._left = threading.Semaphore(0)
        self._failure: BaseException | None = None
        self._start_s = 0.0

    def run(self, cameras: int, on_progress: Callable[[float], None] | None) -> None:
        """Submit every capture and wait for every answer."""
        self._start_s = time.perf_counter() + _LEAD_S
        self._due_s = (self._start_s + self._due_ms / 1e3).tolist()
        threads = [
            threading.Thread(target=self._submit, args=(number, cameras), daemon=True)
            for number in range(cameras)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_PROGRESS_S)
                if on_progress is not None:
                    on_progress(self._share())
        if self._failure is not None:
            raise self._failure
        for _ in self._due_s:  # the session answers each by its deadline
            self._left.acquire()

    def samples(self, request: LoadRequest) -> Samples:
        """Return what was kept of every call."""
        due_ms = self._due_ms
        decided = [None if d is None else outcome_of(d) for d in self._decisions]
        outcome = np.array([Outcome.REFUSED if o is None else o for o in decided], np.uint8)
        submitted_ms = 1e3 * (np.array(self._submitted_s) - self._start_s)
        answered_ms = 1e3 * (np.array(self._answered_s) - self._start_s)
        answered_ms[outcome != Outcome.DECIDED] = math.nan
        spent = {
            stage: np.array(
                [0.0 if d is None else d.timings_ms.get(stage.value, 0.0) for d in self._decisions]
            )
            for stage in Stage
        }
        spent[Stage.QUEUE] += np.nan_to_num(submitted_ms - due_ms)
        rest = (answered_ms - due_ms) - sum(t for s, t in spent.items() if s is not Stage.OTHER)
        spent[Stage.OTHER] = np.nan_to_num(rest)
        policy = self._liveness.batching
        return Samples(
            load=request.load,
            batch=policy.max_batch or self._liveness.bundle.manifest.max_batch,
            lanes=policy.lanes,
            rate_per_s=self._offered_per_s(request),
            due_ms=due_ms,
            submitted_ms=submitted_ms,
            answered_ms=answered_ms,
            outcome=outcome,
            stages_ms={stage.value: values for stage, values in spent.items()},
        )

    def submitted_due_ns(self) -> list[int]:
        """Return when the captures that were submitted were due, in the order of submission."""
        submitted_s = np.array(self._submitted_s)
        order = np.argsort(submitted_s, kind="stable")  # those without a time are last
        return [
            round(1e9 * self._due_s[number])
            for number in order[: np.count_nonzero(np.isfinite(submitted_s))].tolist()
        ]

    def _offered_per_s(self, request: LoadRequest) -> float | None:
        """Return the rate asked for; that of the recorded arrivals of a replay."""
        if request.load is not Load.REPLAY:
            return request.rate_per_s
        span_ms = float(self._due_ms[-1] - self._due_ms[0])
        return 1e3 * (len(self._due_ms) - 1) / span_ms if span_ms > 0 else None

    def _share(self) -> float:
        passed_ms = 1e3 * (time.perf_counter() - self._start_s)
        last_ms = float(self._due_ms[-1])
        return min(1.0, max(0.0, passed_ms / last_ms)) if last_ms > 0 else 1.0

    def _submit(self, first: int, step: int) -> None:
        """Submit every `step`-th capture from `first` on; never raises."""
        due_s, submitted_s, captures = self._due_s, self._submitted_s, self._captures
        submit, clock, kinds = self._liveness.submit, time.perf_counter, len(captures)
        try:
            for number in range(first, len(due_s), step):
                due = due_s[number]
                while (early := due - (now := clock())) > 0:
                    time.sleep(early)
                if -early > self._give_up_s:
                    self._left.release()
                    continue
                submitted_s[number] = now
                future = submit(captures[number % kinds])
                future.add_done_callback(partial(self._answered, number))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._failure = error

    def _answered(self, number: int, future: Future[Decision]) -> None:
        self._answered_s[number] = time.perf_counter()
        self._decisions[number] = future.result()
        self._left.release()
