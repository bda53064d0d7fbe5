"""Calls of CUDA's driver library that pycuda lacks, by ctypes."""

from __future__ import annotations

import ctypes
from functools import cache

from fasdk.errors import BackendError

_LIBRARY = "libcuda.so.1"
_HANDLE = ctypes.c_void_p
_OUT = ctypes.POINTER(ctypes.c_void_p)
_INT = ctypes.POINTER(ctypes.c_int)
_FLOAT = ctypes.POINTER(ctypes.c_float)
_SIGNATURES: dict[str, list[type]] = {
    "cuStreamBeginCapture_v2": [_HANDLE, ctypes.c_int],
    "cuStreamEndCapture": [_HANDLE, _OUT],
    "cuStreamIsCapturing": [_HANDLE, _INT],
    "cuGraphInstantiateWithFlags": [_OUT, _HANDLE, ctypes.c_ulonglong],
    "cuGraphLaunch": [_HANDLE, _HANDLE],
    "cuGraphExecDestroy": [_HANDLE],
    "cuGraphDestroy": [_HANDLE],
    "cuEventCreate": [_OUT, ctypes.c_uint],
    "cuEventDestroy_v2": [_HANDLE],
    "cuEventRecordWithFlags": [_HANDLE, _HANDLE, ctypes.c_uint],
    "cuEventElapsedTime": [_FLOAT, _HANDLE, _HANDLE],
    "cuModuleLoadData": [_OUT, ctypes.c_char_p],
    "cuModuleGetFunction": [_OUT, _HANDLE, ctypes.c_char_p],
    "cuModuleUnload": [_HANDLE],
    "cuLaunchKernel": [_HANDLE, *[ctypes.c_uint] * 7, _HANDLE, _HANDLE, _HANDLE],
    "cuGetErrorName": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
}
_SIZE = ctypes.POINTER(ctypes.c_size_t)
# Calls that older drivers lack.
_OPTIONAL: dict[str, list[type]] = {
    "cuFuncGetParamInfo": [_HANDLE, ctypes.c_size_t, _SIZE, _SIZE],  # CUDA 12.4
}


def call(name: str, *arguments: object) -> None:
    """Call a function of the driver.

    Raises:
        BackendError: It did not succeed, or the driver lacks it.
    """
    code = result(name, *arguments)
    if code != 0:
        raise BackendError(f"CUDA failed: {name} gave {error_name(code)}")


def result(name: str, *arguments: object) -> int:
    """Call a function of the driver and return its CUresult.

    Raises:
        BackendError: The driver lacks it.
    """
    return int(getattr(_driver(), name)(*arguments))


def optional_result(name: str, *arguments: object) -> int | None:
    """Call a function that older drivers lack; return its CUresult, or None where it is not there.

    Raises:
        BackendError: There is no driver.
    """
    function = getattr(_driver(), name, None)
    return None if function is None else int(function(*arguments))


def error_name(code: int) -> str:
    """Return the name of a CUresult, such as CUDA_ERROR_OUT_OF_MEMORY."""
    name = ctypes.c_char_p()
    known = result("cuGetErrorName", code, ctypes.byref(name)) == 0 and name.value
    return name.value.decode() if known and name.value else f"CUresult {code}"


@cache
def _driver() -> ctypes.CDLL:
    """Load the driver pycuda is linked to; the loader knows it by this name already."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, ctypes.c_int
        for name, arguments in _OPTIONAL.items():
            if hasattr(library, name):
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, ctypes.c_int
    except (OSError, AttributeError) as error:
        raise BackendError(
            f"cannot use {_LIBRARY} ({error}): install a driver for CUDA 11.4 or later"
        ) from error
    return library
