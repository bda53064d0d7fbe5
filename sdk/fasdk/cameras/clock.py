"""Device clock mapped to milliseconds of `time.monotonic`, which stamps every capture."""

from __future__ import annotations

from collections import deque

_WINDOW_MS = 30_000.0


class DeviceClock:
    """Maps a camera's own clock to `time.monotonic`.

    A frame arrives some milliseconds after it was exposed, never before. So of all frames of the
    last 30 s the one with the smallest (arrival - device time) was delayed the least, and that
    difference is taken as the offset between the clocks. The stamp is therefore late by the
    smallest delay seen, a constant of the camera, and never later than the arrival. Two quartz
    clocks that differ by 50 ppm drift apart by 1.5 ms in the window. Differences between frames
    of one device stay as the device measured them.

    A device clock that jumps, because the camera was restarted, its counter wrapped or a recording
    began again, starts a new estimate.
    """

    def __init__(self) -> None:
        # (arrival, offset), offsets rising: the first is the smallest of the window.
        self._offsets: deque[tuple[float, float]] = deque()
        self._last: tuple[float, float] | None = None

    def observe(self, device_ms: float, arrived_ms: float) -> float:
        """Take in one arrival and return the offset to add to this device's times.

        Args:
            device_ms: The latest time stamp of the frames that arrived, on the device's clock.
            arrived_ms: Time at which they arrived, in milliseconds of `time.monotonic`.

        Returns:
            Milliseconds; `device_ms` plus it is never later than `arrived_ms`.
        """
        if self._last is not None and self._jumped(device_ms, arrived_ms):
            self._offsets.clear()
        self._last = (device_ms, arrived_ms)
        offset = arrived_ms - device_ms
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((arrived_ms, offset))
        while self._offsets[0][0] < arrived_ms - _WINDOW_MS:
            self._offsets.popleft()
        return self._offsets[0][1]

    def _jumped(self, device_ms: float, arrived_ms: float) -> bool:
        """Return whether the device's clock moved back, or ahead by more than time allows."""
        assert self._last is not None  # noqa: S101 - the caller has checked
        device_step = device_ms - self._last[0]
        # Frames queued before the last arrival may follow it at once, so they get a second.
        return device_step < 0.0 or device_step > (arrived_ms - self._last[1]) + 1000.0
