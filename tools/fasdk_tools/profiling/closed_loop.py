"""Closed loop: lanes of an engine that are called again as soon as they have answered."""

from __future__ import annotations

import threading
import time
from array import array
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import Verdict
from fasdk.errors import BackendError
from fasdk.scorer import Scorer
from fasdk.telemetry import Stage, StageClock, split_call
from fasdk_tools.profiling.samples import Outcome, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fasdk.backends.engine import Lane
    from fasdk.capture import Capture
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.recording import Recording

# Times taken of a call, in order: its start and the ends of its stages. OTHER is what is left of an
# engine call whose copies and execution the device timed.
_STAGES = (
    Stage.GATES,
    Stage.PREPROCESS,
    Stage.UPLOAD,
    Stage.ENGINE,
    Stage.DOWNLOAD,
    Stage.OTHER,
    Stage.DECISION,
)
_TIMES = 1 + len(_STAGES)
_ROOM = 4096  # calls; more is added in pieces of this size
_PROGRESS_S = 0.1


def measure_closed(
    liveness: Liveness,
    captures: Sequence[Capture],
    request: LoadRequest,
    *,
    on_progress: Callable[[float], None] | None = None,
    recording: Recording | None = None,
) -> Samples:
    """Measure every stage in repeated calls of a session's engine.

    Each lane runs one batch after another, as the session's own do, without their queue.

    Args:
        liveness: An open session.
        captures: Captures to take in turn; at least one.
        request: Load to measure.
        on_progress: Callback in the first lane's thread, some ten times a second, with the share of
            the time that has passed, in [0, 1].
        recording: Receives the stages of every call, for a trace; these calls pass by the
            session's own lanes.

    Raises:
        BackendError: A lane cannot be opened, or a call answered without a score, so that its
            time is meaningless.
    """
    loops: list[_Loop] = []
    try:
        for _ in range(request.lanes):
            lane = liveness.engine.open_lane(request.batch)
            loops.append(_Loop(liveness, lane, captures, request))
        loops[0].on_progress = on_progress
        start_ns = time.perf_counter_ns()
        threads = [threading.Thread(target=loop.run) for loop in loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for loop in loops:
            loop.lane.close()
    for loop in loops:
        if loop.failure is not None:
            raise loop.failure
    if recording is not None:
        recording.clocks.extend(_clocks(loops))
    times_ns = np.concatenate([loop.times_ns for loop in loops])
    times_ns = times_ns[np.argsort(times_ns[:, 0], kind="stable")]
    times_ms = (times_ns - start_ns) / 1e6
    spent_ms = np.diff(times_ns, axis=1) / 1e6
    stages = {stage.value: np.zeros(len(times_ms)) for stage in Stage}
    stages |= {stage.value: spent_ms[:, place] for place, stage in enumerate(_STAGES)}
    return Samples(
        load=request.load,
        batch=request.batch,
        lanes=request.lanes,
        rate_per_s=None,
        due_ms=times_ms[:, 0],
        submitted_ms=times_ms[:, 0],
        answered_ms=times_ms[:, -1],
        outcome=np.full(len(times_ms), Outcome.DECIDED, np.uint8),
        stages_ms=stages,
        warmup=request.lanes * request.warmup,
    )


def _clocks(loops: Sequence[_Loop]) -> list[StageClock]:
    """Return the clock of every call, in order of their begin."""
    clocks = []
    for number, loop in enumerate(loops):
        for times_ns in loop.times_ns.tolist():
            clock = StageClock()
            clock.start_ns, clock.end_ns, clock.lane = times_ns[0], times_ns[-1], number
            for stage, start_ns, end_ns in zip(_STAGES, times_ns, times_ns[1:], strict=False):
                if end_ns > start_ns and stage is not Stage.OTHER:
                    clock.add(stage, start_ns, end_ns)
            clocks.append(clock)
    return sorted(clocks, key=lambda clock: clock.start_ns)


class _Loop:
    """A lane called over and over; what it keeps of a call is written into memory it has.

    Attributes:
        lane: Lane that the loop calls.
        failure: Error that ended the loop early, or None.
        on_progress: Callback with the share of the time that has passed, in [0, 1].
    """

    def __init__(
        self, liveness: Liveness, lane: Lane, captures: Sequence[Capture], request: LoadRequest
    ) -> None:
        self.lane = lane
        self.failure: BaseException | None = None
        self.on_progress: Callable[[float], None] | None = None
        self._scorer = Scorer(liveness.bundle, liveness.level)
        self._captures = captures
        self._request = request
        self._times = array("q", bytes(8 * _TIMES * _ROOM))
        self._calls = 0

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """Start and ends of the stages of every call, int64 [calls, 8], in nanoseconds."""
        rows = np.frombuffer(self._times, np.int64).reshape(-1, _TIMES)
        return np.array(rows[: self._calls], np.int64)

    def run(self) -> None:
        """Make calls and keep their times; never raises."""
        request = self._request
        try:
            for _ in range(request.warmup):
                self._call()
            start_ns = time.perf_counter_ns()
            report_ns = start_ns
            least, end_ns = request.warmup + request.min_calls, start_ns + 1e9 * request.seconds
            while (now_ns := self._call()) < end_ns or self._calls < least:
                if self.on_progress is not None and now_ns >= report_ns:
                    report_ns = now_ns + int(1e9 * _PROGRESS_S)
                    self.on_progress(min(1.0, (now_ns - start_ns) / (end_ns - start_ns)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.failure = error

    def _call(self) -> int:
        """Score one batch and return the time of its end, in nanoseconds."""
        scorer, size, captures = self._scorer, self._request.batch, self._captures
        first, clock = self._calls, time.perf_counter_ns
        batch = [captures[(first + row) % len(captures)] for row in range(size)]
        begun_ns = clock()
        for capture in batch:
            scorer.require(capture)
        gated_ns = clock()
        for row, capture in enumerate(batch):
            scorer.fill(capture, self.lane.inputs, row)
        filled_ns = clock()
        outputs = scorer.require_outputs(self.lane.run(size), size)
        run_ns = clock()
        spans = split_call(filled_ns, run_ns, outputs.device)
        ends_ns = {stage: end_ns for stage, _, end_ns in spans}
        uploaded_ns = ends_ns.get(Stage.UPLOAD, filled_ns)
        executed_ns = ends_ns[Stage.ENGINE]
        downloaded_ns = ends_ns.get(Stage.DOWNLOAD, executed_ns)
        split_ns = clock()
        decisions = [scorer.score(capture, outputs, row) for row, capture in enumerate(batch)]
        decided_ns = clock()
        self._keep(
            *(begun_ns, gated_ns, filled_ns, uploaded_ns, executed_ns, downloaded_ns),
            *(split_ns, decided_ns),
        )
        for decision in decisions:
            if decision.verdict is Verdict.ERROR and not np.isfinite(decision.score):
                raise BackendError(f"a call failed while profiling: {'; '.join(decision.reasons)}")
        return decided_ns

    def _keep(self, *times_ns: int) -> None:
        times, at = self._times, self._calls * _TIMES
        if at == len(times):
            times.frombytes(bytes(8 * _TIMES * _ROOM))
        for place, value in enumerate(times_ns, at):
            times[place] = value
        self._calls += 1
