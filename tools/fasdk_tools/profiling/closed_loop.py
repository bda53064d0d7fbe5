"""Closed-loop latency of a bundle by stage, on one lane or several."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import Verdict
from fasdk.errors import BackendError, UsageError
from fasdk.scorer import Scorer
from fasdk.telemetry import Stage, StageClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.backends.engine import Lane
    from fasdk.capture import Capture
    from fasdk.session.session import Liveness


@dataclass(frozen=True)
class StageStatistics:
    """Latency of one stage over the counted calls, in milliseconds."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> StageStatistics:
        """Summarize samples in milliseconds."""
        values = np.asarray(samples_ms, np.float64)
        p50, p90, p99 = np.percentile(values, [50, 90, 99])
        return cls(
            mean_ms=float(values.mean()),
            p50_ms=float(p50),
            p90_ms=float(p90),
            p99_ms=float(p99),
            max_ms=float(values.max()),
        )


@dataclass(frozen=True)
class ProfileRun:
    """The figures of one batch size on one number of lanes.

    Attributes:
        batch: Captures per call.
        streams: Lanes that called at once, each from a thread of its own.
        warmup_calls: Calls each lane made first, not counted.
        calls: Calls counted, of all lanes.
        captures_per_second: Throughput of the closed loop, of all lanes.
        stages: Statistics by stage name.
        end_to_end: Statistics of whole calls.
    """

    batch: int
    streams: int
    warmup_calls: int
    calls: int
    captures_per_second: float
    stages: dict[str, StageStatistics]
    end_to_end: StageStatistics


def profile(
    liveness: Liveness,
    captures: Sequence[Capture],
    batch: int,
    *,
    streams: int = 1,
    seconds: float = 3.0,
    warmup_calls: int = 3,
    min_calls: int = 10,
    on_call: Callable[[float], None] | None = None,
) -> ProfileRun:
    """Measure the latency of every stage in repeated calls of a session's engine.

    Each lane runs one batch after another, as the session's own do, without their queue.

    Args:
        liveness: An open session.
        captures: Taken in turn; any number from one on.
        batch: Captures per call.
        streams: Lanes that call at once.
        seconds: Measuring time in seconds; each lane makes at least `min_calls` calls.
        warmup_calls: Calls each lane makes first, not counted.
        min_calls: Fewest calls to count.
        on_call: Callback after each call of the first lane, with the share of the time that has
            passed, in [0, 1].

    Raises:
        UsageError: No capture, or a batch, number of lanes or time that is not positive.
        BackendError: A lane cannot be opened, or a call answered without a score, so that its
            time is meaningless.
    """
    if not captures or batch < 1 or streams < 1 or not seconds > 0:
        raise UsageError(
            f"profile needs captures, a batch and a number of lanes of at least 1 and a time above "
            f"0; found {len(captures)} captures, batch {batch}, {streams} lanes, {seconds} s"
        )
    loops: list[_Loop] = []
    try:
        for _ in range(streams):
            lane = liveness.engine.open_lane(batch)
            loops.append(_Loop(liveness, lane, captures, batch))
        for loop in loops:
            loop.warm_up(warmup_calls)
        threads = [threading.Thread(target=loop.run, args=(seconds, min_calls)) for loop in loops]
        loops[0].on_call = on_call
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed_s = time.perf_counter() - start
    finally:
        for loop in loops:
            loop.lane.close()
    for loop in loops:
        if loop.failure is not None:
            raise loop.failure
    samples = [timings for loop in loops for timings in loop.samples]

    def statistics(stage: str) -> StageStatistics:
        return StageStatistics.of([timings[stage] for timings in samples])

    return ProfileRun(
        batch=batch,
        streams=streams,
        warmup_calls=warmup_calls,
        calls=len(samples),
        captures_per_second=len(samples) * batch / elapsed_s,
        stages={stage.value: statistics(stage.value) for stage in Stage},
        end_to_end=statistics("end_to_end"),
    )


class _Loop:
    """A lane called over and over.

    Attributes:
        lane: Lane that the loop calls.
        samples: Milliseconds by stage of each call.
        failure: Error that ended the loop early, or None.
        on_call: Callback with the share of the time that has passed, in [0, 1].
    """

    def __init__(
        self, liveness: Liveness, lane: Lane, captures: Sequence[Capture], batch: int
    ) -> None:
        self.lane = lane
        self.samples: list[dict[str, float]] = []
        self.failure: BaseException | None = None
        self.on_call: Callable[[float], None] | None = None
        self._scorer = Scorer(liveness.bundle, liveness.level)
        self._captures = captures
        self._batch = batch
        self._next = 0

    def warm_up(self, calls: int) -> None:
        """Make calls that are not counted."""
        for _ in range(calls):
            self._call()

    def run(self, seconds: float, min_calls: int) -> None:
        """Make calls and keep their times; never raises."""
        start = time.perf_counter()
        try:
            while len(self.samples) < min_calls or time.perf_counter() - start < seconds:
                self.samples.append(self._call())
                if self.on_call is not None:
                    self.on_call(min(1.0, (time.perf_counter() - start) / seconds))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.failure = error

    def _call(self) -> dict[str, float]:
        batch = [
            self._captures[(self._next + row) % len(self._captures)] for row in range(self._batch)
        ]
        self._next += 1
        scorer, clock = self._scorer, StageClock()
        with clock.stage(Stage.GATES):
            for capture in batch:
                scorer.require(capture)
        with clock.stage(Stage.PREPROCESS):
            for row, capture in enumerate(batch):
                scorer.fill(capture, self.lane.inputs, row)
        with clock.stage(Stage.ENGINE):
            outputs = scorer.require_outputs(self.lane.run(len(batch)), len(batch))
        with clock.stage(Stage.DECISION):
            decisions = [scorer.score(capture, outputs, row) for row, capture in enumerate(batch)]
        timings = clock.finish()
        for decision in decisions:
            if decision.verdict is Verdict.ERROR and not np.isfinite(decision.score):
                raise BackendError(f"a call failed while profiling: {'; '.join(decision.reasons)}")
        return timings
