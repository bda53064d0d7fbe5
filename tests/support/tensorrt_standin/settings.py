"""Enumerations of the stand-in TensorRT, and the faults that a test injects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

MAGIC = b"stand-in plan\n"
TIMES = b"stand-in times\n"
SCRATCH_BYTES = 4096


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


class LayerInformationFormat(Enum):
    """`LayerInformationFormat`."""

    ONELINE = 0
    JSON = 1


class ProfilingVerbosity(Enum):
    """`ProfilingVerbosity`."""

    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


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
    NO_BUILDER = "Builder gives None"
    BUILD = "build_serialized_network"
    RUNTIME = "Runtime"
    NO_RUNTIME = "Runtime gives None"
    DESERIALIZE = "deserialize_cuda_engine"
    CONTEXT = "create_execution_context"
    SHAPE = "set_input_shape"
    ADDRESS = "set_tensor_address"
    EXECUTE = "execute_async_v3"
    PROFILE = "add_optimization_profile"
    TARGET = "set_compute_capability"
    TIMING = "set_timing_cache"


@dataclass
class Behavior:
    """Injected faults of the stand-in, and counts of calls. A test may change them at any time.

    Attributes:
        drift: Added to the logits of the second class.
        drift_batch: The batch size that drifts; all when None.
        drift_row: The row that drifts; all when None.
        drift_replay: Whether it is replayed graphs alone that drift.
        writes: Whether an execution writes its outputs.
        refuses: Calls that fail.
        output_type: The type a plan says its outputs have.
        builds: Number of plans built so far.
        targets: GPU generations the last plan was built for, by index.
        layers: What the inspector tells of each layer of a detailed plan, in its JSON's keys
            and the milliseconds that each takes.
        settings: Workspace in bytes, optimization level and auxiliary streams of each build.
        timings: The timing cache that each build began with; None for none.
        host_code: `engine_host_code_allowed` when each plan was deserialized.
        sees: Receiver of the inputs of each execution by name, as it reads them.
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
    layers: list[tuple[dict[str, object], float]] = field(default_factory=list)
    settings: list[tuple[int, int, int]] = field(default_factory=list)
    timings: list[bytes | None] = field(default_factory=list)
    host_code: list[bool] = field(default_factory=list)
    sees: Callable[[Mapping[str, NDArray[np.float32]]], None] | None = None
