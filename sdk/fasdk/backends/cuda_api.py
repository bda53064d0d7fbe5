"""Protocols of the CUDA calls of the TensorRT runtime, from memory to graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class CudaDevice:
    """GPU that a plan is bound to.

    Attributes:
        name: Name of the GPU as the driver gives it, such as "Orin".
        compute_capability: Compute capability of the GPU, such as "8.7".
        driver_version: Newest CUDA version the driver knows, such as "12.6".
        uuid: UUID of this very GPU in 32 hexadecimal digits, or "" where the driver gives none.
        is_integrated: Whether GPU and CPU share one memory, as on a Jetson, so that the GPU works
            in mapped host memory without copies.
    """

    name: str
    compute_capability: str
    driver_version: str
    uuid: str = ""
    is_integrated: bool = False


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
    def array(self) -> NDArray[Any]:
        """The memory, contiguous and of the dtype that was asked for."""
        ...

    @property
    def device_address(self) -> int:
        """Where mapped memory is, on the device.

        Raises:
            BackendError: It was not allocated as mapped memory.
        """
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


class CudaFunction(Protocol):
    """A kernel of a `CudaModule`, usable until the module is freed."""

    @property
    def name(self) -> str:
        """Name of its entry point."""
        ...

    def parameters(self) -> tuple[tuple[int, int], ...] | None:
        """Return offset and size in bytes of every parameter.

        None where the driver does not say, being older than CUDA 12.4.

        Raises:
            BackendError: Its module was freed, or the device is lost.
        """
        ...


class CudaModule(Protocol):
    """Kernels loaded onto the device."""

    def function(self, name: str) -> CudaFunction:
        """Return a kernel by the name of its entry point.

        Raises:
            BackendError: There is none of that name, or the device is lost.
        """
        ...

    def free(self) -> None:
        """Release it; the context must be current and no launch of its kernels under way."""
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

    def host_buffer(
        self, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, mapped: bool = False
    ) -> HostBuffer:
        """Allocate page-locked host memory; its content is undefined.

        Args:
            shape: Shape of its array.
            dtype: Data type of its array.
            mapped: Whether the device may use it in place, at its `device_address`.
        """
        ...

    def copy_to_device(
        self,
        target: DeviceBuffer,
        source: NDArray[Any],
        stream: CudaStream,
        offset_bytes: int = 0,
    ) -> None:
        """Enqueue a copy of a contiguous part of a HostBuffer; leave it alone until it is done.

        Args:
            target: Memory to copy to.
            source: Array of any dtype.
            stream: Stream that copies.
            offset_bytes: Where in `target` the copy begins.
        """
        ...

    def copy_to_host(self, target: NDArray[Any], source: DeviceBuffer, stream: CudaStream) -> None:
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

    def module(self, image: bytes) -> CudaModule:
        """Load kernels onto the device.

        Args:
            image: A fatbin, a cubin, or PTX.

        Raises:
            BackendError: It holds no code for this GPU, is damaged, or the device is lost.
        """
        ...

    def launch(
        self,
        function: CudaFunction,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: bytes,
        stream: CudaStream,
    ) -> None:
        """Enqueue, or capture, a kernel.

        Args:
            function: Kernel of this driver.
            grid: Number of blocks along x, y and z.
            block: Number of threads of a block along x, y and z.
            arguments: The kernel's parameters, laid out as in a C struct.
            stream: Stream that runs it.

        Raises:
            BackendError: The driver refuses it, or the device is lost. A fault of the kernel
                itself surfaces where the stream is waited for.
        """
        ...
