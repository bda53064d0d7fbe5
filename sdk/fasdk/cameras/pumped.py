"""Base of cameras that a thread of their own reads: opened at a read, and again after a fault."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from fasdk.cameras.camera import Camera, FrameCounts
from fasdk.capture import monotonic_ms
from fasdk.errors import CameraError

if TYPE_CHECKING:
    from fasdk.cameras.pump import Arrival, Pump

T = TypeVar("T")
_REOPEN_AFTER_MS = 5000.0
_RELEASE_WAIT_MS = 2000.0


class PumpedCamera(Camera, Generic[T]):
    """A camera whose driver may block: a pump opens and reads it, so every wait has a limit.

    Args:
        name: Name in logs and errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = FrameCounts()
        self._pump: Pump[T] | None = None
        self._stuck: Pump[T] | None = None
        self._last_frame_ms = 0.0
        self._closed = False

    @abstractmethod
    def _start_pump(self) -> Pump[T]:
        """Return a pump that opens the device."""

    def _patience_ms(self, *, is_open: bool) -> float:  # noqa: ARG002 - for those that differ
        """Return after how long without a frame the device is opened anew, in milliseconds."""
        return _REOPEN_AFTER_MS

    def _take(self, timeout_ms: float) -> Arrival[T]:
        """Return the next frame, and count it.

        Raises:
            CameraError: The device cannot be opened, stopped, or gave nothing in time. After a
                failure, or long without a frame, the next call opens it again.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        pump = self._running_pump()
        try:
            arrival = pump.take(timeout_ms)
        except CameraError:
            quiet_ms = monotonic_ms() - self._last_frame_ms
            if not pump.is_running or quiet_ms > self._patience_ms(is_open=pump.is_open):
                pump.stop(0.0)
                self._stuck = pump if pump.is_running else None
                self._pump = None
            raise
        finally:
            self.counts.dropped += pump.collect_overwritten()
        self._last_frame_ms = monotonic_ms()
        self.counts.delivered += 1
        return arrival

    def close(self) -> None:
        """Release the device; a driver that does not let go within two seconds is left behind."""
        self._closed = True
        if self._pump is not None:
            self._pump.stop(_RELEASE_WAIT_MS)
            self._pump = None

    def _running_pump(self) -> Pump[T]:
        if self._pump is None:
            if self._stuck is not None and self._stuck.is_running:
                raise CameraError(
                    f"{self.name} hangs in its driver and cannot be opened again: unplug it, or "
                    "restart this process"
                )
            self._stuck = None
            self._last_frame_ms = monotonic_ms()
            self._pump = self._start_pump()
        return self._pump
