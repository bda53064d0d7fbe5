"""Pacing of recordings that have no clock of their own."""

from __future__ import annotations

import time

from fasdk.capture import monotonic_ms
from fasdk.errors import CameraError, UsageError


class Pacer:
    """Spaces the frames of a recording by at least one period.

    A reader that is late gets its frame at once and the next one a full period later: no frame is
    skipped, and none comes in a burst. The rate is therefore `fps` at most.

    Attributes:
        fps: Frames a second, or None for as fast as they are asked for.
    """

    def __init__(self, fps: float | None) -> None:
        if fps is not None and not 0.0 < fps <= 1000.0:
            raise UsageError(f"fps {fps:g} is no frame rate: give more than 0 and at most 1000")
        self.fps = fps
        self._due_ms: float | None = None

    def wait(self, timeout_ms: float, name: str) -> None:
        """Sleep until the next frame is due.

        Raises:
            CameraError: It is not due within `timeout_ms`, which has then passed.
        """
        if self.fps is None:
            return
        now = monotonic_ms()
        due = now if self._due_ms is None else max(now, self._due_ms)
        if due - now > timeout_ms:
            time.sleep(max(0.0, timeout_ms) / 1000.0)
            raise CameraError(
                f"no frame from {name} within {timeout_ms:.0f} ms: at {self.fps:g} frames a second "
                f"the next is due in {due - now:.0f} ms"
            )
        time.sleep((due - now) / 1000.0)
        self._due_ms = monotonic_ms() + 1000.0 / self.fps
