"""Planted slowdowns of a real session, told by comparisons with real times, as one JSON line.

    python -m support.profile_comparisons

Calls on the slower side go on computing for the planted share of the time that the call took.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fasdk
from fasdk.bundle.trust import TrustPolicy
from fasdk_tools.profiling.against import TOLERANCE, ComparedBundle, compared
from fasdk_tools.profiling.baseline import Baseline, StoredProfile
from fasdk_tools.profiling.checked_calls import timed_check
from fasdk_tools.profiling.interleaved import interleave
from fasdk_tools.profiling.yardstick import Yardstick, YardstickTimes

from support import tiny_bundle

RUNS, MOST_RUNS, SECONDS = 10, 40, 3.0


def main() -> None:
    """Measure and print the line."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = tiny_bundle.write(Path(folder) / "tiny.fasb")
        with fasdk.open(
            bundle, backend="onnxruntime", trust=TrustPolicy.unsigned(), threads=1
        ) as liveness:
            whole = liveness.bundle.golden[0].capture
            check = timed_check(liveness, [whole])
            named = ComparedBundle.of(liveness)
            against = {
                share: [
                    compared(
                        interleave(check, slowed(check, share), seconds=SECONDS),
                        named,
                        named,
                        TOLERANCE,
                    ).slower
                    for _ in range(RUNS)
                ]
                for share in (0.0, 0.1)
            }
            baseline = {share: baseline_answers(check, share) for share in (0.0, 0.2)}
    print(
        json.dumps(
            {
                "runs": RUNS,
                "against_found": sum(against[0.1]),
                "against_false": sum(against[0.0]),
                "baseline_found": baseline[0.2].count(True),
                "baseline_false": baseline[0.0].count(True),
                "baseline_least_compared": min(
                    len(answers) - answers.count(None) for answers in baseline.values()
                ),
                "baseline_not_comparable": sum(
                    answers.count(None) for answers in baseline.values()
                ),
            }
        )
    )


def slowed(check: Callable[[], float], share: float) -> Callable[[], float]:
    """Return calls that take so much longer than those of `check`."""

    def call() -> float:
        took_ms = check()
        end_ns = time.perf_counter_ns() + round(took_ms * share * 1e6)
        while time.perf_counter_ns() < end_ns:
            pass
        return took_ms * (1.0 + share)

    return call


def baseline_answers(check: Callable[[], float], share: float) -> list[bool | None]:
    """Return the answers up to the last of `RUNS` that could be compared, or of `MOST_RUNS`.

    A run beside which the yardstick moved is answered "not comparable", whatever is planted.
    """
    answers: list[bool | None] = []
    while len(answers) < MOST_RUNS and len(answers) - answers.count(None) < RUNS:
        answers.append(baseline_answer(check, share))
    return answers


def baseline_answer(check: Callable[[], float], share: float) -> bool | None:
    """Return whether a run was called slower than one just before it."""
    stored = StoredProfile(schema_version=1, bundle_id="0" * 64, yardstick=beside(check))
    now = beside(slowed(check, share))
    return Baseline(Path("stored"), stored).compare(now).slower


def beside(check: Callable[[], float]) -> YardstickTimes:
    """Return calls beside the yardstick."""
    yardstick = Yardstick()
    times = interleave(check, yardstick, seconds=SECONDS)
    shape = times.second_ms.shape

    def rounds(taken_ms: list[float]) -> list[list[float]]:
        return np.reshape(taken_ms[-times.second_ms.size :], shape).tolist()

    return YardstickTimes(
        check_ms=times.first_ms.tolist(),
        compute_ms=rounds(yardstick.compute_ms),
        copy_ms=rounds(yardstick.copy_ms),
    )


if __name__ == "__main__":
    main()
