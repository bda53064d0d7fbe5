"""Searches on a real session: a policy for a target, and doors within a deadline."""

from __future__ import annotations

import math
import os
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.engine import Backend
from fasdk.batching import BatchingPolicy
from fasdk_tools.profiling.doors import DoorsAnswer, find_doors, require_numbers
from fasdk_tools.profiling.find import Candidate, FoundPolicy, candidates, find_policy
from fasdk_tools.profiling.held_rate import falls_behind
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.run import captures_of, open_profiled
from fasdk_tools.profiling.samples import Outcome, Samples
from fasdk_tools.profiling.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fasdk_tools.profiling.run import ProfileOptions
    from fasdk_tools.profiling.target import Target

_MOST_CORES = 8  # more lanes than these are not tried
_SERVICE_S = 2.0
# Limits that a run must last to show an overload of 5 % by its latency: 1 / 20 of it is waited.
_RUN_LIMITS = 20.0


def search_policy(
    options: ProfileOptions,
    target: Target,
    on_progress: Callable[[float], None],
    *,
    budget: TimeBudget | None = None,
) -> FoundPolicy:
    """Search the settings that meet a target on this machine.

    Args:
        options: Bundle to measure and how to open it.
        target: What is to be met, by captures that arrive at random.
        on_progress: Callback with the share of the time that has passed, in [0, 1].
        budget: Time for all runs; None for the usual one from now on.

    Raises:
        UsageError: The target takes too long to confirm, or there is no capture.
        FasdkError: The bundle cannot be opened, or the engine failed.
    """
    budget = budget or TimeBudget()
    seeds = count()

    def trial(candidate: Candidate, calls: int) -> NDArray[np.float64]:
        request = LoadRequest(
            load=Load.POISSON,
            batch=candidate.max_batch,
            lanes=candidate.lanes,
            rate_per_s=target.rate_per_s,
            seconds=target.trial_s(calls),
            seed=next(seeds),
        )
        with open_profiled(
            options, batching=candidate.policy, threads=candidate.threads
        ) as liveness:
            samples = measure(liveness, captures_of(options, liveness), request)
            return lasting_latencies(samples, target.limit_ms)

    with open_profiled(options) as liveness:
        max_batch, backend = liveness.bundle.manifest.max_batch, liveness.engine.backend
    tried = candidates(
        max_batch,
        min(os.cpu_count() or 1, _MOST_CORES),
        target.limit_ms,
        is_cpu=backend in (Backend.ONNXRUNTIME, Backend.OPENVINO),
    )
    return find_policy(tried, trial, target, budget=budget, on_progress=on_progress)


def count_doors(
    options: ProfileOptions,
    *,
    asked: int,
    fps: float,
    deadline_ms: float,
    batching: BatchingPolicy,
    on_progress: Callable[[float], None],
    budget: TimeBudget | None = None,
) -> DoorsAnswer:
    """Say how many doors this machine serves within a deadline.

    Args:
        options: Bundle to measure and how to open it.
        asked: Doors that were asked for.
        fps: Captures a second of each door.
        deadline_ms: Deadline in milliseconds.
        batching: Settings of the session.
        on_progress: Callback in each run, with the share of it that is done, in [0, 1].
        budget: Time for all runs; None for the usual one from now on.

    Raises:
        UsageError: A number is out of its range, or there is no capture.
        FasdkError: The bundle cannot be opened, or the engine failed.
    """
    require_numbers(asked, fps, deadline_ms)
    budget = budget or TimeBudget()
    seeds = count()
    with open_profiled(options, batching=batching) as liveness:
        captures = captures_of(options, liveness)
        busy = LoadRequest(load=Load.CLOSED, batch=1, lanes=batching.lanes, seconds=_SERVICE_S)
        service_ms = _latencies(measure(liveness, captures, busy, on_progress=on_progress))

        def trial(doors: int, calls: int) -> NDArray[np.float64]:
            request = LoadRequest(
                load=Load.CONSTANT,
                batch=batching.max_batch or liveness.bundle.manifest.max_batch,
                lanes=batching.lanes,
                cameras=doors,
                fps=fps,
                min_calls=calls,
                seconds=calls / (doors * fps),
                seed=next(seeds),
            )
            samples = measure(liveness, captures, request, on_progress=on_progress)
            return lasting_latencies(samples, deadline_ms)

        return find_doors(
            trial,
            service_ms,
            asked=asked,
            fps=fps,
            deadline_ms=deadline_ms,
            lanes=batching.lanes,
            budget=budget,
        )


def lasting_latencies(samples: Samples, limit_ms: float) -> NDArray[np.float64]:
    """Return latencies that a longer run of the same arrivals would have too.

    A run that is short beside the limit can end before captures that come faster than they are
    worked off wait so long. Where the backlog of such a run grew, none of them counts as decided.

    Args:
        samples: A run of an open load.
        limit_ms: Latency that it is held to, in milliseconds.

    Returns:
        float64 [n], milliseconds from due time, infinite where a call does not count as decided.
    """
    is_short = samples.due_ms[-1] - samples.due_ms[0] < _RUN_LIMITS * limit_ms
    if is_short and falls_behind(samples.counted):
        return np.full(len(samples.counted), math.inf)
    return _latencies(samples)


def _latencies(samples: Samples) -> NDArray[np.float64]:
    """Return milliseconds from due time, infinite where a call was not decided."""
    counted = samples.counted
    is_decided = counted.outcome == Outcome.DECIDED
    return np.asarray(np.where(is_decided, counted.latency_ms, math.inf), np.float64)
