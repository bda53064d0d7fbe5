"""Protocols of the part of TensorRT's Python API that fasdk uses.

Every name here exists in the TensorRT range of `versions` and in TensorRT-RTX, save for the `Rtx`
classes, which only TensorRT-RTX has. mypy keeps the code to this list; `tests/tensorrt_bindings`
keeps the list to the real bindings. Classes carry the bindings' own names; an enum's values are
opaque.
"""

# ruff: noqa: A002, D102 - parameters and methods are the bindings' own

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class SeverityEnum(Protocol):
    """`ILogger.Severity`."""

    INTERNAL_ERROR: object
    ERROR: object
    WARNING: object


class LoggerClass(Protocol):
    """The class `ILogger`, to be derived from."""

    Severity: SeverityEnum


class MonitorClass(Protocol):
    """The class `IProgressMonitor`, to be derived from."""


class ProfilerClass(Protocol):
    """The class `IProfiler`, to be derived from."""


class ILogger(Protocol):
    """Takes TensorRT's messages."""

    def log(self, severity: Any, msg: str) -> None: ...


class IProgressMonitor(Protocol):
    """Receives a build's phases; `step_complete` returns False to stop it."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...
    def phase_finish(self, phase_name: str) -> None: ...
    def step_complete(self, phase_name: str, step: int) -> bool: ...


class IProfiler(Protocol):
    """Receives the time of every layer of an execution."""

    def report_layer_time(self, layer_name: str, ms: float) -> None: ...


class IHostMemory(Protocol):
    """A serialized plan; its memory is the library's."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class ITimingCache(Protocol):
    """Times of kernels on one GPU."""

    def serialize(self) -> IHostMemory: ...


class ITensor(Protocol):
    """A tensor of a network; -1 in `shape` is a symbolic axis."""

    name: str
    dtype: object
    shape: Iterable[int]


class INetworkDefinition(Protocol):
    """A graph being compiled."""

    num_inputs: int

    def get_input(self, index: int) -> ITensor: ...


class IOptimizationProfile(Protocol):
    """The shapes a plan accepts."""

    def set_shape(
        self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]
    ) -> None: ...


class IBuilderConfig(Protocol):
    """A build's settings."""

    progress_monitor: IProgressMonitor
    profiling_verbosity: object
    builder_optimization_level: int
    max_aux_streams: int

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...
    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...


class RtxIBuilderConfig(IBuilderConfig, Protocol):
    """Adds the GPU generations of TensorRT-RTX."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: object, index: int) -> bool: ...


class Builder(Protocol):
    """Compiles a network."""

    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None: ...


class ParserError(Protocol):
    """Why a graph was refused."""

    def desc(self) -> str: ...
    def node(self) -> int: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """Reads an ONNX file into a network."""

    num_errors: int

    def parse(self, model: bytes | memoryview) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IExecutionContext(Protocol):
    """One stream's state of an engine."""

    profiler: IProfiler

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class EngineInspector(Protocol):
    """Describes an engine's layers; with a context, for the shapes that are set there."""

    execution_context: IExecutionContext

    def get_engine_information(self, format: object) -> str: ...


class ICudaEngine(Protocol):
    """A loaded plan."""

    num_io_tensors: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> object: ...
    def get_tensor_dtype(self, name: str) -> object: ...
    def get_tensor_shape(self, name: str) -> Iterable[int]: ...
    def get_tensor_profile_shape(
        self, name: str, profile_index: int
    ) -> Sequence[Iterable[int]]: ...
    def create_engine_inspector(self) -> EngineInspector: ...
    def create_execution_context(self, strategy: object) -> IExecutionContext | None: ...


class Runtime(Protocol):
    """Loads plans. A plan is executable code: only verified bytes may reach it."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(
        self, serialized_engine: bytes | memoryview
    ) -> ICudaEngine | None: ...


class DataTypeEnum(Protocol):
    """`DataType`."""

    FLOAT: object


class ExecutionContextAllocationStrategyEnum(Protocol):
    """`ExecutionContextAllocationStrategy`."""

    USER_MANAGED: object


class LayerInformationFormatEnum(Protocol):
    """`LayerInformationFormat`."""

    JSON: object


class ProfilingVerbosityEnum(Protocol):
    """`ProfilingVerbosity`."""

    DETAILED: object


class TensorIOModeEnum(Protocol):
    """`TensorIOMode`."""

    INPUT: object


class MemoryPoolTypeEnum(Protocol):
    """`MemoryPoolType`."""

    WORKSPACE: object


class NetworkDefinitionCreationFlagEnum(Protocol):
    """`NetworkDefinitionCreationFlag`; the bindings' values convert to int."""

    STRONGLY_TYPED: int


class ComputeCapabilityEnum(Protocol):
    """`ComputeCapability`."""

    __members__: Mapping[str, object]
