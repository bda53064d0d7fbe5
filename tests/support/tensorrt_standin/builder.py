"""Builder of the stand-in TensorRT: a plan is the ONNX graph and its largest batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from support.kernel_driver import KernelDriver
from support.tensorrt_standin.settings import (
    MAGIC,
    TIMES,
    Behavior,
    ComputeCapability,
    DataType,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    Refusal,
    Severity,
)


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
        """Number of inputs."""
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
        """Number of errors of the last parse."""
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


class ITimingCache:
    """`ITimingCache`: times of kernels, one mark for each build that added some."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        """Return it as bytes."""
        return self.data


class IBuilderConfig:
    """`IBuilderConfig`."""

    builder_optimization_level = 3
    max_aux_streams = -1
    workspace = -1
    timing: ITimingCache | None = None

    num_compute_capabilities = 0
    progress_monitor: Any = None
    profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior
        self.profile = IOptimizationProfile()

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        """Take the limit of the workspace, the only pool here."""
        assert pool is MemoryPoolType.WORKSPACE
        self.workspace = size

    def create_timing_cache(self, data: bytes) -> ITimingCache | None:
        """Return a timing cache, or None where the data are none."""
        return ITimingCache(data or TIMES) if data == b"" or data.startswith(TIMES) else None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """Take a timing cache unless it holds times of another GPU."""
        assert not ignore_mismatch
        if Refusal.TIMING in self._behavior.refuses and cache.data != TIMES:
            return False
        self.timing = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        """Return the timing cache with what the build added."""
        return self.timing

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Return the profile's index, -1 if it is refused."""
        self.profile = profile
        return -1 if Refusal.PROFILE in self._behavior.refuses else 0

    def set_compute_capability(self, capability: ComputeCapability, index: int) -> bool:
        """Set one of the GPU generations."""
        if Refusal.TARGET in self._behavior.refuses or index >= self.num_compute_capabilities:
            return False
        self._behavior.targets[index] = capability
        return True


class Builder:
    """`Builder`."""

    def __init__(self, logger: Any, driver: KernelDriver, behavior: Behavior) -> None:
        self._behavior = behavior
        if Refusal.BUILDER in behavior.refuses or not driver.has_context():
            logger.log(Severity.ERROR, "no device")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int) -> INetworkDefinition:
        """Return an empty network, which is strongly typed and nothing else."""
        if flags != 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED:
            raise ValueError(f"network flags are {flags}, expected strongly typed alone")
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        """Return a build's settings."""
        return IBuilderConfig(self._behavior)

    def create_optimization_profile(self) -> IOptimizationProfile:
        """Return a profile to be filled in."""
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        """Return a plan, or None."""
        self._behavior.builds += 1
        self._behavior.settings.append(
            (config.workspace, config.builder_optimization_level, config.max_aux_streams)
        )
        self._behavior.timings.append(None if config.timing is None else config.timing.data)
        if config.timing is not None:
            config.timing.data += b"+"
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("build", None, 1)
            monitor.phase_finish("build")
        if Refusal.BUILD in self._behavior.refuses:
            return None
        detailed = config.profiling_verbosity is ProfilingVerbosity.DETAILED
        head = b"%d%s\n" % (config.profile.max_batch, b" detailed" if detailed else b"")
        return MAGIC + head + network.graph
