"""Warm-up of a measured run: the calls before it is steady."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.steady import (
    AGREEING_WINDOWS,
    WINDOW_CALLS,
    WINDOW_MS,
    steady_start,
    windows,
)

if TYPE_CHECKING:
    from fasdk_tools.profiling.samples import Samples

LEAST_CALLS: Final = AGREEING_WINDOWS * WINDOW_CALLS + 1
"""Fewest calls that can show that a run is steady; the first only opens a window."""
LEAST_MS: Final = AGREEING_WINDOWS * WINDOW_MS
_UNSTEADY_BY_NATURE: Final = frozenset({Load.IDLE, Load.COLD})  # they measure first decisions


def first_steady_call(samples: Samples) -> int | None:
    """Return the index of the first call from which a run is steady, or None where it never is.

    Where no three windows of the usual size agree, larger ones are tried, each twice as large as
    the one before: the median of a loaded queue takes more calls. Captures that are due all at
    once wait longer and longer, so that only their rate has to be steady.
    """
    if samples.load in _UNSTEADY_BY_NATURE:
        return 0
    decided = np.flatnonzero(np.isfinite(samples.answered_ms))
    latency_ms, answered_ms = samples.latency_ms[decided], samples.answered_ms[decided]
    due_ms = samples.due_ms[decided] if samples.load.is_open else None
    if samples.load is Load.OFFLINE:
        latency_ms, due_ms = np.zeros(len(decided)), None
        answered_ms = np.sort(answered_ms)
    scale = 1
    while True:
        found = windows(
            latency_ms,
            answered_ms,
            due_ms,
            least_calls=scale * WINDOW_CALLS,
            least_ms=scale * WINDOW_MS,
        )
        if len(found) < AGREEING_WINDOWS:
            return None
        start = steady_start(found)
        if start is not None:
            return int(decided[start])
        scale *= 2


def without_warm_up(samples: Samples) -> Samples:
    """Return a run whose warm-up lasts until it is steady; no call is taken out.

    One that never is keeps the warm-up it has.
    """
    start = first_steady_call(samples)
    return samples if start is None else replace(samples, warmup=max(samples.warmup, start))
