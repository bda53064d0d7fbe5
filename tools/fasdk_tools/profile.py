"""Closed-loop latency of a bundle on this machine, stage by stage."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import Verdict
from fasdk.errors import BackendError, UsageError
from fasdk.telemetry import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.capture import Capture
    from fasdk.session import Decision, Liveness


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
        """Summarise samples in milliseconds."""
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
    """One batch size's figures.

    Attributes:
        batch: Captures per call.
        warmup_calls: Calls made first and not counted.
        calls: Calls counted.
        captures_per_second: Throughput of the closed loop.
        stages: Statistics by stage name.
        end_to_end: Statistics of whole calls.
    """

    batch: int
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
    seconds: float = 3.0,
    warmup_calls: int = 3,
    min_calls: int = 10,
    on_call: Callable[[float], None] | None = None,
) -> ProfileRun:
    """Call `liveness` over and over, one call at a time, and time every stage.

    Args:
        liveness: An open session.
        captures: Taken in turn; any number from one on.
        batch: Captures per call.
        seconds: How long to count; at least `min_calls` calls are made however long they take.
        warmup_calls: Calls made first and not counted.
        min_calls: Fewest calls to count.
        on_call: Hears the share of the time that has passed, after each call.

    Raises:
        UsageError: No capture, or a batch or time that is not positive.
        BackendError: A call answered without a score, so its time says nothing.
    """
    if not captures or batch < 1 or not seconds > 0:
        raise UsageError(
            f"profile needs captures, a batch of at least 1 and a time above 0; "
            f"found {len(captures)} captures, batch {batch}, {seconds} s"
        )
    feeds = [
        [captures[(start + i) % len(captures)] for i in range(batch)]
        for start in range(len(captures))
    ]
    for call in range(warmup_calls):
        _require_scores(liveness.check_batch(feeds[call % len(feeds)]))
    samples: dict[str, list[float]] = {}
    calls = 0
    start = time.perf_counter()
    while calls < min_calls or time.perf_counter() - start < seconds:
        decisions = liveness.check_batch(feeds[calls % len(feeds)])
        _require_scores(decisions)
        for name, spent_ms in decisions[0].timings_ms.items():
            samples.setdefault(name, []).append(spent_ms)
        calls += 1
        if on_call is not None:
            on_call(min(1.0, (time.perf_counter() - start) / seconds))
    elapsed_s = time.perf_counter() - start
    return ProfileRun(
        batch=batch,
        warmup_calls=warmup_calls,
        calls=calls,
        captures_per_second=calls * batch / elapsed_s,
        stages={stage.value: StageStatistics.of(samples[stage.value]) for stage in Stage},
        end_to_end=StageStatistics.of(samples["end_to_end"]),
    )


def _require_scores(decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if decision.verdict is Verdict.ERROR and not np.isfinite(decision.score):
            raise BackendError(f"a call failed while profiling: {'; '.join(decision.reasons)}")
