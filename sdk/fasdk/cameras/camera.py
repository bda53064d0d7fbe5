"""Camera protocol: one fresh capture a read, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fasdk.errors import EndOfStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from fasdk.capture import Capture
    from fasdk.registration import Rig

READ_TIMEOUT_MS = 1000.0


@dataclass
class FrameCounts:
    """Counts of a camera's captures since it was made.

    Attributes:
        delivered: Captures that `read` returned.
        dropped: Captures that were never read: the caller was slower than the camera,
            a frame number was skipped, or a modality of the set was absent.
    """

    delivered: int = 0
    dropped: int = 0


class Camera(Protocol):
    """A source of captures; used as a context manager, from one thread at a time.

    A camera opens its device at the first read, and again at the first read after a fault: a
    caller reconnects by reading on, with a pause between tries. `close` is final.

    Attributes:
        name: Name in logs and errors.
        counts: Counts of delivered and dropped captures.
    """

    name: str
    counts: FrameCounts

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Wait for a capture that was not returned before.

        Args:
            timeout_ms: Longest wait, in milliseconds; a device is opened within the call.

        Returns:
            A capture whose `taken_ms` names every modality it holds. Its arrays are the caller's:
            no later read writes into them.

        Raises:
            EndOfStreamError: A recording is over.
            BadCaptureError: A recording's next capture cannot be read, and is passed over: the
                read after it needs no pause.
            UnreadableRecordingError: A recording cannot be read; no later read would help.
            CameraError: No such device, it stopped, or no capture came in time. The next read
                tries again.
        """
        ...

    def close(self) -> None:
        """Release the device; a second call does nothing, a later read raises CameraError."""
        ...

    def identity(self) -> str:
        """Return the one name of what it reads, whichever of its names it was made with.

        Attempts are counted by it, as in `liveness.track(camera.identity())`. It holds no password.
        """
        return self.name

    def rig(self) -> Rig | None:
        """Return how its sensors stand to each other, as far as the device knows.

        Returns:
            None where all frames show one view, and before the first read.

        Raises:
            RigError: The device's calibration cannot be expressed.
        """
        return None

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the camera."""
        self.close()

    def __iter__(self) -> Iterator[Capture]:
        """Yield captures until a recording is over; any other CameraError is raised."""
        while True:
            try:
                capture = self.read()
            except EndOfStreamError:
                return
            yield capture
