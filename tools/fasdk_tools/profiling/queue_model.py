"""Model of a session's queue: what captures wait where service times are known."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def queued_latencies(
    due_ms: NDArray[np.float64],
    service_ms: Callable[[int], float],
    *,
    lanes: int,
    max_batch: int = 1,
) -> NDArray[np.float64]:
    """Return the latency of each capture: waiting for a lane and its service.

    The lane that is free first takes what is due by then, at most `max_batch` captures, in order.

    Args:
        due_ms: float64 [n], when captures are due, in milliseconds, rising.
        service_ms: Returns the milliseconds of a call of so many captures.
        lanes: Lanes that work at once.
        max_batch: Most captures in one call.

    Returns:
        float64 [n], in milliseconds.
    """
    free_ms = [0.0] * lanes
    answered_ms = np.empty(len(due_ms))
    first = 0
    while first < len(due_ms):
        start_ms = max(heapq.heappop(free_ms), float(due_ms[first]))
        waiting = int(np.searchsorted(due_ms[first : first + max_batch], start_ms, side="right"))
        end_ms = start_ms + service_ms(waiting)
        answered_ms[first : first + waiting] = end_ms
        heapq.heappush(free_ms, end_ms)
        first += waiting
    latencies: NDArray[np.float64] = answered_ms - due_ms
    return latencies
