"""Answers about the GPU, in the child process: driver and preprocessing kernels."""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import Any

from fasdk.errors import BackendError

_SUCCESS = 0
_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def gpu() -> dict[str, Any]:
    """Return what CUDA's driver library knows and which GPUs it shows, without a context."""
    from fasdk.backends import cuda_library

    number = ctypes.c_int()
    try:
        cuda_library.call("cuDriverGetVersion", ctypes.byref(number))
    except (BackendError, AttributeError) as error:
        return {"error": str(error)}
    found: dict[str, Any] = {
        "cuda": f"{number.value // 1000}.{number.value % 1000 // 10}",
        "gpus": [],
        "pycuda": _pycuda(),
    }
    try:
        cuda_library.call("cuInit", 0)
        count = ctypes.c_int()
        cuda_library.call("cuDeviceGetCount", ctypes.byref(count))
        found["gpus"] = [_gpu(ordinal) for ordinal in range(count.value)]
    except (BackendError, AttributeError) as error:
        found["error"] = str(error)
    return found


def _gpu(ordinal: int) -> str:
    from fasdk.backends import cuda_library

    name = ctypes.create_string_buffer(_NAME_BYTES)
    cuda_library.call("cuDeviceGetName", name, _NAME_BYTES, ordinal)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        cuda_library.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, ordinal)
        numbers.append(value.value)
    shown = name.value.decode("utf-8", "replace")
    return f"{shown}, compute capability {'.'.join(map(str, numbers))}"


def _pycuda() -> str | None:
    """Return the CUDA release that pycuda was compiled with, or None where there is no pycuda."""
    try:
        driver: Any = import_module("pycuda.driver")
        return ".".join(map(str, driver.get_version()[:2]))
    except Exception:  # noqa: BLE001 - whatever is wrong with it is said of the package itself
        return None


def kernels() -> dict[str, Any]:
    """Return where the kernels of device preprocessing would come from, or why there are none."""
    from fasdk.backends.device_kernels import kernels_here

    try:
        return {"source": kernels_here().value}
    except BackendError as error:
        return {"error": str(error)}
