"""Runtime with TensorRT's interface whose plans are PyTorch modules.

Where no TensorRT accepts a GPU, lanes, graphs, events and copies are those of the SDK all the same:
`TensorRtEngine` and its lanes run on this runtime unchanged. A plan is the name of a module in this
process; `execute_async_v3` puts the module's work into the lane's stream, so that it can be
captured into a graph.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from fasdk.backends.engine import Backend
from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
from fasdk.backends.tensorrt.layout import TensorLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor
    from torch_streams import TorchStreams

    from fasdk.backends.cuda_api import CudaDriver
    from fasdk.backends.tensorrt.device_preprocessing import DevicePreprocessing

_INPUT, _OUTPUT = "input", "output"


class _Severity(Enum):
    """`ILogger.Severity`."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class _Float(Enum):
    """`DataType`."""

    FLOAT = 0


class _Allocation(Enum):
    """`ExecutionContextAllocationStrategy`."""

    USER_MANAGED = 0


class _Mode(Enum):
    """`TensorIOMode`."""

    INPUT = _INPUT
    OUTPUT = _OUTPUT


@dataclass(frozen=True)
class TorchPlan:
    """A module as a runtime loads it.

    Attributes:
        compute: Function of the inputs in the layout's order that returns the outputs in the
            layout's order, float32 [B, ...] each.
        layout: Input and output tensors.
        max_batch: Largest batch of one call.
    """

    compute: Callable[..., Sequence[Tensor]]
    layout: TensorLayout
    max_batch: int


class _Context:
    """`IExecutionContext`: one stream's shapes and addresses."""

    profiler: Any = None

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._batch = 0
        self._tensors: dict[str, Tensor] = {}

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        fits = name in self._engine.plan.layout.inputs
        if not fits or not 1 <= shape[0] <= self._engine.plan.max_batch:
            self._engine.log_error(f"{name}: {tuple(shape)} is not within the profile")
            return False
        if shape[0] != self._batch:
            self._batch = shape[0]
            self._tensors = {}
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        self._tensors = {}
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        """Nothing: PyTorch allocates what is in between."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        layout, streams = self._engine.plan.layout, self._engine.streams
        tensors = self._tensors = self._tensors or self._bound()
        compute = self._engine.plan.compute

        def work() -> None:
            found = compute(*(tensors[name] for name in layout.inputs))
            for name, value in zip(layout.outputs, found, strict=True):
                tensors[name].copy_(value)

        reads = [(self._addresses[n], tensors[n].nbytes) for n in layout.inputs]
        writes = [(self._addresses[n], tensors[n].nbytes) for n in layout.outputs]
        try:
            refusal = streams.enqueue(stream_handle, work, reads=reads, writes=writes)
        except (
            RuntimeError
        ) as error:  # what PyTorch raises for a CUDA fault, out of memory included
            refusal = str(error).splitlines()[0]
        if refusal is not None:
            self._engine.log_error(refusal)
        return refusal is None

    def _bound(self) -> dict[str, Tensor]:
        layout = self._engine.plan.layout
        return {
            name: self._engine.streams.tensor(self._addresses[name], (self._batch, *shape))
            for name, shape in (layout.inputs | layout.outputs).items()
        }


class _Engine:
    """`ICudaEngine`."""

    device_memory_size_v2 = 0

    def __init__(self, plan: TorchPlan, streams: TorchStreams, logger: Any) -> None:
        self.plan = plan
        self.streams = streams
        self._logger = logger
        self._shapes: dict[str, tuple[int, ...]] = plan.layout.inputs | plan.layout.outputs
        self._names = list(self._shapes)
        self.num_io_tensors = len(self._names)

    def log_error(self, text: str) -> None:
        self._logger.log(_Severity.ERROR, text)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> _Mode:
        return _Mode.INPUT if name in self.plan.layout.inputs else _Mode.OUTPUT

    def get_tensor_dtype(self, _name: str) -> _Float:
        return _Float.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self._shapes[name])

    def get_tensor_profile_shape(self, name: str, _profile: int) -> list[tuple[int, ...]]:
        shape = self._shapes[name]
        return [(1, *shape), (1, *shape), (self.plan.max_batch, *shape)]

    def create_execution_context(self, _strategy: _Allocation) -> _Context:
        return _Context(self)


def open_torch_engine(
    plan: TorchPlan,
    driver: CudaDriver,
    streams: TorchStreams,
    *,
    graphs: bool = True,
    timed: bool = False,
    preprocessing: DevicePreprocessing | None = None,
) -> TensorRtEngine:
    """Open the SDK's TensorRT engine on a PyTorch module.

    Args:
        plan: The module with its tensors.
        driver: CUDA driver of the GPU.
        streams: PyTorch's way into the driver's streams.
        graphs: Whether lanes record CUDA graphs.
        timed: Whether lanes time copies and execution on the device.
        preprocessing: What lanes need to make the tensors of captures on the device, which the
            engine releases; None where the host makes them.

    Raises:
        BackendError: The device has no memory left, or failed.
    """
    streams.synchronize()
    with _in_place_of_tensorrt(_runtime({b"module": plan}, streams)):
        return TensorRtEngine(
            b"module",
            Backend.TENSORRT,
            layout=plan.layout,
            driver=driver,
            plan_source=PlanSource.BUILT,
            graphs=graphs,
            timed=timed,
            preprocessing=preprocessing,
        )


def _runtime(plans: Mapping[bytes, TorchPlan], streams: TorchStreams) -> ModuleType:
    import torch

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, data: bytes | memoryview) -> _Engine:
            return _Engine(plans[bytes(data)], streams, self._logger)

    module = cast("Any", ModuleType("tensorrt"))
    module.__version__ = f"pytorch-{torch.__version__}"
    module.Runtime = Runtime
    module.ILogger = type("ILogger", (), {"Severity": _Severity})
    module.DataType = _Float
    module.TensorIOMode = _Mode
    module.ExecutionContextAllocationStrategy = _Allocation
    return cast("ModuleType", module)


@contextmanager
def _in_place_of_tensorrt(runtime: ModuleType) -> Iterator[None]:
    """Let an engine that is opened meanwhile, and it alone, import this runtime."""
    before = sys.modules.get("tensorrt")
    sys.modules["tensorrt"] = runtime
    try:
        yield
    finally:
        if before is None:
            del sys.modules["tensorrt"]
        else:
            sys.modules["tensorrt"] = before
