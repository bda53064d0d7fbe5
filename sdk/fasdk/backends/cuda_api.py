"""Protocols of the CUDA calls of the TensorRT runtime, from memory to graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CudaDevice:
    """GPU that a plan is bound to.

    Attributes:
        name: Name of the GPU as the driver gives it, such as "Orin".
        compute_capability: Compute capability of the GPU, such as "8.7".
        driver_version: Newest CUDA version the driver knows, such as "12.6".
        uuid: UUID of this very GPU in 32 hexadecimal digits, or "" where the driver gives none.
    """

    name: str
    compute_capability: str
    driver_version: str
    uuid: str = ""


class DeviceBuffer(Protocol):
    """Device memory."""

    @property
    def address(self) -> int:
        """Where it is, on the device."""
        ...

    def free(self) -> None:
        """Release it; the context must be current and no work may use it."""
        ...


class HostBuffer(Protocol):
    """Page-locked host memory, which alone copies asynchronously."""

    @property
    def array(self) -> NDArray[np.float32]:
        """The memory, float32 and contiguous."""
        ...

    def free(self) -> None:
        """Release it; the context must be current.

        The memory itself goes with the last view of it, so that none is ever left dangling.
        """
        ...


class CudaStream(Protocol):
    """An ordered queue of device work."""

    @property
    def handle(self) -> int:
        """The driver's own handle."""
        ...

    def synchronize(self) -> None:
        """Wait until all of it is done; faults of that work surface here."""
        ...

    def free(self) -> None:
        """Release it; the context must be current and no work be left in it."""
        ...


class CudaEvent(Protocol):
    """A mark in a stream."""

    def record(self, stream: CudaStream) -> None:
        """Put the mark behind all that is enqueued so far."""
        ...

    def synchronize(self) -> None:
        """Sleep until the stream has passed the mark; faults of its work surface here."""
        ...

    def free(self) -> None:
        """Release it; the context must be current."""
        ...


class CudaMarks(Protocol):
    """Marks in a stream that the device times as it passes them, also those inside a graph."""

    def record(self, index: int, stream: CudaStream) -> None:
        """Put a mark behind all that is enqueued, or captured, so far.

        Raises:
            BackendError: The driver refuses, or the device is lost.
        """
        ...

    def elapsed_ms(self) -> tuple[float, ...]:
        """Return the time from each mark to the next, in milliseconds, once all were passed.

        Raises:
            BackendError: A mark was not recorded or not passed, or the device is lost.
        """
        ...

    def free(self) -> None:
        """Release them; the context must be current."""
        ...


class CudaGraph(Protocol):
    """Work recorded once, to be launched whole."""

    def launch(self, stream: CudaStream) -> None:
        """Enqueue all of it.

        Raises:
            BackendError: The driver refuses, or the device is lost.
        """
        ...

    def free(self) -> None:
        """Release it; the context must be current and no launch of it under way."""
        ...


class CudaDriver(Protocol):
    """One GPU. Every call, `current` excepted, needs its context to be current.

    Attributes:
        device: GPU that the driver uses.
    """

    device: CudaDevice

    def current(self) -> AbstractContextManager[None]:
        """Make the device's primary context current on this thread while the block runs.

        Raises:
            BackendError: The device is lost; also for any CUDA fault inside the block.
        """
        ...

    def stream(self) -> CudaStream:
        """Return a new stream, independent of every other."""
        ...

    def event(self) -> CudaEvent:
        """Return a new event, whose waiters sleep instead of spinning."""
        ...

    def marks(self, count: int) -> CudaMarks:
        """Return new timed marks."""
        ...

    def device_buffer(self, size_bytes: int) -> DeviceBuffer:
        """Allocate device memory; its content is undefined."""
        ...

    def host_buffer(self, shape: tuple[int, ...]) -> HostBuffer:
        """Allocate page-locked float32 host memory; its content is undefined."""
        ...

    def copy_to_device(
        self, target: DeviceBuffer, source: NDArray[np.float32], stream: CudaStream
    ) -> None:
        """Enqueue a copy of a contiguous part of a HostBuffer; leave it alone until it is done."""
        ...

    def copy_to_host(
        self, target: NDArray[np.float32], source: DeviceBuffer, stream: CudaStream
    ) -> None:
        """Enqueue a copy into a contiguous part of a HostBuffer; it holds nothing until done."""
        ...

    def fill_with_nan(self, target: DeviceBuffer, values: int, stream: CudaStream) -> None:
        """Enqueue making the first float32 `values` of a buffer NaN."""
        ...

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> CudaGraph:
        """Record what `work` enqueues on `stream` on this thread, without running it.

        Raises:
            BackendError: It cannot be recorded. The stream is as it was before, unless the device
                is lost.
        """
        ...
