"""The little of CUDA the runtime needs: memory, a stream, copies; and pycuda's form of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CudaDevice:
    """Which GPU, for what a plan is bound to.

    Attributes:
        name: As the driver calls it, such as "Orin".
        compute_capability: Its generation, such as "8.7".
        driver_version: Newest CUDA version the driver knows, such as "12.6".
    """

    name: str
    compute_capability: str
    driver_version: str


class DeviceBuffer(Protocol):
    """Device memory."""

    @property
    def address(self) -> int:
        """Where it is, on the device."""
        ...

    def free(self) -> None:
        """Give it back; the context must be current and no work may use it."""
        ...


class HostBuffer(Protocol):
    """Page-locked host memory, which alone copies asynchronously."""

    @property
    def array(self) -> NDArray[np.float32]:
        """The memory, float32 and contiguous."""
        ...

    def free(self) -> None:
        """Give it back; `array` may not be used afterwards."""
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


class CudaDriver(Protocol):
    """One GPU. Every call, `current` excepted, needs its context to be current.

    Attributes:
        device: Which GPU.
    """

    device: CudaDevice

    def current(self) -> AbstractContextManager[None]:
        """Make the device's primary context current on this thread while the block runs.

        Raises:
            BackendError: The device is lost; also for any CUDA fault inside the block.
        """
        ...

    def stream(self) -> CudaStream:
        """Return a new stream."""
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


@dataclass(frozen=True)
class _Stream:
    native: Any

    @property
    def handle(self) -> int:
        return int(self.native.handle)

    def synchronize(self) -> None:
        self.native.synchronize()


@dataclass(frozen=True)
class _DeviceBuffer:
    native: Any

    @property
    def address(self) -> int:
        return int(self.native)

    def free(self) -> None:
        self.native.free()


@dataclass(frozen=True)
class _HostBuffer:
    array: NDArray[np.float32]

    def free(self) -> None:
        allocation: Any = self.array.base
        allocation.free()


class PyCudaDriver:
    """pycuda on the primary context, the one that TensorRT and every other CUDA library share.

    `pycuda.autoinit` would make a context of its own, in which TensorRT's handles are invalid.

    Args:
        ordinal: Which GPU, from 0.

    Raises:
        BackendError: pycuda is not installed, there is no driver, or no such GPU.
    """

    def __init__(self, ordinal: int = 0) -> None:
        try:
            native: Any = import_module("pycuda.driver")
        except (ImportError, OSError) as error:
            raise BackendError(
                f"cannot import pycuda, which a TensorRT backend needs ({error}): "
                "`pip install fasdk[cuda]`"
            ) from error
        self._native = native
        try:
            native.init()
            gpu = native.Device(ordinal)
            self._context = _primary_context(ordinal)
            major, minor = gpu.compute_capability()
            driver = int(native.get_driver_version())
            self.device = CudaDevice(
                name=str(gpu.name()),
                compute_capability=f"{major}.{minor}",
                driver_version=f"{driver // 1000}.{driver % 1000 // 10}",
            )
        except native.Error as error:
            raise BackendError(f"cannot use GPU {ordinal}: {error}") from error

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `CudaDriver.current`."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._native.Context.pop()
        except self._native.Error as error:
            raise BackendError(f"CUDA failed on {self.device.name}: {error}") from error

    def stream(self) -> CudaStream:
        """See `CudaDriver.stream`."""
        return _Stream(self._native.Stream())

    def device_buffer(self, size_bytes: int) -> DeviceBuffer:
        """See `CudaDriver.device_buffer`."""
        return _DeviceBuffer(self._native.mem_alloc(size_bytes))

    def host_buffer(self, shape: tuple[int, ...]) -> HostBuffer:
        """See `CudaDriver.host_buffer`."""
        return _HostBuffer(self._native.pagelocked_empty(shape, "float32"))

    def copy_to_device(
        self, target: DeviceBuffer, source: NDArray[np.float32], stream: CudaStream
    ) -> None:
        """See `CudaDriver.copy_to_device`."""
        self._native.memcpy_htod_async(target.address, source, _native_stream(stream))

    def copy_to_host(
        self, target: NDArray[np.float32], source: DeviceBuffer, stream: CudaStream
    ) -> None:
        """See `CudaDriver.copy_to_host`."""
        self._native.memcpy_dtoh_async(target, source.address, _native_stream(stream))


def _native_stream(stream: CudaStream) -> Any:
    if not isinstance(stream, _Stream):
        raise BackendError(f"{type(stream).__name__} is not a stream of this driver")
    return stream.native


@cache
def _primary_context(ordinal: int) -> Any:
    """Retain a GPU's primary context, once and for the life of the process.

    pycuda's release pushes the context and leaves it on the thread's stack, or does nothing on a
    thread other than the one that retained it; the driver frees it with the process in any case.
    """
    native: Any = import_module("pycuda.driver")
    return native.Device(ordinal).retain_primary_context()
