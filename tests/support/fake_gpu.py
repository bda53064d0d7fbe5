"""Fake CUDA driver in host memory for quick tests, whose work waits for a synchronization.

Nothing enqueued on a stream happens before `synchronize`, every buffer starts as garbage, and every
call checks that the context is current, so code that forgets any of these reads nonsense or fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fasdk.backends.cuda_api import CudaDevice, CudaFunction, CudaStream, DeviceBuffer
from fasdk.errors import BackendError

from support.kernel_driver import Access


class FaultError(Exception):
    """Error of the fake driver where CUDA would fail."""


@dataclass
class FakeStream:
    driver: FakeGpu
    handle: int
    queue: list[Callable[[], None]] = field(default_factory=list)
    recording: list[Callable[[], None]] | None = None

    def enqueue(self, item: Callable[[], None]) -> None:
        self.driver.require_current()
        (self.queue if self.recording is None else self.recording).append(item)

    def synchronize(self) -> None:
        self.driver.require_current()
        assert self.recording is None, "synchronized while recording"
        self.driver.on_synchronize()
        work, self.queue = self.queue, []
        for item in work:
            item()
            self.driver.clock_ms += 1.0
        if self.driver.fails_to_synchronize:
            raise FaultError("an illegal memory access was encountered")

    def free(self) -> None:
        self.driver.require_current()
        assert not self.queue, "freed under work"
        del self.driver.streams[self.handle]


@dataclass
class FakeEvent:
    driver: FakeGpu
    stream: FakeStream | None = None

    def record(self, stream: CudaStream) -> None:
        self.driver.require_current()
        self.stream = self.driver.streams[stream.handle]

    def synchronize(self) -> None:
        self.driver.require_current()
        assert self.stream is not None, "never recorded"
        self.stream.synchronize()

    def free(self) -> None:
        self.driver.require_current()


@dataclass
class FakeMarks:
    driver: FakeGpu
    passed_ms: list[float | None]

    def record(self, index: int, stream: CudaStream) -> None:
        if "marks in a graph" in self.driver.refuses and self.driver.is_capturing(stream.handle):
            raise BackendError("CUDA failed: cuEventRecordWithFlags gave CUDA_ERROR_NOT_SUPPORTED")

        def passed() -> None:
            self.passed_ms[index] = self.driver.clock_ms

        self.driver.streams[stream.handle].enqueue(passed)

    def elapsed_ms(self) -> tuple[float, ...]:
        self.driver.require_current()
        passed_ms = [ms for ms in self.passed_ms if ms is not None]
        assert len(passed_ms) == len(self.passed_ms), "a mark was not passed"
        return tuple(np.diff(passed_ms).tolist())

    def free(self) -> None:
        self.driver.require_current()
        self.driver.marks_held -= 1


@dataclass
class FakeGraph:
    driver: FakeGpu
    items: list[Callable[[], None]]
    launches: int = 0

    def launch(self, stream: CudaStream) -> None:
        self.driver.require_current()
        assert self in self.driver.graphs, "launched after free"
        if "launch" in self.driver.refuses:
            raise BackendError("CUDA failed: cuGraphLaunch gave CUDA_ERROR_LAUNCH_FAILED")
        self.launches += 1
        self.driver.streams[stream.handle].queue += self.items

    def free(self) -> None:
        self.driver.require_current()
        self.driver.graphs.remove(self)  # a second free is a ValueError


@dataclass
class FakeBuffer:
    driver: FakeGpu
    array: NDArray[Any]
    is_mapped: bool = False

    @property
    def address(self) -> int:
        return int(self.array.ctypes.data)

    @property
    def device_address(self) -> int:
        if not self.is_mapped:
            raise BackendError(
                "this page-locked memory is not mapped: allocate it with mapped=True"
            )
        return self.address

    def free(self) -> None:
        self.driver.require_current()
        assert not any(stream.queue for stream in self.driver.streams.values()), "freed under work"
        del self.driver.held[self.address]  # a second free is a KeyError


@dataclass(frozen=True)
class FakeFunction:
    name: str
    module: FakeModule

    def parameters(self) -> None:
        return None


@dataclass
class FakeModule:
    driver: FakeGpu
    is_loaded: bool = True

    def function(self, name: str) -> FakeFunction:
        self.driver.require_current()
        if name not in self.driver.kernels:
            raise BackendError(f"there is no kernel {name} among those that were loaded")
        return FakeFunction(name, self)

    def free(self) -> None:
        self.driver.require_current()
        assert self.is_loaded, "freed twice"
        self.is_loaded = False


class Depth(threading.local):
    """How often the context is current on a thread."""

    value = 0


class FakeGpu:
    """A `CudaDriver` and a `KernelDriver`.

    Attributes:
        kernels: What plays a kernel, given its arguments, by the name of its entry point; none
            means that no image has code for this GPU.
    """

    def __init__(self) -> None:
        self.device = CudaDevice("Orin", "8.7", "12.6")
        self.held: dict[int, FakeBuffer] = {}
        self.streams: dict[int, FakeStream] = {}
        self.graphs: list[FakeGraph] = []
        self.memory_bytes = 1 << 30
        self.fails_to_synchronize = False
        self.loses_copies = False
        self.on_synchronize: Callable[[], None] = lambda: None
        self.allocations = 0
        self.marks_held = 0
        self.clock_ms = 0.0  # one millisecond for each piece of work
        self.refuses: set[str] = set()
        self.kernels: dict[str, Callable[[bytes], None]] = {}
        self._depth = Depth()
        self._next = 4096

    @contextmanager
    def current(self) -> Iterator[None]:
        self._depth.value += 1
        try:
            yield
        except FaultError as error:
            raise BackendError(f"CUDA failed: {error}") from error
        finally:
            self._depth.value -= 1

    def require_current(self) -> None:
        assert self.has_context(), "no current context"

    def stream(self) -> FakeStream:
        self.require_current()
        self._next += 1
        stream = FakeStream(self, self._next)
        self.streams[stream.handle] = stream
        return stream

    def event(self) -> FakeEvent:
        self.require_current()
        return FakeEvent(self)

    def marks(self, count: int) -> FakeMarks:
        self.require_current()
        self.marks_held += 1
        return FakeMarks(self, [None] * count)

    def device_buffer(self, size_bytes: int) -> FakeBuffer:
        return self._allocate((-(-size_bytes // 4),), np.float32)

    def host_buffer(
        self, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, mapped: bool = False
    ) -> FakeBuffer:
        return self._allocate(shape, dtype, mapped=mapped)

    def copy_to_device(
        self,
        target: DeviceBuffer,
        source: NDArray[Any],
        stream: CudaStream,
        offset_bytes: int = 0,
    ) -> None:
        memory = self.held[target.address].array.view(np.uint8)[offset_bytes:]
        assert source.flags.c_contiguous, "not contiguous"
        assert source.nbytes <= memory.size, "a copy beyond its memory"

        def copy() -> None:
            memory[: source.nbytes] = source.reshape(-1).view(np.uint8)

        self.streams[stream.handle].enqueue(copy)

    def copy_to_host(self, target: NDArray[Any], source: DeviceBuffer, stream: CudaStream) -> None:
        memory = self.held[source.address].array.view(np.uint8)

        def copy() -> None:
            if self.loses_copies:
                return
            target.reshape(-1).view(np.uint8)[:] = memory[: target.nbytes]

        self.streams[stream.handle].enqueue(copy)

    def fill_with_nan(self, target: DeviceBuffer, values: int, stream: CudaStream) -> None:
        memory = self.held[target.address].array
        self.streams[stream.handle].enqueue(lambda: memory[:values].fill(np.nan))

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> FakeGraph:
        self.require_current()
        if "capture" in self.refuses:
            raise BackendError("CUDA failed: cuStreamBeginCapture_v2 gave CUDA_ERROR_NOT_SUPPORTED")
        fake = self.streams[stream.handle]
        fake.recording = []
        try:
            work()
            graph = FakeGraph(self, fake.recording)
        finally:
            fake.recording = None
        self.graphs.append(graph)
        return graph

    def module(self, image: bytes) -> FakeModule:
        self.require_current()
        if not self.kernels or not image:
            raise BackendError(f"the kernels hold no code for {self.device.name}")
        return FakeModule(self)

    def launch(
        self,
        function: CudaFunction,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: bytes,
        stream: CudaStream,
    ) -> None:
        assert isinstance(function, FakeFunction)
        assert all(size > 0 for size in (*grid, *block)), "a launch of nothing"
        if "kernels" in self.refuses:
            raise BackendError(f"the kernel {function.name} was not launched: CUDA_ERROR_UNKNOWN")

        def run() -> None:
            assert function.module.is_loaded, f"{function.name} runs after its module was freed"
            self.kernels[function.name](arguments)

        self.streams[stream.handle].enqueue(run)

    def has_context(self) -> bool:
        return self._depth.value > 0

    def is_capturing(self, stream_handle: int) -> bool:
        return self.streams[stream_handle].recording is not None

    def device_array(self, address: int, shape: Sequence[int]) -> NDArray[np.float32]:
        memory = self._within(Access(address, 4 * prod(shape), writes=False))
        return memory.array.reshape(-1)[: prod(shape)].reshape(shape)

    def play(
        self,
        stream_handle: int,
        name: str,
        kernel: Callable[[], None],
        accesses: Sequence[Access],
    ) -> str | None:
        memory = [self._within(access) for access in accesses]

        def run() -> None:
            for buffer in memory:
                assert self.held.get(buffer.address) is buffer, f"{name} runs on freed memory"
            kernel()

        self.streams[stream_handle].enqueue(run)
        return None

    def violation(self, text: str) -> None:
        raise AssertionError(text)

    def _within(self, access: Access) -> FakeBuffer:
        buffer = self.held[access.address]
        assert access.size_bytes <= buffer.array.nbytes, "an access beyond its memory"
        return buffer

    def _allocate(
        self, shape: tuple[int, ...], dtype: DTypeLike, *, mapped: bool = False
    ) -> FakeBuffer:
        self.require_current()
        used = sum(buffer.array.nbytes for buffer in self.held.values())
        memory = np.empty(shape, dtype)
        if used + memory.nbytes > self.memory_bytes:
            raise FaultError("out of memory")
        memory.fill(1e30 if memory.dtype.kind == "f" else 0xA5)
        self.allocations += 1
        buffer = FakeBuffer(self, memory, mapped)
        self.held[buffer.address] = buffer
        return buffer
