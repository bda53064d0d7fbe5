"""UUID of a GPU, read through the driver's C API, which pycuda lacks."""

from __future__ import annotations

import ctypes

_LIBRARY = "libcuda.so.1"
_NAMES = ("cuDeviceGetUuid_v2", "cuDeviceGetUuid")  # the first is of CUDA 11 update 4 and later
_BYTES = 16


def gpu_uuid(ordinal: int) -> str:
    """Return a GPU's UUID as 32 hexadecimal digits, or "" where the driver gives none.

    An instance of a divided GPU (MIG) has a UUID of its own from CUDA 11 update 4 on.

    Args:
        ordinal: Index of the GPU, from 0; the driver must be initialized.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return ""
    for name in _NAMES:
        function = getattr(library, name, None)
        if function is None:
            continue
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_int
        found = (ctypes.c_ubyte * _BYTES)()
        if function(ctypes.byref(found), ordinal) == 0 and any(found):
            return bytes(found).hex()
    return ""
