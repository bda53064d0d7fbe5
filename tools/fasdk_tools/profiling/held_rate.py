"""Highest arrival rate that a session holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fasdk_tools.profiling.samples import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk_tools.profiling.samples import Samples

CONFIRMATIONS: Final = 5
"""Runs in a row in which a highest rate must be held, as MLPerf Inference asks of its own."""
LEAST_GOODPUT: Final = 0.99
"""Share of the captures that must meet the deadline for a rate to count as held."""
_GROWTH: Final = 0.02  # of the captures of a run that may wait more at its end than at its start
_STEP: Final = 0.95  # the search ends within it, and a rate that is not confirmed is lowered by it
_LOWEST: Final = 0.01  # of the first guess, below which no rate is tried


@dataclass(frozen=True)
class HeldRate:
    """What a search for the highest rate found.

    Attributes:
        rate_per_s: Highest rate held, in captures a second; None where none was.
        confirmations: Runs in a row that held it.
        tries: Number of runs made.
    """

    rate_per_s: float | None
    confirmations: int
    tries: int


def backlog_per_s(samples: Samples) -> float | None:
    """Return by how many captures a second the backlog grew over a run.

    The backlog at a due time is the number of captures that were due and not answered; the growth
    is the slope of a line through it by least squares. None where all were due at once.
    """
    due_ms = samples.due_ms
    if len(due_ms) < 2 or due_ms[-1] <= due_ms[0]:
        return None
    # One that was refused leaves when it was, one that never was submitted waits for nothing.
    refused_ms = np.where(np.isnan(samples.submitted_ms), due_ms, samples.submitted_ms)
    left_ms = np.where(np.isnan(samples.answered_ms), refused_ms, samples.answered_ms)
    left = np.searchsorted(np.sort(left_ms), due_ms, side="right")
    backlog = np.arange(1, len(due_ms) + 1) - left
    return float(np.polyfit((due_ms - due_ms[0]) / 1e3, backlog, 1)[0])


def goodput(samples: Samples, deadline_ms: float) -> float:
    """Return the share of all captures that were decided by `deadline_ms` after their due time."""
    return float(np.count_nonzero(samples.latency_ms <= deadline_ms) / len(samples))


def is_held(samples: Samples, deadline_ms: float | None) -> bool:
    """Whether a session kept up with a run's arrivals.

    It did if none was refused or failed, the backlog grew by at most 2 % of the captures (or one
    batch on every lane), and, with a deadline, 99 % met it.
    """
    if (samples.outcome != Outcome.DECIDED).any() or falls_behind(samples):
        return False
    return deadline_ms is None or goodput(samples, deadline_ms) >= LEAST_GOODPUT


def falls_behind(samples: Samples) -> bool:
    """Whether the backlog grew by more than 2 % of the captures, and one batch on every lane."""
    slope = backlog_per_s(samples)
    if slope is None:
        return False
    grown = slope * (samples.due_ms[-1] - samples.due_ms[0]) / 1e3
    return bool(grown > max(samples.lanes * samples.batch, _GROWTH * len(samples)))


def find_held_rate(holds: Callable[[float], bool], guess_per_s: float) -> HeldRate:
    """Search the highest rate that is held, and confirm it in further runs.

    Args:
        holds: Makes a run at a rate in captures a second; returns whether it was held.
        guess_per_s: Rate to begin at, such as the throughput without pauses.
    """
    tries = 0

    def held(rate: float) -> bool:
        nonlocal tries
        tries += 1
        return holds(rate)

    low, high = 0.0, guess_per_s
    while held(high):
        low, high = high, 2.0 * high
    while low < _STEP * high:
        middle = 0.5 * (low + high)
        if middle < _LOWEST * guess_per_s:
            return HeldRate(None, 0, tries)
        if held(middle):
            low = middle
        else:
            high = middle
    while low >= _LOWEST * guess_per_s:
        confirmed = 0
        while confirmed < CONFIRMATIONS and held(low):
            confirmed += 1
        if confirmed == CONFIRMATIONS:
            return HeldRate(low, confirmed, tries)
        low *= _STEP
    return HeldRate(None, 0, tries)
