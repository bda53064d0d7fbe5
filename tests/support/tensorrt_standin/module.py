"""TensorRT module whose plans run on any CUDA driver of the tests.

It has the part of TensorRT's Python API that fasdk uses. A plan is the ONNX graph itself;
`execute_async_v3` enqueues a run of ONNX Runtime on the stream, on the shapes and addresses of that
moment, reading and writing "device" memory when the stream gets there, so it can be captured into
a graph and replayed. It knows the rules that TensorRT states and does not check: what breaks one
is reported to the driver as a violation and gives NaN.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from fasdk.backends.tensorrt.versions import OLDEST

from support.kernel_driver import KernelDriver
from support.tensorrt_standin.builder import Builder, OnnxParser
from support.tensorrt_standin.runtime import Runtime
from support.tensorrt_standin.settings import (
    Behavior,
    ComputeCapability,
    DataType,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    Refusal,
    Severity,
    TensorIOMode,
)


def stand_in(driver: KernelDriver, behavior: Behavior, version: str = f"{OLDEST}.0") -> ModuleType:
    """Return a module that can stand in for `tensorrt` or `tensorrt_rtx`."""

    def make_builder(logger: Any) -> Builder | None:
        refused = Refusal.NO_BUILDER in behavior.refuses
        return None if refused else Builder(logger, driver, behavior)

    def make_runtime(logger: Any) -> Runtime | None:
        refused = Refusal.NO_RUNTIME in behavior.refuses
        return None if refused else Runtime(logger, driver, behavior)

    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    module.Builder = make_builder
    module.Runtime = make_runtime
    module.ILogger = type("ILogger", (), {"Severity": Severity})
    module.IProgressMonitor = type("IProgressMonitor", (), {})
    module.IProfiler = type("IProfiler", (), {})
    for shared in (
        OnnxParser,
        DataType,
        TensorIOMode,
        MemoryPoolType,
        NetworkDefinitionCreationFlag,
        LayerInformationFormat,
        ProfilingVerbosity,
        ExecutionContextAllocationStrategy,
        ComputeCapability,
    ):
        setattr(module, shared.__name__, shared)
    return module  # type: ignore[no-any-return]
