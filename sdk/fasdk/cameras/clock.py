"""Device clock mapped to milliseconds of `time.monotonic`, which stamps every capture."""

from __future__ import annotations

from collections import deque

_WINDOW_MS = 30_000.0
# A first time that is this much older than the arrival is of another clock.
_PLAUSIBLE_DELAY_MS = 2000.0


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


class PipelineClock:
    """Maps the running times of a live pipeline to `time.monotonic`.

    A source that stamps by the pipeline's clock gives running times that count from the pipeline's
    base time, so base time plus running time is the moment of the frame, whatever its delay since.
    A source with another origin shows by its first frame, which then lies in the future or far in
    the past, or by any later one from the future. Its times go through `DeviceClock`.

    Args:
        base_ms: Base time of the pipeline, in milliseconds of `time.monotonic`.
    """

    def __init__(self, base_ms: float) -> None:
        self._base_ms = base_ms
        self._is_pipelines: bool | None = None
        self._other = DeviceClock()

    def taken_ms(self, running_ms: float | None, arrived_ms: float) -> float:
        """Return the time of a frame in milliseconds of `time.monotonic`, at most its arrival.

        Args:
            running_ms: Running time of the frame in milliseconds; None where it has none.
            arrived_ms: Time at which it arrived, in milliseconds of `time.monotonic`.
        """
        if running_ms is None:
            return arrived_ms
        offset_ms = self._other.observe(running_ms, arrived_ms)
        delay_ms = arrived_ms - self._base_ms - running_ms
        if self._is_pipelines is None:
            self._is_pipelines = delay_ms <= _PLAUSIBLE_DELAY_MS
        self._is_pipelines = self._is_pipelines and delay_ms >= 0.0
        return running_ms + (self._base_ms if self._is_pipelines else offset_ms)
