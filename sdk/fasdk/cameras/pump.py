"""Reader thread for drivers that may block, so that the caller's wait has a limit."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fasdk.capture import monotonic_ms
from fasdk.errors import CameraError, FasdkError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True)
class Arrival(Generic[T]):
    """One thing the device gave, and when, in milliseconds of `time.monotonic`."""

    value: T
    arrived_ms: float


class Pump(Generic[T]):
    """Holds the newest frame not yet read; an older one is dropped, and each is returned once.

    The thread opens the device, reads it and releases it, because drivers may block in any of
    these. One that blocks for ever holds this one thread and nothing else.

    Args:
        open_device: Function that opens the device on the thread and returns it.
        grab: Returns the device's next frame, however long that takes, or None for one to pass
            over. A FasdkError it raises, or `open_device`, ends the thread and is what `take`
            raises.
        release: Function that releases the device on the thread at the end, if it was opened.
        name: Name of the device in errors.
        keeps_each: Returns whether an open device is a recording, each of whose frames waits until
            it is taken, instead of being dropped.
        stopping: Set when the thread is to release the device: an opening that takes long may look
            at it.

    Attributes:
        overwritten: Frames dropped unread since they were last collected.
        is_open: Whether the device has been opened.
    """

    def __init__(
        self,
        open_device: Callable[[], Any],
        grab: Callable[[Any], T | None],
        release: Callable[[Any], None],
        name: str,
        *,
        keeps_each: Callable[[Any], bool] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._open_device, self._grab, self._release = open_device, grab, release
        self._name = name
        self._is_recording = keeps_each
        self._keeps_each = False
        self._changed = threading.Condition()
        self._newest: Arrival[T] | None = None
        self._error: FasdkError | None = None
        self._stopping = stopping or threading.Event()
        self.overwritten = 0
        self.is_open = False
        self._thread = threading.Thread(target=self._run, name=f"fasdk {name}", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread still holds the device."""
        return self._error is None and self._thread.is_alive()

    def take(self, timeout_ms: float) -> Arrival[T]:
        """Wait for a frame that arrived at most `timeout_ms` ago and was not taken before.

        Raises:
            CameraError: None came in time, or the device failed.
        """
        deadline_ms = monotonic_ms() + timeout_ms
        with self._changed:
            while True:
                now = monotonic_ms()
                newest, self._newest = self._newest, None
                if newest is not None:
                    if self._keeps_each or newest.arrived_ms >= now - timeout_ms:
                        self._changed.notify_all()
                        return newest
                    self.overwritten += 1  # it waited too long: what it shows is over
                if self._error is not None:
                    raise self._error
                if now >= deadline_ms:
                    raise CameraError(
                        f"no frame from {self._name} within {timeout_ms:.0f} ms: is it connected, "
                        "and does it deliver frames?"
                    )
                self._changed.wait((deadline_ms - now) / 1000.0)

    def collect_overwritten(self) -> int:
        """Return how many frames were dropped unread since the last call."""
        with self._changed:
            count, self.overwritten = self.overwritten, 0
        return count

    def stop(self, wait_ms: float) -> None:
        """Ask the thread to release the device, and wait at most that long until it has."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._thread.join(wait_ms / 1000.0)

    def _run(self) -> None:
        try:
            device = self._open_device()
            self._keeps_each = self._is_recording is not None and self._is_recording(device)
            self.is_open = True
            try:
                while not self._stopping.is_set():
                    value = self._grab(device)
                    if value is not None:
                        self._put(Arrival(value, monotonic_ms()))
            finally:
                self._release(device)
        except FasdkError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a driver's fault must reach who waits for it
            self._fail(CameraError(f"{self._name} failed: {type(error).__name__}: {error}"))

    def _put(self, arrival: Arrival[T]) -> None:
        with self._changed:
            while self._keeps_each and self._newest is not None and not self._stopping.is_set():
                self._changed.wait()
            self.overwritten += self._newest is not None
            self._newest = arrival
            self._changed.notify_all()

    def _fail(self, error: FasdkError) -> None:
        """Keep the error for the next read; the device was released before."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
