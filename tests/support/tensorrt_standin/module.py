"""A TensorRT whose plans run on the simulated CUDA driver.

It has the part of TensorRT's Python API that fasdk uses. A plan is the ONNX graph itself;
`execute_async_v3` enqueues a run of ONNX Runtime on the stream, on the shapes and addresses of that
moment, reading and writing "device" memory when the stream gets there, so it can be captured into
a graph and replayed. It knows the rules that TensorRT states and does not check: what breaks one
gives NaN and is reported as a violation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fasdk.backends.tensorrt.versions import OLDEST

from support.cuda_sim.simulated_cuda import Simulator
from support.cuda_sim.standin_builder import Builder, OnnxParser
from support.cuda_sim.standin_execution import Runtime
from support.cuda_sim.standin_settings import (
    MAGIC,
    SCRATCH_BYTES,
    Behavior,
    ComputeCapability,
    DataType,
    ExecutionContextAllocationStrategy,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    Refusal,
    Severity,
    TensorIOMode,
)

__all__ = [
    "MAGIC",
    "SCRATCH_BYTES",
    "Behavior",
    "ExecutionContextAllocationStrategy",
    "Refusal",
    "Severity",
    "installed",
    "stand_in",
]


def stand_in(simulator: Simulator, behavior: Behavior, version: str = f"{OLDEST}.0") -> ModuleType:
    """Return a module that can stand in for `tensorrt` or `tensorrt_rtx`."""
    module: Any = ModuleType("tensorrt")
    scope = {"simulator": simulator, "behavior": behavior}
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
