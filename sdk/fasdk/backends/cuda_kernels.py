"""Kernels on pycuda's streams, loaded and launched through the driver's C API.

pycuda's calls of a kernel also set its block's shape as a state of the function, which lanes share.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from fasdk.backends.cuda_library import call, error_name, optional_result, result
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from fasdk.backends.cuda_api import CudaDevice, CudaFunction, CudaStream

_INVALID_VALUE = 1  # CUDA_ERROR_INVALID_VALUE
_NO_BINARY_FOR_GPU = 209  # CUDA_ERROR_NO_BINARY_FOR_GPU
_NOT_FOUND = 500  # CUDA_ERROR_NOT_FOUND
# The list that cuLaunchKernel takes: pairs of a name and a value, then an end.
_LAUNCH_PARAM_END, _LAUNCH_PARAM_BUFFER_POINTER, _LAUNCH_PARAM_BUFFER_SIZE = 0, 1, 2
_Extra = ctypes.c_void_p * 5


class DriverFunction:
    """A kernel; see `fasdk.backends.cuda_api.CudaFunction`.

    Args:
        name: Name of its entry point.
        handle: The driver's CUfunction.
    """

    def __init__(self, name: str, handle: int) -> None:
        self._name = name
        self._handle: int | None = handle

    @property
    def name(self) -> str:
        """Name of its entry point."""
        return self._name

    @property
    def handle(self) -> int:
        """The driver's own handle.

        Raises:
            BackendError: Its module was freed.
        """
        if self._handle is None:
            raise BackendError(f"the kernel {self._name} was released with its module")
        return self._handle

    def parameters(self) -> tuple[tuple[int, int], ...] | None:
        """Return offset and size of every parameter; see `CudaFunction.parameters`."""
        found: list[tuple[int, int]] = []
        offset, size_bytes = ctypes.c_size_t(), ctypes.c_size_t()
        while True:
            places = ctypes.byref(offset), ctypes.byref(size_bytes)
            code = optional_result("cuFuncGetParamInfo", self.handle, len(found), *places)
            if code is None:
                return None
            if code == _INVALID_VALUE:  # the index is past the last one
                return tuple(found)
            if code != 0:
                raise BackendError(
                    f"the kernel {self._name} does not say what it takes: {error_name(code)}"
                )
            found.append((offset.value, size_bytes.value))

    def release(self) -> None:
        """Forget the handle, which goes with the module."""
        self._handle = None


class DriverModule:
    """Kernels of one image; see `fasdk.backends.cuda_api.CudaModule`. The context must be current.

    Args:
        image: A fatbin, a cubin, or PTX.
        device: GPU that is to run them.

    Raises:
        BackendError: It holds no code for this GPU, is damaged, or the device is lost.
    """

    def __init__(self, image: bytes, device: CudaDevice) -> None:
        handle = ctypes.c_void_p()
        # PTX is text, which the driver reads up to a zero.
        code = result("cuModuleLoadData", ctypes.byref(handle), image + b"\0")
        if code == _NO_BINARY_FOR_GPU:
            raise BackendError(
                f"the kernels hold no code for {device.name} "
                f"(compute capability {device.compute_capability})"
            )
        if code != 0:
            raise BackendError(f"the kernels cannot be loaded: {error_name(code)}")
        self._handle: int | None = handle.value
        self._functions: dict[str, DriverFunction] = {}

    def function(self, name: str) -> DriverFunction:
        """Return a kernel by name; see `CudaModule.function`."""
        if self._handle is None:
            raise BackendError("these kernels were released")
        known = self._functions.get(name)
        if known is not None:
            return known
        handle = ctypes.c_void_p()
        code = result("cuModuleGetFunction", ctypes.byref(handle), self._handle, name.encode())
        if code == _NOT_FOUND:
            raise BackendError(f"there is no kernel {name} among those that were loaded")
        if code != 0:
            raise BackendError(f"the kernel {name} cannot be had: {error_name(code)}")
        return self._functions.setdefault(name, DriverFunction(name, handle.value or 0))

    def free(self) -> None:
        """Release it; a second call does nothing."""
        handle, self._handle = self._handle, None
        for function in self._functions.values():
            function.release()
        self._functions.clear()
        if handle is not None:
            call("cuModuleUnload", handle)


def launch(
    function: CudaFunction,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    arguments: bytes,
    stream: CudaStream,
) -> None:
    """Enqueue, or capture, a kernel; see `CudaDriver.launch`.

    Raises:
        BackendError: The driver refuses it, the device is lost, or the function is another
            driver's.
    """
    if not isinstance(function, DriverFunction):
        raise BackendError(f"{type(function).__name__} is not a kernel of this driver")
    size_bytes = ctypes.c_size_t(len(arguments))
    extra = _Extra(
        _LAUNCH_PARAM_BUFFER_POINTER,
        ctypes.cast(ctypes.c_char_p(arguments), ctypes.c_void_p),
        _LAUNCH_PARAM_BUFFER_SIZE,
        ctypes.cast(ctypes.byref(size_bytes), ctypes.c_void_p),
        _LAUNCH_PARAM_END,
    )
    handle, shared_memory_bytes = function.handle, 0
    code = result(
        "cuLaunchKernel", handle, *grid, *block, shared_memory_bytes, stream.handle, None, extra
    )
    if code != 0:
        raise BackendError(f"the kernel {function.name} was not launched: {error_name(code)}")
