"""Frames of a stream that were on their way for long, told from fresh ones by when they come."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

_DRAIN_LIMIT_MS = 2000.0
_TIMED_DRAIN_LIMIT_MS = 10_000.0
_GAP_MS = 500.0
_GAP_INTERVALS = 4.0
_USUAL_INTERVALS = 8
# Not one, which a busy machine may bring about in the midst of a backlog.
_INTERVALS_IN_A_ROW = 4
_FRESH_SHARE = 0.5
_TIMED_FRESH_SHARE = 0.85
_ASSUMED_FPS = 25.0


class Backlog:
    """Finds the frames that piled up before a network stream or a pipe was read.

    Such a stream carries no time of exposure, so a frame is stamped when it arrives. Frames that
    waited in a buffer, while the stream was opened, or after the network or this process stood
    still, come faster one after the other than they were taken. After the opening, and after a gap
    of half a second and four usual intervals, frames are passed over until they no longer catch up:

    - with the sender's own times, until four intervals took at least 85 % of the sender's, for at
      most ten seconds;
    - without them, until each of four intervals took at least half of the usual or declared one,
      for at most two seconds.

    Args:
        fps: Frames a second that the stream declares; outside (0, 120] for unknown.
    """

    def __init__(self, fps: float) -> None:
        self._interval_ms = 1000.0 / (fps if 0.0 < fps <= 120.0 else _ASSUMED_FPS)
        self._usual: deque[float] = deque(maxlen=_USUAL_INTERVALS)
        self._recent: deque[tuple[float, float | None]] = deque(maxlen=_INTERVALS_IN_A_ROW + 1)
        self._draining_since_ms: float | None = None

    def is_fresh(self, arrived_ms: float, sent_ms: float | None = None) -> bool:
        """Take in one arrival and return whether the frame was taken just now.

        Args:
            arrived_ms: Time in milliseconds of `time.monotonic`; of every frame, in order.
            sent_ms: The sender's time of the frame, in milliseconds of any origin; None where the
                stream has none.
        """
        last_ms = self._recent[-1][0] if self._recent else None
        interval_ms = float("inf") if last_ms is None else arrived_ms - last_ms
        if last_ms is None or self._is_gap(interval_ms):
            self._draining_since_ms = arrived_ms
            self._recent.clear()
            self._recent.append((arrived_ms, sent_ms))
            return False
        self._recent.append((arrived_ms, sent_ms))
        if self._draining_since_ms is not None:
            if self._is_catching_up(arrived_ms - self._draining_since_ms):
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

    def _is_catching_up(self, drained_ms: float) -> bool:
        is_full = len(self._recent) > _INTERVALS_IN_A_ROW
        sent = [sent_ms for _, sent_ms in self._recent if sent_ms is not None]
        if len(sent) == len(self._recent) and all(a < b for a, b in pairwise(sent)):
            took_ms = self._recent[-1][0] - self._recent[0][0]
            is_live = is_full and took_ms >= _TIMED_FRESH_SHARE * (sent[-1] - sent[0])
            return not is_live and drained_ms < _TIMED_DRAIN_LIMIT_MS
        least_ms = _FRESH_SHARE * self._interval_ms
        is_live = is_full and all(b[0] - a[0] >= least_ms for a, b in pairwise(self._recent))
        return not is_live and drained_ms < _DRAIN_LIMIT_MS
