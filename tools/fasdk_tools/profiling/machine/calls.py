"""Troubles of a measurement that its calls show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.machine.reasons import Limits, MeasurementReason, Trouble
from fasdk_tools.profiling.steady import AGREEING_WINDOWS, TOLERANCE, trend
from fasdk_tools.profiling.warm_up import LEAST_CALLS, LEAST_MS, first_steady_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fasdk_tools.profiling.samples import Samples

_FEWEST_PAUSES = 5
_FEWEST_OTHERS = 20
_LONGER: Final = {
    Load.OFFLINE: "measure more captures with --calls",
    Load.REPLAY: "replay a longer recording",
}


def call_troubles(samples: Samples, limits: Limits) -> Iterator[MeasurementReason]:
    """Yield what the calls of one run show, the warm-up left out."""
    yield from _unsteady(samples)
    # Pauses are what an idle run is about, a cold one has nothing but first calls, and of captures
    # that are due all at once each waits for longer than the one before.
    if samples.load in (Load.IDLE, Load.COLD, Load.OFFLINE):
        return
    counted = samples.counted
    decided = np.isfinite(counted.latency_ms)
    due_ms, answered_ms = counted.due_ms[decided], counted.answered_ms[decided]
    yield from _drift(due_ms, answered_ms, limits)
    yield from _wake_up(due_ms, answered_ms, limits)


def _unsteady(samples: Samples) -> Iterator[MeasurementReason]:
    if first_steady_call(samples) is not None:
        return
    decided = np.isfinite(samples.answered_ms)
    calls = int(np.count_nonzero(decided))
    span_ms = float(np.ptp(samples.answered_ms[decided])) if calls else 0.0
    is_short = calls < LEAST_CALLS or span_ms < LEAST_MS
    yield MeasurementReason(
        Trouble.UNSTEADY,
        f"{calls} decided calls in {span_ms / 1e3:.1f} s are too few to show that the warm-up had "
        f"ended (at least {LEAST_CALLS} calls and {LEAST_MS / 1e3:.1f} s)"
        if is_short
        else f"the warm-up was not over after {calls} calls in {span_ms / 1e3:.1f} s: no "
        f"{AGREEING_WINDOWS} successive windows agree within {TOLERANCE:.0%} in median latency and "
        "rate",
        _LONGER.get(samples.load, "measure for longer with --seconds or --soak")
        + ("" if is_short else "; look for what moves latency over time (--html)"),
    )


def _drift(
    due_ms: NDArray[np.float64], answered_ms: NDArray[np.float64], limits: Limits
) -> Iterator[MeasurementReason]:
    found = trend(answered_ms - due_ms, due_ms)
    if found is not None and found.is_drift(limits.drift):
        yield MeasurementReason(
            Trouble.DRIFT,
            f"median latency went from {found.first_ms:.2f} ms in the first "
            f"{found.window_ms / 1e3:.1f} s to {found.last_ms:.2f} ms in the last "
            f"({found.change:+.0%}, p = {found.p_value:.2g})",
            "measure for longer, after a longer warm-up; look for heat and, of an open load, for a "
            "rate that cannot be held",
        )


def _wake_up(
    due_ms: NDArray[np.float64], answered_ms: NDArray[np.float64], limits: Limits
) -> Iterator[MeasurementReason]:
    if len(due_ms) < _FEWEST_PAUSES + _FEWEST_OTHERS:
        return
    pause_ms = due_ms[1:] - np.maximum.accumulate(answered_ms)[:-1]
    latency_ms = (answered_ms - due_ms)[1:]
    paused = pause_ms >= 1000 * limits.pause_s
    after, others = latency_ms[paused], latency_ms[~paused]
    if len(after) < _FEWEST_PAUSES or len(others) < _FEWEST_OTHERS:
        return
    usual_ms, after_ms = float(np.median(others)), float(np.median(after))
    # Four of five beyond the ninetieth percentile of the others happen by chance once in 2,000.
    by_chance = np.quantile(after, 0.25, method="lower") <= np.quantile(others, 0.9)
    if after_ms > limits.wake_up * usual_ms and not by_chance:
        yield MeasurementReason(
            Trouble.WAKE_UP,
            f"calls after a pause of at least {limits.pause_s:g} s take {after_ms:.1f} ms in the "
            f"median, others {usual_ms:.1f} ms ({after_ms / usual_ms:.1f} times, "
            f"{len(after)} pauses)",
            "fix the clocks, or keep the engine busy between captures",
        )
