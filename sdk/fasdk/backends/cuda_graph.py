"""CUDA graphs on pycuda's streams, recorded through the driver's C API, which pycuda lacks."""

from __future__ import annotations

import ctypes
import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fasdk.backends.cuda_library import call as _call
from fasdk.backends.cuda_library import result as _result
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fasdk.backends.cuda_api import CudaStream

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other lanes may allocate and capture meanwhile.
_THREAD_LOCAL = 1
_ONE_AT_A_TIME = threading.Lock()


class DriverGraph:
    """An executable graph; see `fasdk.backends.cuda_api.CudaGraph`.

    Args:
        handle: The driver's CUgraphExec.
    """

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def launch(self, stream: CudaStream) -> None:
        """Enqueue all of it; see `CudaGraph.launch`."""
        if self._handle is None:
            raise BackendError("this CUDA graph was released")
        _call("cuGraphLaunch", self._handle, stream.handle)

    def free(self) -> None:
        """Release it; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            _call("cuGraphExecDestroy", handle)


def capture(stream: CudaStream, work: Callable[[], None]) -> DriverGraph:
    """Record what `work` enqueues on `stream`; see `CudaDriver.capture`.

    Raises:
        BackendError: There is no driver, it is too old for graphs, or it refuses.
    """
    with _no_garbage_collection():
        graph = _record(stream, work)
    executable = ctypes.c_void_p()
    try:
        _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    finally:
        _call("cuGraphDestroy", graph)
    return DriverGraph(executable.value or 0)


def _record(stream: CudaStream, work: Callable[[], None]) -> ctypes.c_void_p:
    graph = ctypes.c_void_p()
    _call("cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
    try:
        work()
    except BaseException:
        # Only the end of the capture makes the stream an ordinary one again.
        if _result("cuStreamEndCapture", stream.handle, ctypes.byref(graph)) == 0:
            _result("cuGraphDestroy", graph)
        raise
    _call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
    return graph


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Defer garbage collection: it could free device memory, which invalidates a capture."""
    with _ONE_AT_A_TIME:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()
