"""CUDA driver on pycuda."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.cuda_api import CudaDevice
from fasdk.backends.cuda_graph import capture
from fasdk.backends.cuda_kernels import DriverModule, launch
from fasdk.backends.cuda_marks import DriverMarks
from fasdk.backends.cuda_uuid import gpu_uuid
from fasdk.errors import BackendError
from fasdk.extras import how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import DTypeLike, NDArray

    from fasdk.backends.cuda_api import (
        CudaEvent,
        CudaFunction,
        CudaGraph,
        CudaMarks,
        CudaModule,
        CudaStream,
        DeviceBuffer,
        HostBuffer,
    )

# CU_STREAM_NON_BLOCKING: no wait on, or of, the legacy default stream. Work another library puts
# there would otherwise serialize the lanes and invalidate a capture under way.
_NON_BLOCKING = 1
_NAN_BITS = 0x7FC00000


# pycuda destroys an object wherever its last reference goes. Where the context cannot be made
# current then, it leaks (another thread), or the process is aborted (a lost device). So whatever is
# made stays here until it is freed with the context current; else until the process ends, when the
# reference taken below keeps even the interpreter's last clean-up away from it.
_KEPT: dict[int, Any] = {}
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_KEPT))


class _Native:
    """Something of pycuda's, which exists until it is freed."""

    def __init__(self, native: Any) -> None:
        self._native: Any = native
        _KEPT[id(native)] = native

    @property
    def native(self) -> Any:
        if self._native is None:
            raise BackendError(f"this {type(self).__name__.lstrip('_')} was released")
        return self._native

    def free(self) -> None:
        del _KEPT[id(self.native)]
        self._native = None


class _Stream(_Native):
    @property
    def handle(self) -> int:
        return int(self.native.handle)

    def synchronize(self) -> None:
        self.native.synchronize()


class _Event(_Native):
    def record(self, stream: CudaStream) -> None:
        self.native.record(_native_stream(stream))

    def synchronize(self) -> None:
        self.native.synchronize()


class _DeviceBuffer(_Native):
    @property
    def address(self) -> int:
        return int(self.native)

    def free(self) -> None:
        self.native.free()
        super().free()


class _HostBuffer(_Native):
    # Its free() is not pycuda's own: a view still held would write into released memory.
    def __init__(self, native: Any, *, mapped: bool) -> None:
        super().__init__(native)
        self._device_address = int(native.base.get_device_pointer()) if mapped else None

    @property
    def array(self) -> NDArray[Any]:
        array: NDArray[Any] = self.native
        return array

    @property
    def device_address(self) -> int:
        _ = self.native  # raises once released
        if self._device_address is None:
            raise BackendError(
                "this page-locked memory is not mapped: allocate it with mapped=True"
            )
        return self._device_address


class PyCudaDriver:
    """pycuda on the primary context, the one that TensorRT and every other CUDA library share.

    `pycuda.autoinit` would make a context of its own, in which TensorRT's handles are invalid.

    Args:
        ordinal: Index of the GPU, from 0.

    Raises:
        BackendError: pycuda is not installed, there is no driver, or no such GPU.
    """

    def __init__(self, ordinal: int = 0) -> None:
        try:
            native: Any = import_module("pycuda.driver")
        except (ImportError, OSError) as error:
            raise BackendError(
                f"cannot import pycuda, which a TensorRT backend needs ({error}): "
                f"{how_to_install('cuda')}"
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
                uuid=gpu_uuid(ordinal),
                is_integrated=bool(gpu.get_attribute(native.device_attribute.INTEGRATED)),
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
        return _Stream(self._native.Stream(_NON_BLOCKING))

    def event(self) -> CudaEvent:
        """See `CudaDriver.event`."""
        flags = self._native.event_flags
        return _Event(self._native.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING))

    def marks(self, count: int) -> CudaMarks:
        """See `CudaDriver.marks`."""
        return DriverMarks(count)

    def device_buffer(self, size_bytes: int) -> DeviceBuffer:
        """See `CudaDriver.device_buffer`."""
        return _DeviceBuffer(self._native.mem_alloc(size_bytes))

    def host_buffer(
        self, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, mapped: bool = False
    ) -> HostBuffer:
        """See `CudaDriver.host_buffer`."""
        flags = self._native.host_alloc_flags.DEVICEMAP if mapped else 0
        array = self._native.pagelocked_empty(shape, dtype, mem_flags=flags)
        return _HostBuffer(array, mapped=mapped)

    def copy_to_device(
        self,
        target: DeviceBuffer,
        source: NDArray[Any],
        stream: CudaStream,
        offset_bytes: int = 0,
    ) -> None:
        """See `CudaDriver.copy_to_device`."""
        address = target.address + offset_bytes
        self._native.memcpy_htod_async(address, source, _native_stream(stream))

    def copy_to_host(self, target: NDArray[Any], source: DeviceBuffer, stream: CudaStream) -> None:
        """See `CudaDriver.copy_to_host`."""
        self._native.memcpy_dtoh_async(target, source.address, _native_stream(stream))

    def fill_with_nan(self, target: DeviceBuffer, values: int, stream: CudaStream) -> None:
        """See `CudaDriver.fill_with_nan`."""
        self._native.memset_d32_async(target.address, _NAN_BITS, values, _native_stream(stream))

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> CudaGraph:
        """See `CudaDriver.capture`."""
        try:
            return capture(stream, work)
        except self._native.Error as error:
            raise BackendError(f"CUDA cannot record a graph: {error}") from error

    def module(self, image: bytes) -> CudaModule:
        """See `CudaDriver.module`."""
        return DriverModule(image, self.device)

    def launch(
        self,
        function: CudaFunction,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: bytes,
        stream: CudaStream,
    ) -> None:
        """See `CudaDriver.launch`."""
        launch(function, grid, block, arguments, stream)


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
