"""Lane of a TensorRT engine: a stream with its buffers, execution contexts and graphs.

A lane takes one call at a time and shares nothing with other lanes but the loaded plan. TensorRT
has let several execution contexts use one optimization profile at once since 10.0, where profile
sharing is always on.

A CUDA graph holds the copies in, the execution and the copies out of one batch size. TensorRT
promises nothing of a graph whose context was changed after the capture, so every batch size has a
context of its own, whose shapes are set once; they run one after the other and share the lane's
scratch memory.

A lane that times its calls puts marks between the copies and the execution, in its graphs too.

Where CPU and GPU share one memory, inputs and outputs are mapped and nothing is copied.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fasdk.backends.engine import EngineOutputs
from fasdk.backends.tensorrt.close_timeout import CloseTimeout
from fasdk.backends.tensorrt.contexts import Execution
from fasdk.backends.tensorrt.memory import SharedMemory
from fasdk.backends.tensorrt.module import released_on_error
from fasdk.errors import BackendError
from fasdk.telemetry import DeviceTimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fasdk.backends.cuda_api import (
        CudaDriver,
        CudaEvent,
        CudaGraph,
        CudaMarks,
        CudaStream,
        DeviceBuffer,
        HostBuffer,
    )
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.layout import TensorLayout
    from fasdk.backends.tensorrt.module import NativeLog, TensorRt


class Mark(Enum):
    """Places of a timed call, in its order."""

    BEGIN = "begin"
    UPLOADED = "uploaded"
    PREPROCESSED = "preprocessed"
    EXECUTED = "executed"
    DOWNLOADED = "downloaded"


@dataclass(frozen=True)
class _Queue:
    """A stream, and the event that marks the end of a call in it."""

    stream: CudaStream
    done: CudaEvent


class TensorRtLane:
    """A stream, page-locked and device buffers, and what executes on them; see `Lane`.

    Made by `TensorRtEngine.open_lane`. With graphs, opening executes every batch size once, as
    TensorRT asks before a capture, and records it. Where a capture is refused the lane enqueues
    each call, which costs time and nothing else, and logs a warning.

    Attributes:
        max_batch: Largest batch one call may hold.
        inputs: float32 [max_batch, ...] by input name, page-locked; empty once closed.

    Raises:
        BackendError: The device has no memory left, failed, or TensorRT refuses a context.
    """

    _marked: ClassVar[tuple[Mark, ...]] = (
        Mark.BEGIN,
        Mark.UPLOADED,
        Mark.EXECUTED,
        Mark.DOWNLOADED,
    )

    def __init__(
        self,
        trt: TensorRt,
        engine: api.ICudaEngine,
        *,
        layout: TensorLayout,
        max_batch: int,
        driver: CudaDriver,
        log: NativeLog,
        graphs: bool,
        timed: bool,
        name: str,
        on_close: Callable[[TensorRtLane], None],
        profiler: api.IProfiler | None = None,
    ) -> None:
        self.max_batch = max_batch
        self.inputs: dict[str, NDArray[np.float32]] = {}
        self._layout = layout
        self._driver = driver
        self._log = log
        self._name = name
        self._on_close = on_close
        self._profiler = profiler
        self._turn = threading.Lock()
        self._is_open = True
        self._is_released = False
        self._queue: _Queue | None = None
        self._ports: dict[str, SharedMemory] = {}  # by tensor, of the lane's largest batch
        self._held: list[CudaStream | CudaEvent | CudaMarks | DeviceBuffer | HostBuffer] = []
        self._marks: CudaMarks | None = None
        self._scratch: tuple[DeviceBuffer, int] | None = None
        self._executions: dict[int, Execution] = {}
        self._graphs: dict[int, CudaGraph] = {}
        try:
            with released_on_error(), driver.current():
                self._open(trt, engine, graphs=graphs, timed=timed)
        except BaseException:
            self._release()
            raise

    @property
    def uses_graphs(self) -> bool:
        """Whether calls launch recorded graphs."""
        return bool(self._graphs)

    def run(self, batch: int) -> EngineOutputs:
        """Run the first rows; see `Lane.run`."""
        return self._call(batch)

    def _call(self, batch: int, *, from_captures: bool = False) -> EngineOutputs:
        with self._turn:
            if not self._is_open:
                raise BackendError("the lane is closed")
            if not 1 <= batch <= self.max_batch:
                raise BackendError(f"a batch of {batch}, expected 1 to {self.max_batch} captures")
            device = None
            with self._driver.current():
                self._execute(batch, from_captures=from_captures)
                if self._marks is not None:
                    device = self._times(self._marks.elapsed_ms())
            return EngineOutputs.from_named(
                {name: self._ports[name].array[:batch].copy() for name in self._layout.outputs},
                device,
            )

    def layer_information(self, trt: TensorRt, engine: api.ICudaEngine, batch: int) -> str:
        """Return the engine inspector's JSON for the shapes of a batch that was run."""
        with self._turn, self._driver.current():
            inspector = engine.create_engine_inspector()
            inspector.execution_context = self._executions[batch].context
            return inspector.get_engine_information(trt.LayerInformationFormat.JSON)

    def close(self, timeout: CloseTimeout | None = None) -> None:
        """Release the lane's memory once a running call is done; a second call does nothing.

        Args:
            timeout: Time to wait for that call; as `CloseTimeout` says when None. A call that hangs
                keeps the lane's memory, until another close finds it done.
        """
        self._is_open = False
        with (timeout or CloseTimeout()).holding(self._turn) as is_ours:
            if not is_ours:
                self._warn("a lane's call hangs; the lane is abandoned with its memory")
                return
            if self._is_released:
                return
            self._release()
        self._on_close(self)

    def _open(self, trt: TensorRt, engine: api.ICudaEngine, *, graphs: bool, timed: bool) -> None:
        stream = self._driver.stream()
        self._held.append(stream)
        done = self._driver.event()
        self._held.append(done)
        self._queue = _Queue(stream, done)
        for name, shape in (self._layout.inputs | self._layout.outputs).items():
            self._ports[name] = SharedMemory.allocate(
                self._driver, (self.max_batch, *shape), np.float32, self._held.append
            )
        self.inputs = {name: self._ports[name].array for name in self._layout.inputs}
        for rows in self.inputs.values():
            rows.fill(0.0)
        scratch_bytes = int(engine.device_memory_size_v2)
        if scratch_bytes > 0:
            scratch = self._driver.device_buffer(scratch_bytes)
            self._held.append(scratch)
            self._scratch = scratch, scratch_bytes
        if timed:
            self._marks = self._driver.marks(len(self._marked))
            self._held.append(self._marks)
        has_graphs = graphs and self._record_all(trt, engine)
        if graphs and not has_graphs and self._marks is not None:
            self._warn("a lane's calls are not timed on the device; trying graphs without marks")
            self._marks = None
            has_graphs = self._record_all(trt, engine)
        if not has_graphs:
            execution = self._make_execution(trt, engine)
            self._executions = dict.fromkeys(range(1, self.max_batch + 1), execution)

    def _make_execution(self, trt: TensorRt, engine: api.ICudaEngine) -> Execution:
        context = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise BackendError(
                f"{self._name} cannot make an execution context: {self._log.summary()}"
            )
        if self._scratch is not None:
            memory, size_bytes = self._scratch
            context.set_device_memory(memory.address, size_bytes)
        for name, port in self._ports.items():
            if not context.set_tensor_address(name, port.device.address):
                raise BackendError(
                    f"{self._name} refuses a buffer for {name}: {self._log.summary()}"
                )
        if self._profiler is not None:
            context.profiler = self._profiler
        return Execution(context)

    def _record_all(self, trt: TensorRt, engine: api.ICudaEngine) -> bool:
        """Record every batch size; return False, with nothing kept, where it is refused."""
        for batch in range(1, self.max_batch + 1):
            self._executions[batch] = self._make_execution(trt, engine)
            # What a shape leaves to do is done by the first execution and may not be recorded.
            self._execute(batch)
            refusal = self._record(batch)
            if refusal is not None:
                self._warn(f"a lane runs without CUDA graphs, slower and no less right: {refusal}")
                self._drop_executions()
                return False
        return True

    def _record(self, batch: int) -> str | None:
        stream = self._opened().stream
        try:
            self._graphs[batch] = self._driver.capture(stream, lambda: self._enqueue(batch))
        except BackendError as error:
            # A lost device is no refusal: it raises here again.
            stream.synchronize()
            return str(error)
        return None

    def _execute(self, batch: int, *, from_captures: bool = False) -> None:
        """Run one batch and wait until its outputs are on the host; the context is current."""
        queue = self._opened()
        try:
            for name in self._layout.outputs:
                # What never arrives must not be read as the last capture's verdict.
                self._ports[name].array[:batch].fill(np.nan)
            self._start(batch, from_captures=from_captures)
            queue.done.record(queue.stream)
            queue.done.synchronize()
        except BaseException:
            # The caller may fill the inputs again as soon as this call has ended.
            queue.stream.synchronize()
            raise

    def _start(self, batch: int, *, from_captures: bool) -> None:
        """Enqueue one batch, or launch its graph."""
        if from_captures:
            raise BackendError("this lane takes tensors")
        graph = self._graphs.get(batch)
        if graph is not None:
            graph.launch(self._opened().stream)
        else:
            self._enqueue(batch)

    def _enqueue(self, batch: int) -> None:
        """Enqueue what a graph holds: here all of a call."""
        execution = self._ready(batch)
        self._mark(Mark.BEGIN)
        self._upload_rows(batch)
        self._poison(batch)
        self._mark(Mark.UPLOADED)
        self._enqueue_execution(batch, execution)

    def _ready(self, batch: int) -> Execution:
        execution = self._executions[batch]
        if not execution.set_batch(batch, self._layout.inputs):
            raise BackendError(
                f"{self._name}: a batch of {batch} is refused: {self._log.summary()}"
            )
        return execution

    def _upload_rows(self, batch: int) -> None:
        stream = self._opened().stream
        for name in self._layout.inputs:
            self._ports[name].upload(self._driver, 0, batch, stream)

    def _poison(self, batch: int) -> None:
        """Enqueue NaN: what an execution fails to write must not be the last capture's verdict."""
        for name, shape in self._layout.outputs.items():
            port = self._ports[name]
            if not port.is_mapped:  # else the host's NaN is there already
                stream = self._opened().stream
                self._driver.fill_with_nan(port.device, batch * prod(shape), stream)

    def _enqueue_execution(self, batch: int, execution: Execution) -> None:
        stream = self._opened().stream
        if not execution.enqueue(stream):
            raise BackendError(f"{self._name} failed to execute: {self._log.summary()}")
        self._mark(Mark.EXECUTED)
        for name in self._layout.outputs:
            self._ports[name].download(self._driver, batch, stream)
        self._mark(Mark.DOWNLOADED)

    def _mark(self, mark: Mark) -> None:
        if self._marks is not None:
            self._marks.record(self._marked.index(mark), self._opened().stream)

    def _times(self, elapsed_ms: tuple[float, ...]) -> DeviceTimes:
        """Return the times of a call from those between its marks."""
        upload_ms, engine_ms, download_ms = elapsed_ms
        return DeviceTimes(upload_ms, engine_ms, download_ms)

    def _opened(self) -> _Queue:
        if self._queue is None:
            raise BackendError("the lane is closed")
        return self._queue

    def _drop_executions(self) -> None:
        """Destroy graphs, then the contexts they were recorded from."""
        with ExitStack() as stack:
            stack.callback(self._executions.clear)
            while self._graphs:
                stack.callback(self._graphs.popitem()[1].free)

    def _release(self) -> None:
        """Release everything, whatever of it fails, dependents first."""
        self._is_released = True
        self.inputs = {}
        self._ports = {}
        try:
            with self._driver.current(), ExitStack() as stack:
                # Newest first, after what uses them.
                for thing in self._held:
                    stack.callback(thing.free)
                stack.callback(self._drop_executions)
                if self._queue is not None:
                    stack.callback(self._queue.stream.synchronize)
        except BackendError as error:
            # On a lost device there is nothing left to release, and the caller is done with it.
            self._warn(f"a lane was closed on a device that fails: {error}")
        finally:
            self._graphs, self._executions, self._held = {}, {}, []
            self._queue = self._marks = None

    def _warn(self, text: str) -> None:
        logging.getLogger("fasdk.tensorrt").warning("%s: %s", self._name, text)
