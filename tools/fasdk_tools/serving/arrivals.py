"""Times at which captures arrived, which a process that was stopped does not know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fasdk.capture import monotonic_ms

if TYPE_CHECKING:
    from collections.abc import Callable

_TICK_MS = 50.0
_STALL_MS = 300.0  # between two ticks; a busy loop has shorter pauses
_DOUBT_MS = 2000.0  # after a stall, in which what was buffered meanwhile is read


class Arrivals:
    """Clock of arrivals, in milliseconds of `time.monotonic`.

    What reaches a process while it is stopped or starved waits in the system's buffers, and looks
    new when it is read. After such a pause captures count as arrived when it began, so that an age
    which a client stated is never taken for less than it is.

    Args:
        clock: Monotonic clock in milliseconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic_ms) -> None:
        self._clock = clock
        self._ticked_ms = clock()
        self._stalled_from_ms = 0.0
        self._stalled_until_ms = float("-inf")

    def now_ms(self) -> float:
        """Return the latest time at which what is read now has surely arrived."""
        now_ms = self._clock()
        if now_ms - self._ticked_ms > _STALL_MS:
            return self._ticked_ms
        if now_ms - self._stalled_until_ms < _DOUBT_MS:
            return self._stalled_from_ms
        return now_ms

    def tick(self) -> None:
        """Note that the loop runs."""
        now_ms = self._clock()
        if now_ms - self._ticked_ms > _STALL_MS:
            self._stalled_from_ms, self._stalled_until_ms = self._ticked_ms, now_ms
        self._ticked_ms = now_ms

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(_TICK_MS / 1e3)
