"""Timed marks in CUDA streams and graphs, through the driver's C API.

pycuda's events lead to none of the driver's own handles, and a mark inside a graph needs one.
"""

from __future__ import annotations

import ctypes
from itertools import pairwise
from typing import TYPE_CHECKING

from fasdk.backends.cuda_library import call, result
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from fasdk.backends.cuda_api import CudaStream

_BLOCKING_SYNC = 1  # CU_EVENT_BLOCKING_SYNC; timing is on without CU_EVENT_DISABLE_TIMING
_NOT_CAPTURING = 0  # CU_STREAM_CAPTURE_STATUS_NONE
# CU_EVENT_RECORD_EXTERNAL: a node of the graph, recorded again by each launch. Refused elsewhere.
_DEFAULT, _EXTERNAL = 0, 1


class DriverMarks:
    """Events of one lane; see `fasdk.backends.cuda_api.CudaMarks`. The context must be current.

    Args:
        count: Number of marks.

    Raises:
        BackendError: The driver refuses an event.
    """

    def __init__(self, count: int) -> None:
        self._events: list[int] = []
        try:
            while len(self._events) < count:
                event = ctypes.c_void_p()
                call("cuEventCreate", ctypes.byref(event), _BLOCKING_SYNC)
                self._events.append(event.value or 0)
        except BackendError:
            self.free()
            raise

    def record(self, index: int, stream: CudaStream) -> None:
        """Put a mark into a stream, or into what it captures; see `CudaMarks.record`."""
        status = ctypes.c_int()
        call("cuStreamIsCapturing", stream.handle, ctypes.byref(status))
        flags = _DEFAULT if status.value == _NOT_CAPTURING else _EXTERNAL
        call("cuEventRecordWithFlags", self._events[index], stream.handle, flags)

    def elapsed_ms(self) -> tuple[float, ...]:
        """Return the time from each mark to the next; see `CudaMarks.elapsed_ms`."""
        elapsed = []
        for start, end in pairwise(self._events):
            spent_ms = ctypes.c_float()
            call("cuEventElapsedTime", ctypes.byref(spent_ms), start, end)
            elapsed.append(spent_ms.value)
        return tuple(elapsed)

    def free(self) -> None:
        """Release the events; a second call does nothing."""
        while self._events:
            result("cuEventDestroy_v2", self._events.pop())
