"""Frames of a stream that were on their way for long, told from fresh ones by when they come."""

from __future__ import annotations

from collections import deque
from statistics import median

_DRAIN_LIMIT_MS = 2000.0
_GAP_MS = 500.0
_GAP_INTERVALS = 4.0
_USUAL_INTERVALS = 8
_FRESH_SHARE = 0.5
# Not one, which a busy machine may bring about in the midst of a backlog.
_FRESH_IN_A_ROW = 4
_ASSUMED_FPS = 25.0


class Backlog:
    """Finds the frames that piled up before a network stream or a pipe was read.

    Such a stream carries no time of exposure, so a frame is stamped when it arrives. Frames that
    waited in a buffer, while the stream was opened, or after the network or this process stood
    still, come faster one after the other than they were taken. After the opening, and after a gap
    of half a second and four usual intervals, frames are passed over until four in a row each came
    at least half an interval after the one before it, for at most two seconds.

    Args:
        fps: Frames a second that the stream declares; outside (0, 120] for unknown.
    """

    def __init__(self, fps: float) -> None:
        self._interval_ms = 1000.0 / (fps if 0.0 < fps <= 120.0 else _ASSUMED_FPS)
        self._usual: deque[float] = deque(maxlen=_USUAL_INTERVALS)
        self._last_ms: float | None = None
        self._draining_since_ms: float | None = None
        self._fresh_in_a_row = 0

    def is_fresh(self, arrived_ms: float) -> bool:
        """Take in one arrival and return whether the frame was taken just now.

        Args:
            arrived_ms: Time in milliseconds of `time.monotonic`; of every frame, in order.
        """
        last_ms, self._last_ms = self._last_ms, arrived_ms
        interval_ms = float("inf") if last_ms is None else arrived_ms - last_ms
        if last_ms is None or self._is_gap(interval_ms):
            self._draining_since_ms = arrived_ms
            self._fresh_in_a_row = 0
            return False
        if self._draining_since_ms is not None:
            waited = interval_ms >= _FRESH_SHARE * self._interval_ms
            self._fresh_in_a_row = self._fresh_in_a_row + 1 if waited else 0
            is_over = arrived_ms - self._draining_since_ms >= _DRAIN_LIMIT_MS
            if self._fresh_in_a_row < _FRESH_IN_A_ROW and not is_over:
                return False
            self._draining_since_ms = None
        self._usual.append(interval_ms)
        if len(self._usual) == _USUAL_INTERVALS:
            self._interval_ms = median(self._usual)  # what is declared is often made up
        return True

    def _is_gap(self, interval_ms: float) -> bool:
        if len(self._usual) < _USUAL_INTERVALS:
            return False
        return interval_ms > max(_GAP_MS, _GAP_INTERVALS * median(self._usual))
