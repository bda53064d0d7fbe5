"""A TensorRT whose plans run on the simulated CUDA driver.

It has the part of TensorRT's Python API that fasdk uses. A plan is the ONNX graph itself;
`execute_async_v3` enqueues a run of ONNX Runtime on the stream, on the shapes and addresses of that
moment, reading and writing "device" memory when the stream gets there, so it can be captured into
a graph and replayed. It knows the rules that TensorRT states and does not check: what breaks one
gives NaN and is reported as a violation.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from math import prod
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from simulated_cuda import KERNEL, Access, CudaResult, Simulator

MAGIC = b"stand-in plan\n"
SCRATCH_BYTES = 4096
_FLOAT32_BYTES = 4


class Severity(Enum):
    """`ILogger.Severity`."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class DataType(Enum):
    """`DataType`."""

    FLOAT = 0
    HALF = 1


class TensorIOMode(Enum):
    """`TensorIOMode`."""

    INPUT = 1
    OUTPUT = 2


class MemoryPoolType(Enum):
    """`MemoryPoolType`."""

    WORKSPACE = 0


class ExecutionContextAllocationStrategy(Enum):
    """`ExecutionContextAllocationStrategy`."""

    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class NetworkDefinitionCreationFlag(IntEnum):
    """`NetworkDefinitionCreationFlag`."""

    STRONGLY_TYPED = 1


class ComputeCapability(Enum):
    """`ComputeCapability`, which TensorRT-RTX alone has."""

    CURRENT = 0
    SM86 = 86
    SM87 = 87
    SM89 = 89


class Refusal(str, Enum):
    """A call that does not do what it is asked to, as the real one says that."""

    BUILDER = "Builder"
    BUILD = "build_serialized_network"
    RUNTIME = "Runtime"
    DESERIALIZE = "deserialize_cuda_engine"
    CONTEXT = "create_execution_context"
    SHAPE = "set_input_shape"
    ADDRESS = "set_tensor_address"
    EXECUTE = "execute_async_v3"
    PROFILE = "add_optimization_profile"
    TARGET = "set_compute_capability"


@dataclass
class Behaviour:
    """What the stand-in gets wrong, and what it was asked to do. A test may change it at any time.

    Attributes:
        drift: Added to the logits of the second class.
        drift_batch: The batch size that drifts; all when None.
        drift_row: The row that drifts; all when None.
        drift_replay: Whether it is replayed graphs alone that drift.
        writes: Whether an execution writes its outputs.
        refuses: Calls that fail.
        output_type: The type a plan says its outputs have.
        builds: How many plans were built.
        targets: GPU generations the last plan was built for, by index.
        host_code: `engine_host_code_allowed` when each plan was deserialised.
    """

    drift: float = 0.0
    drift_batch: int | None = None
    drift_row: int | None = None
    drift_replay: bool = False
    writes: bool = True
    refuses: set[Refusal] = field(default_factory=set)
    output_type: DataType = DataType.FLOAT
    builds: int = 0
    targets: dict[int, ComputeCapability] = field(default_factory=dict)
    host_code: list[bool] = field(default_factory=list)


@dataclass
class _ContextState:
    """What an execution needs to know of its context, which it does not keep alive."""

    changes: int = 0
    is_gone: bool = False


@dataclass(frozen=True)
class _Execution:
    """One enqueued run, or a recorded one."""

    simulator: Simulator
    behaviour: Behaviour
    session: Any
    inputs: dict[str, NDArray[np.float32]]
    outputs: dict[str, NDArray[np.float32]]
    context: _ContextState
    changes: int
    is_recorded: bool

    def play(self) -> None:
        """Read the inputs, run, write the outputs."""
        broken = self._broken_rule()
        if broken is not None:
            self.simulator.violation(broken)
            for value in self.outputs.values():
                value.fill(np.nan)
            return
        found = self.session.run(list(self.outputs), self.inputs)
        if not self.behaviour.writes:
            return
        for (name, memory), value in zip(self.outputs.items(), found, strict=True):
            if name == "logits":
                self._drift(value)
            np.copyto(memory, value)

    def _broken_rule(self) -> str | None:
        if self.context.is_gone:
            return "an execution ran after its execution context was destroyed"
        if self.is_recorded and self.context.changes != self.changes:
            return "a graph was replayed after the execution context it was recorded from changed"
        return None

    def _drift(self, logits: NDArray[np.float32]) -> None:
        wrong = self.behaviour
        if wrong.drift == 0.0 or wrong.drift_batch not in (None, len(logits)):
            return
        if self.is_recorded or not wrong.drift_replay:
            row = wrong.drift_row
            logits[slice(None) if row is None else slice(row, row + 1), 1] += wrong.drift


_executions: dict[int, _Execution] = {}
_numbers = itertools.count(1)


@KERNEL
def _play(number: int) -> int:
    execution = _executions.get(number)
    if execution is None:
        return CudaResult.ILLEGAL_ADDRESS
    if not execution.is_recorded:
        del _executions[number]
    try:
        execution.play()
    except Exception:  # noqa: BLE001 - whatever it is, the driver is told, as of a kernel that fails
        traceback.print_exc()
        return CudaResult.LAUNCH_FAILED
    return CudaResult.SUCCESS


def _device_array(address: int, shape: Sequence[int]) -> NDArray[np.float32]:
    memory = (ctypes.c_float * prod(shape)).from_address(address)
    return np.ctypeslib.as_array(memory).reshape(shape)


class IExecutionContext:
    """`IExecutionContext`."""

    def __init__(self, engine: ICudaEngine, strategy: ExecutionContextAllocationStrategy) -> None:
        self.engine = engine  # the real one keeps its engine alive too
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._needs_scratch = strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        self._scratch: tuple[int, int] | None = None
        self._is_flushed = False  # whether what a shape leaves to do was done
        self._state = _ContextState()
        self._bound: tuple[dict[str, Any], dict[str, Any], list[Access]] | None = None
        self._recorded: list[int] = []

    def __del__(self) -> None:
        self._state.is_gone = True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Set an input's shape; a new one must be executed once before it may be captured."""
        refuses = Refusal.SHAPE in self.engine.behaviour.refuses
        within = 1 <= shape[0] <= self.engine.max_batch and name in self.engine.inputs
        if refuses or not within:
            self.engine.log_error(f"{name}: {tuple(shape)} is not within the profile")
            return False
        if self._shapes.get(name) != tuple(shape):
            self._shapes[name] = tuple(shape)
            self._is_flushed = False
            self._change()
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set where a tensor is."""
        if Refusal.ADDRESS in self.engine.behaviour.refuses or memory == 0:
            self.engine.log_error(f"{name}: {memory:#x} is no address")
            return False
        self._addresses[name] = memory
        self._change()
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        """Lend it memory for what is in between; contexts that run at once may not share it."""
        if size < self.engine.device_memory_size_v2:
            self.engine.log_error(f"{size} bytes are too few")
            return
        self._scratch = memory, size
        self._change()

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue or record one execution."""
        engine = self.engine
        recorded = engine.is_capturing(stream_handle)
        refusal = self._refusal(recorded=recorded)
        if refusal is not None:
            engine.log_error(refusal)
            return False
        self._bound = self._bound or self._bind()
        inputs, outputs, accesses = self._bound
        number = next(_numbers)
        _executions[number] = _Execution(
            engine.simulator,
            engine.behaviour,
            engine.session,
            inputs,
            outputs,
            self._state,
            self._state.changes,
            recorded,
        )
        result = engine.simulator.launch_kernel(
            stream_handle, "execute_async_v3", _play, number, accesses
        )
        if result != CudaResult.SUCCESS:
            del _executions[number]
            engine.log_error(f"enqueue failed: {result.name}")
            return False
        self._is_flushed = True
        return True

    def _refusal(self, *, recorded: bool) -> str | None:
        if Refusal.EXECUTE in self.engine.behaviour.refuses:
            return "the execution was refused"
        unset = [name for name in self.engine.inputs if name not in self._shapes]
        unset += [name for name in self.engine.names if name not in self._addresses]
        if unset:
            return f"no shape or no address was set for {', '.join(unset)}"
        if self._needs_scratch and self._scratch is None:
            return "the execution context was given no device memory"
        if recorded and not self._is_flushed:
            return "a first execution with these shapes cannot be captured"
        return None

    def _bind(self) -> tuple[dict[str, Any], dict[str, Any], list[Access]]:
        engine = self.engine
        batch = next(iter(self._shapes.values()))[0]
        inputs = {
            name: _device_array(self._addresses[name], self._shapes[name]) for name in engine.inputs
        }
        outputs = {
            name: _device_array(self._addresses[name], (batch, *engine.get_tensor_shape(name)[1:]))
            for name in engine.outputs
        }
        accesses = [Access(self._addresses[n], a.nbytes, writes=False) for n, a in inputs.items()]
        accesses += [Access(self._addresses[n], a.nbytes, writes=True) for n, a in outputs.items()]
        if self._scratch is not None:
            accesses.append(Access(*self._scratch, writes=True))
        return inputs, outputs, accesses

    def _change(self) -> None:
        self._state.changes += 1
        self._bound = None


class ICudaEngine:
    """`ICudaEngine`."""

    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, runtime: Runtime, plan: bytes) -> None:
        import onnxruntime

        head, graph = plan[len(MAGIC) :].split(b"\n", 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._runtime = runtime
        self.simulator = runtime.simulator
        self.behaviour = runtime.behaviour
        self.max_batch = int(head)
        self.session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [port.name for port in self.session.get_inputs()]
        self.outputs = [port.name for port in self.session.get_outputs()]
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)
        ports = [*self.session.get_inputs(), *self.session.get_outputs()]
        self._shapes = {
            port.name: [size if isinstance(size, int) else -1 for size in port.shape]
            for port in ports
        }

    def log_error(self, text: str) -> None:
        """Say why a call failed, where the real one says it."""
        self._runtime.logger.log(Severity.ERROR, text)

    def is_capturing(self, stream_handle: int) -> bool:
        """Whether a stream records rather than runs."""
        status = ctypes.c_int()
        handle = ctypes.c_void_p(stream_handle)
        self.simulator.library.cuStreamIsCapturing(handle, ctypes.byref(status))
        return status.value != 0

    def get_tensor_name(self, index: int) -> str:
        """Return the name of a tensor, inputs first."""
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """Return whether it goes in or out."""
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        """Return its type."""
        return DataType.FLOAT if name in self.inputs else self.behaviour.output_type

    def get_tensor_shape(self, name: str) -> list[int]:
        """Return its shape, -1 for the batch."""
        return list(self._shapes[name])

    def get_tensor_profile_shape(self, name: str, _profile: int) -> list[list[int]]:
        """Return the smallest, best and largest shape."""
        shape = self._shapes[name][1:]
        return [[1, *shape], [1, *shape], [self.max_batch, *shape]]

    def create_execution_context(
        self,
        strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC,
    ) -> IExecutionContext | None:
        """Return a context, or None."""
        if Refusal.CONTEXT in self.behaviour.refuses or not _has_context(self.simulator):
            self.log_error("no execution context can be made")
            return None
        return IExecutionContext(self, strategy)


class Runtime:
    """`Runtime`."""

    simulator: ClassVar[Simulator]
    behaviour: ClassVar[Behaviour]

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.engine_host_code_allowed = True
        if Refusal.RUNTIME in self.behaviour.refuses or not _has_context(self.simulator):
            logger.log(Severity.ERROR, "CUDA initialization failure: no context")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def deserialize_cuda_engine(self, data: bytes | memoryview) -> ICudaEngine | None:
        """Return the plan's engine, or None."""
        self.behaviour.host_code.append(self.engine_host_code_allowed)
        plan = bytes(data)
        if not plan.startswith(MAGIC) or Refusal.DESERIALIZE in self.behaviour.refuses:
            self.logger.log(Severity.ERROR, "the plan was serialised with another version")
            return None
        return ICudaEngine(self, plan)


class ITensor:
    """`ITensor`."""

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        self.name = value.name
        self.shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
        is_float = tensor.elem_type == onnx.TensorProto.FLOAT
        self.dtype = DataType.FLOAT if is_float else DataType.HALF


class INetworkDefinition:
    """`INetworkDefinition`."""

    graph = b""

    def __init__(self) -> None:
        self._inputs: list[ITensor] = []

    def read(self, graph: bytes) -> None:
        """Take what a parser read."""
        self.graph = graph
        self._inputs = [ITensor(value) for value in onnx.load_from_string(graph).graph.input]

    @property
    def num_inputs(self) -> int:
        """How many inputs there are."""
        return len(self._inputs)

    def get_input(self, index: int) -> ITensor:
        """Return one of them."""
        return self._inputs[index]


class ParserError:
    """`ParserError`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        """Return what is wrong."""
        return self._text

    def node(self) -> int:
        """Return which node is, -1 for none."""
        return -1

    def node_operator(self) -> str:
        """Return its operator."""
        return ""


class OnnxParser:
    """`OnnxParser`."""

    def __init__(self, network: INetworkDefinition, _logger: Any) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        """How many errors the last parse gave."""
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        """Return one of them."""
        return self._errors[index]

    def parse(self, graph: bytes | memoryview) -> bool:
        """Read a graph; return whether it is one."""
        try:
            self._network.read(bytes(graph))
        except Exception as error:  # noqa: BLE001 - protobuf's own DecodeError is not public
            self._errors = [ParserError(str(error))]
            return False
        return True


class IOptimizationProfile:
    """`IOptimizationProfile`."""

    max_batch = 0

    def set_shape(
        self, _name: str, _low: Sequence[int], _best: Sequence[int], high: Sequence[int]
    ) -> None:
        """Set the shapes of one input."""
        self.max_batch = high[0]


class IBuilderConfig:
    """`IBuilderConfig`."""

    num_compute_capabilities = 0
    progress_monitor: Any = None

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.profile = IOptimizationProfile()

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        """Take a limit; nothing here needs it."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Return the profile's index, -1 if it is refused."""
        self.profile = profile
        return -1 if Refusal.PROFILE in self._behaviour.refuses else 0

    def set_compute_capability(self, capability: ComputeCapability, index: int) -> bool:
        """Set one of the GPU generations."""
        if Refusal.TARGET in self._behaviour.refuses or index >= self.num_compute_capabilities:
            return False
        self._behaviour.targets[index] = capability
        return True


class Builder:
    """`Builder`."""

    simulator: ClassVar[Simulator]
    behaviour: ClassVar[Behaviour]

    def __init__(self, logger: Any) -> None:
        if Refusal.BUILDER in self.behaviour.refuses or not _has_context(self.simulator):
            logger.log(Severity.ERROR, "no device")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int) -> INetworkDefinition:
        """Return an empty network, which is strongly typed and nothing else."""
        if flags != 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED:
            raise ValueError(f"network flags are {flags}, expected strongly typed alone")
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        """Return a build's settings."""
        return IBuilderConfig(self.behaviour)

    def create_optimization_profile(self) -> IOptimizationProfile:
        """Return a profile to be filled in."""
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        """Return a plan, or None."""
        self.behaviour.builds += 1
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("build", None, 1)
            monitor.phase_finish("build")
        if Refusal.BUILD in self.behaviour.refuses:
            return None
        return MAGIC + b"%d\n" % config.profile.max_batch + network.graph


def _has_context(simulator: Simulator) -> bool:
    current = ctypes.c_void_p()
    simulator.library.cuCtxGetCurrent(ctypes.byref(current))
    return bool(current.value)


def stand_in(simulator: Simulator, behaviour: Behaviour, version: str = "10.3.0") -> ModuleType:
    """Return a module that can stand in for `tensorrt` or `tensorrt_rtx`."""
    module: Any = ModuleType("tensorrt")
    scope = {"simulator": simulator, "behaviour": behaviour}
    module.__version__ = version
    module.Builder = type("Builder", (Builder,), scope)
    module.Runtime = type("Runtime", (Runtime,), scope)
    module.ILogger = type("ILogger", (), {"Severity": Severity})
    module.IProgressMonitor = type("IProgressMonitor", (), {})
    for shared in (
        OnnxParser,
        DataType,
        TensorIOMode,
        MemoryPoolType,
        NetworkDefinitionCreationFlag,
        ExecutionContextAllocationStrategy,
        ComputeCapability,
    ):
        setattr(module, shared.__name__, shared)
    return module  # type: ignore[no-any-return]


@contextmanager
def installed(module: ModuleType, name: str = "tensorrt") -> Iterator[None]:
    """Make `import name` give `module` while the block runs."""
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
