"""Closed loop: lanes of an engine that are called again as soon as they have answered."""

from __future__ import annotations

import math
import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final

import numpy as np

from fasdk.backends.engine import CaptureLane
from fasdk.decision import Decision, Verdict
from fasdk.errors import BackendError
from fasdk.scorer import Scorer
from fasdk.telemetry import DeviceTimes, Stage, StageClock, split_call
from fasdk_tools.profiling.samples import Outcome, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fasdk.backends.engine import Lane
    from fasdk.capture import Capture
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.recording import Recording

# Stages whose ends are made of what is kept of a call, in order. The first OTHER is packing frames
# for a device that preprocesses them, the second what is left of an engine call whose copies and
# execution the device timed.
_STAGES: Final = (
    Stage.GATES,
    Stage.PREPROCESS,
    Stage.OTHER,
    Stage.UPLOAD,
    Stage.PREPROCESS,
    Stage.ENGINE,
    Stage.DOWNLOAD,
    Stage.OTHER,
    Stage.DECISION,
)
_ROOM: Final = 4096  # calls in one block of memory
_PROGRESS_NS: Final = 100_000_000
_OVER: Final = -1


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
    every_ns = [loop.times_ns for loop in loops]
    if recording is not None:
        recording.clocks.extend(_clocks(every_ns))
    times_ns = np.concatenate(every_ns)
    times_ns = times_ns[np.argsort(times_ns[:, 0], kind="stable")]
    times_ms = (times_ns - start_ns) / 1e6
    spent_ms = np.diff(times_ns, axis=1) / 1e6
    stages = {stage.value: np.zeros(len(times_ms)) for stage in Stage}
    for place, stage in enumerate(_STAGES):
        stages[stage.value] = stages[stage.value] + spent_ms[:, place]
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


def _clocks(every_ns: Sequence[NDArray[np.int64]]) -> list[StageClock]:
    """Return the clock of every call of every lane, in order of their begin."""
    clocks = []
    for number, lane_ns in enumerate(every_ns):
        for times_ns in lane_ns.tolist():
            clock = StageClock()
            clock.start_ns, clock.end_ns, clock.lane = times_ns[0], times_ns[-1], number
            for stage, start_ns, end_ns in zip(_STAGES, times_ns, times_ns[1:], strict=False):
                if end_ns > start_ns and stage is not Stage.OTHER:
                    clock.add(stage, start_ns, end_ns)
            clocks.append(clock)
    return sorted(clocks, key=lambda clock: clock.start_ns)


class _Block:
    """Memory for the times of some calls, there before they are made.

    Attributes:
        lists: Begin of each call and the ends of its gates, preprocessing, engine call and
            decisions, in nanoseconds of `time.perf_counter_ns`.
        device: Times on the device, or None where there are none.
    """

    __slots__ = ("device", "lists")

    def __init__(self) -> None:
        self.lists = tuple([0] * _ROOM for _ in range(5))
        self.device: list[DeviceTimes | None] = [None] * _ROOM

    def ends_ns(self, calls: int, *, is_on_device: bool) -> NDArray[np.int64]:
        """Return the begin of the first calls and the ends of `_STAGES`, int64 [calls, 10].

        Args:
            calls: How many calls it holds.
            is_on_device: Whether the lane takes captures, so that its device makes their tensors.
        """
        begun, gated, filled, called, decided = (
            np.array(times_ns[:calls], np.int64) for times_ns in self.lists
        )
        ends = np.column_stack(
            [begun, gated, filled, filled, filled, filled, called, called, called, decided]
        )
        for number, device in enumerate(self.device[:calls]):
            if device is None:
                continue
            spans = split_call(int(filled[number]), int(called[number]), device)
            last_ns = int(filled[number])
            by_stage = {stage: end_ns for stage, _, end_ns in spans}
            if is_on_device:  # the host only packs the frames
                ends[number, 2] = gated[number]
            for place in range(4, 8):
                last_ns = ends[number, place] = by_stage.get(_STAGES[place - 1], last_ns)
        return ends


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
        self._takes_captures = lane if isinstance(lane, CaptureLane) else None
        self._scorer = Scorer(liveness.bundle, liveness.level)
        self._request = request
        count, size = len(captures), request.batch
        # Rows and captures of each batch; they repeat once each capture was the first of one.
        self._batches = [
            tuple((row, captures[(first + row) % count]) for row in range(size))
            for first in range(count)
        ]
        self._blocks = [_Block()]
        self._in_last = 0  # calls in the last block
        self._start_ns: int | None = None  # of what is counted

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """Begin and ends of the stages of every call, int64 [calls, 10], in nanoseconds."""
        *full, last = self._blocks
        is_on_device = self._takes_captures is not None
        return np.concatenate(
            [
                *(block.ends_ns(_ROOM, is_on_device=is_on_device) for block in full),
                last.ends_ns(self._in_last, is_on_device=is_on_device),
            ]
        )

    def run(self) -> None:
        """Make calls and keep their times; never raises."""
        try:
            self._call_until_over()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.failure = error

    def _call_until_over(self) -> None:
        """Call the lane again and again, with as little as possible between two calls.

        What a call needs is looked up once. Its times are written as they are and made into stages
        after the run.
        """
        scorer, lane, device = self._scorer, self.lane, self._takes_captures
        size, clock, room, wrong = self._request.batch, time.perf_counter_ns, _ROOM, Verdict.ERROR
        require, fill, score = scorer.require, scorer.fill, scorer.score
        require_outputs, is_finite = scorer.require_outputs, math.isfinite
        call = lane.run if device is None else device.run_captures
        begins, gates, fills, calls, decisions = self._blocks[-1].lists
        number = 0
        look_ns = self._next_look_ns(clock(), number)
        for batch in cycle(self._batches):
            begun_ns = clock()
            for _, capture in batch:
                require(capture)
            gated_ns = clock()
            for row, capture in batch:
                if device is None:
                    fill(capture, lane.inputs, row)
                else:
                    device.put(capture, row)
            filled_ns = clock()
            outputs = require_outputs(call(size), size)
            called_ns = clock()
            for row, capture in batch:
                decision = score(capture, outputs, row)
                if decision.verdict is wrong and not is_finite(decision.score):
                    raise _failure(decision)
            decided_ns = clock()
            begins[number] = begun_ns
            gates[number] = gated_ns
            fills[number] = filled_ns
            calls[number] = called_ns
            decisions[number] = decided_ns
            if outputs.device is not None:
                self._blocks[-1].device[number] = outputs.device
            if device is not None:
                device.tend()
            number += 1
            if decided_ns >= look_ns:
                look_ns = self._next_look_ns(decided_ns, number)
                if look_ns == _OVER:
                    return
            if number == room:
                number = 0
                self._blocks.append(_Block())
                begins, gates, fills, calls, decisions = self._blocks[-1].lists

    def _next_look_ns(self, now_ns: int, in_last: int) -> int:
        """Return when to look again whether it is over; `_OVER` where it is.

        Args:
            now_ns: The present time.
            in_last: Calls whose times are in the last block.
        """
        request = self._request
        self._in_last = in_last
        calls = in_last + _ROOM * (len(self._blocks) - 1)
        if calls < request.warmup:
            return now_ns
        if self._start_ns is None:
            self._start_ns = now_ns
        end_ns = self._start_ns + int(1e9 * request.seconds)
        if self.on_progress is not None:
            self.on_progress(min(1.0, (now_ns - self._start_ns) / (end_ns - self._start_ns)))
        if now_ns >= end_ns:
            is_enough = calls >= request.warmup + request.min_calls
            return _OVER if is_enough else now_ns
        return end_ns if self.on_progress is None else min(end_ns, now_ns + _PROGRESS_NS)


def _failure(decision: Decision) -> BackendError:
    return BackendError(f"a call failed while profiling: {'; '.join(decision.reasons)}")
