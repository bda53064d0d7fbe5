"""Fake GPU and TensorRT in host memory, whose work is done at a synchronization.

Nothing enqueued on a stream happens before `synchronize`, every buffer starts as garbage, and every
call checks that the context is current, so code that forgets any of these reads nonsense or fails.
The fake TensorRT's plan is the graph itself, run by ONNX Runtime.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from fasdk.backends.cuda_api import CudaDevice, CudaStream, DeviceBuffer
from fasdk.backends.tensorrt.versions import OLDEST
from fasdk.errors import BackendError

MAGIC = b"fake plan\n"


class FaultError(Exception):
    """What the fake driver raises where CUDA would fail."""


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
    address: int
    array: NDArray[np.float32]

    def free(self) -> None:
        self.driver.require_current()
        assert not any(stream.queue for stream in self.driver.streams.values()), "freed under work"
        del self.driver.held[self.address]  # a second free is a KeyError


class Depth(threading.local):
    """How often the context is current on a thread."""

    value = 0


class FakeGpu:
    """A CudaDriver."""

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
        self.refuses: set[str] = set()
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
        assert self._depth.value > 0, "no current context"

    def stream(self) -> FakeStream:
        self.require_current()
        self._next += 1
        stream = FakeStream(self, self._next)
        self.streams[stream.handle] = stream
        return stream

    def event(self) -> FakeEvent:
        self.require_current()
        return FakeEvent(self)

    def device_buffer(self, size_bytes: int) -> FakeBuffer:
        return self._allocate((size_bytes // 4,))

    def host_buffer(self, shape: tuple[int, ...]) -> FakeBuffer:
        return self._allocate(shape)

    def copy_to_device(
        self, target: DeviceBuffer, source: NDArray[np.float32], stream: CudaStream
    ) -> None:
        memory = self.held[target.address].array

        def copy() -> None:
            memory[: source.size] = source.ravel()

        self.streams[stream.handle].enqueue(copy)

    def copy_to_host(
        self, target: NDArray[np.float32], source: DeviceBuffer, stream: CudaStream
    ) -> None:
        memory = self.held[source.address].array

        def copy() -> None:
            if self.loses_copies:
                return
            target[...] = memory[: target.size].reshape(target.shape)

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

    def _allocate(self, shape: tuple[int, ...]) -> FakeBuffer:
        self.require_current()
        used = sum(buffer.array.nbytes for buffer in self.held.values())
        if used + 4 * int(np.prod(shape)) > self.memory_bytes:
            raise FaultError("out of memory")
        self._next += 4096
        self.allocations += 1
        buffer = FakeBuffer(self, self._next, np.full(shape, 1e30, np.float32))
        self.held[buffer.address] = buffer
        return buffer


class Enumeration(Enum):
    INPUT = "input"
    OUTPUT = "output"
    FLOAT = "float"
    HALF = "half"
    ERROR = "error"
    INTERNAL_ERROR = "internal error"
    WARNING = "warning"
    WORKSPACE = "workspace"
    USER_MANAGED = "user managed"


@dataclass
class Behavior:
    """What the fake TensorRT gets wrong, and what it was asked to do.

    Attributes:
        drift: Added to the logits of the second class.
        drift_batch: The batch size that drifts; all when None.
        drift_row: The row that drifts; all when None.
        drift_replay: Whether it is replayed graphs alone that drift.
        writes: Whether an execution writes its outputs.
        refuses: Names of calls that return False or None.
        output_type: The type a plan says its outputs have.
        builds: Number of plans built so far.
        targets: GPU generations the last plan was built for.
        host_code: `engine_host_code_allowed` when a plan was deserialized.
    """

    drift: float = 0.0
    drift_batch: int | None = None
    drift_row: int | None = None
    drift_replay: bool = False
    writes: bool = True
    refuses: set[str] = field(default_factory=set)
    output_type: Enumeration = Enumeration.FLOAT
    builds: int = 0
    targets: dict[int, str] = field(default_factory=dict)
    host_code: list[bool] = field(default_factory=list)


def fake_tensorrt(gpu: FakeGpu, behavior: Behavior, version: str = f"{OLDEST}.0") -> ModuleType:
    """Return a module with the part of TensorRT that fasdk uses."""
    module: Any = ModuleType("tensorrt")
    module.__version__ = version

    class ILogger:
        Severity = Enumeration

    class IProgressMonitor:
        pass

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine
            self.addresses: dict[str, int] = {}
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.scratch: FakeBuffer | None = None
            self.is_flushed = False  # whether what a shape leaves to do was done
            self.changes = 0

        def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
            if self.shapes.get(name) != tuple(shape):
                self.is_flushed = False
                self.changes += 1
            self.shapes[name] = tuple(shape)
            return "set_input_shape" not in behavior.refuses

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            self.changes += 1
            return "set_tensor_address" not in behavior.refuses

        def set_device_memory(self, memory: int, size: int) -> None:
            assert size >= self.engine.device_memory_size_v2
            self.scratch = gpu.held[memory]

        def execute_async_v3(self, stream_handle: int) -> bool:
            stream = gpu.streams[stream_handle]
            recorded = stream.recording is not None
            if "execute_async_v3" in behavior.refuses or (recorded and not self.is_flushed):
                self.engine.logger.log(Enumeration.ERROR, "the execution was refused")
                return False
            self.is_flushed = True
            shapes, changes = dict(self.shapes), self.changes

            def execute() -> None:
                assert changes == self.changes or not recorded, "replayed after a change"
                if behavior.writes:
                    self._execute(shapes, recorded)

            stream.enqueue(execute)
            return True

        def _execute(self, shapes: dict[str, tuple[int, ...]], replayed: bool) -> None:
            def memory(name: str) -> NDArray[np.float32]:
                return gpu.held[self.addresses[name]].array

            assert self.scratch is not None
            assert gpu.held[self.scratch.address] is self.scratch, "scratch memory was freed"
            inputs = {
                name: memory(name)[: int(np.prod(shape))].reshape(shape)
                for name, shape in shapes.items()
            }
            for name, value in zip(
                self.engine.outputs, self.engine.session.run(None, inputs), strict=True
            ):
                size = len(value)
                concerned = behavior.drift_batch in (None, size)
                if name == "logits" and concerned and (replayed or not behavior.drift_replay):
                    row = behavior.drift_row
                    rows = slice(None) if row is None else slice(row, row + 1)
                    value[rows, 1] += behavior.drift
                memory(name)[: value.size] = value.ravel()

    class Engine:
        def __init__(self, plan: bytes, logger: Any) -> None:
            import onnxruntime

            head, graph = plan[len(MAGIC) :].split(b"\n", 1)
            self.max_batch = int(head)
            self.logger = logger
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(graph, options)
            self.inputs = [port.name for port in self.session.get_inputs()]
            self.outputs = [port.name for port in self.session.get_outputs()]
            self.num_io_tensors = len(self.inputs) + len(self.outputs)
            self.device_memory_size_v2 = 512

        def get_tensor_name(self, index: int) -> str:
            return (self.inputs + self.outputs)[index]

        def get_tensor_mode(self, name: str) -> Enumeration:
            return Enumeration.INPUT if name in self.inputs else Enumeration.OUTPUT

        def get_tensor_dtype(self, name: str) -> Enumeration:
            return Enumeration.FLOAT if name in self.inputs else behavior.output_type

        def get_tensor_shape(self, name: str) -> list[int]:
            ports = [*self.session.get_inputs(), *self.session.get_outputs()]
            shape = next(port.shape for port in ports if port.name == name)
            return [size if isinstance(size, int) else -1 for size in shape]

        def get_tensor_profile_shape(self, name: str, _profile: int) -> list[list[int]]:
            shape = self.get_tensor_shape(name)[1:]
            return [[1, *shape], [1, *shape], [self.max_batch, *shape]]

        def create_execution_context(self, strategy: Enumeration) -> Context | None:
            gpu.require_current()
            assert strategy is Enumeration.USER_MANAGED
            return None if "create_execution_context" in behavior.refuses else Context(self)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            gpu.require_current()
            self.logger = logger
            self.engine_host_code_allowed = True

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            behavior.host_code.append(self.engine_host_code_allowed)
            if not bytes(data).startswith(MAGIC) or "deserialize" in behavior.refuses:
                self.logger.log(Enumeration.ERROR, "serialized with another version")
                return None
            return Engine(bytes(data), self.logger)

    class Tensor:
        def __init__(self, value: onnx.ValueInfoProto) -> None:
            self.name = value.name
            dims = value.type.tensor_type.shape.dim
            self.shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
            self.dtype = Enumeration.FLOAT

    class Network:
        graph = b""

        @property
        def num_inputs(self) -> int:
            return len(onnx.load_from_string(self.graph).graph.input)

        def get_input(self, index: int) -> Tensor:
            return Tensor(onnx.load_from_string(self.graph).graph.input[index])

    class Parser:
        num_errors = 0

        def __init__(self, network: Network, _logger: Any) -> None:
            self.network = network

        def parse(self, graph: bytes) -> bool:
            self.network.graph = bytes(graph)
            return True

    class Profile:
        def set_shape(self, _name: str, _low: Any, _best: Any, high: Sequence[int]) -> None:
            self.max_batch = high[0]

    class Config:
        num_compute_capabilities = 0
        progress_monitor: Any

        def set_memory_pool_limit(self, _pool: Enumeration, _size: int) -> None:
            pass

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profile = profile
            return -1 if "add_optimization_profile" in behavior.refuses else 0

        def set_compute_capability(self, capability: str, index: int) -> bool:
            assert index < self.num_compute_capabilities
            behavior.targets[index] = capability
            return "set_compute_capability" not in behavior.refuses

    class ComputeCapability:
        __members__: ClassVar = {"CURRENT": "current", "SM86": "sm86", "SM89": "sm89"}

    class Builder:
        def __init__(self, logger: Any) -> None:
            gpu.require_current()
            if "Builder" in behavior.refuses:
                logger.log(Enumeration.ERROR, "no device")
                raise TypeError("factory function returned nullptr")

        def create_network(self, flags: int) -> Network:
            assert flags == 2  # strongly typed, and nothing else
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            behavior.builds += 1
            config.progress_monitor.phase_start("build", None, 1)
            config.progress_monitor.phase_finish("build")
            if "build_serialized_network" in behavior.refuses:
                return None
            return MAGIC + b"%d\n" % config.profile.max_batch + network.graph

    class NetworkDefinitionCreationFlag:
        STRONGLY_TYPED = 1

    module.ILogger = ILogger
    module.IProgressMonitor = IProgressMonitor
    module.Builder = Builder if "no Builder" not in behavior.refuses else lambda _logger: None
    module.OnnxParser = Parser
    module.Runtime = Runtime if "no Runtime" not in behavior.refuses else lambda _logger: None
    module.DataType = module.TensorIOMode = module.MemoryPoolType = Enumeration
    module.ExecutionContextAllocationStrategy = Enumeration
    module.ComputeCapability = ComputeCapability
    module.NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
    return module  # type: ignore[no-any-return]


def install(monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType) -> None:
    """Make `import name` give `module`."""
    monkeypatch.setitem(sys.modules, name, module)
