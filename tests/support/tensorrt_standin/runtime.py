"""Runtime of the stand-in TensorRT: plans, engines, and executions on a driver's stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from support.kernel_driver import Access, KernelDriver
from support.tensorrt_standin.settings import (
    MAGIC,
    SCRATCH_BYTES,
    Behavior,
    DataType,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
    Refusal,
    Severity,
    TensorIOMode,
)


@dataclass
class _ContextState:
    """State of a context that an execution needs without keeping the context alive."""

    changes: int = 0
    is_gone: bool = False


@dataclass(frozen=True)
class _Execution:
    """One enqueued run, or a recorded one."""

    driver: KernelDriver
    behavior: Behavior
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
            self.driver.violation(broken)
            for value in self.outputs.values():
                value.fill(np.nan)
            return
        if self.behavior.sees is not None:
            self.behavior.sees(self.inputs)
        found = self.session.run(list(self.outputs), self.inputs)
        if not self.behavior.writes:
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
        wrong = self.behavior
        if wrong.drift == 0.0 or wrong.drift_batch not in (None, len(logits)):
            return
        if self.is_recorded or not wrong.drift_replay:
            row = wrong.drift_row
            logits[slice(None) if row is None else slice(row, row + 1), 1] += wrong.drift


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
        self.profiler: Any = None

    def __del__(self) -> None:
        self._state.is_gone = True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Set an input's shape; a new one must be executed once before it may be captured."""
        refuses = Refusal.SHAPE in self.engine.behavior.refuses
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
        if Refusal.ADDRESS in self.engine.behavior.refuses or memory == 0:
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
        recorded = engine.driver.is_capturing(stream_handle)
        refusal = self._refusal(recorded=recorded)
        if refusal is not None:
            engine.log_error(refusal)
            return False
        self._bound = self._bound or self._bind()
        inputs, outputs, accesses = self._bound
        execution = _Execution(
            engine.driver,
            engine.behavior,
            engine.session,
            inputs,
            outputs,
            self._state,
            self._state.changes,
            recorded,
        )
        refusal = engine.driver.play(stream_handle, "execute_async_v3", execution.play, accesses)
        if refusal is not None:
            engine.log_error(f"enqueue failed: {refusal}")
            return False
        self._is_flushed = True
        if self.profiler is not None:  # the real one waits for each layer and reports it here
            for layer, ms in engine.behavior.layers:
                self.profiler.report_layer_time(layer["Name"], ms)
        return True

    def _refusal(self, *, recorded: bool) -> str | None:
        if Refusal.EXECUTE in self.engine.behavior.refuses:
            return "the execution was refused"
        unset = [name for name in self.engine.inputs if name not in self._shapes]
        unset += [name for name in self.engine.names if name not in self._addresses]
        if unset:
            return f"no shape or no address was set for {', '.join(unset)}"
        if self._needs_scratch and self._scratch is None:
            return "the execution context was given no device memory"
        if recorded and self.profiler is not None:
            return "an execution cannot be captured while it is profiled"
        if recorded and not self._is_flushed:
            return "a first execution with these shapes cannot be captured"
        return None

    def _bind(self) -> tuple[dict[str, Any], dict[str, Any], list[Access]]:
        engine = self.engine
        batch = next(iter(self._shapes.values()))[0]
        shapes = dict(self._shapes)
        shapes |= {name: (batch, *engine.get_tensor_shape(name)[1:]) for name in engine.outputs}
        arrays = {
            name: engine.driver.device_array(self._addresses[name], shapes[name])
            for name in engine.names
        }
        inputs = {name: arrays[name] for name in engine.inputs}
        outputs = {name: arrays[name] for name in engine.outputs}
        accesses = [Access(self._addresses[n], a.nbytes, writes=False) for n, a in inputs.items()]
        accesses += [Access(self._addresses[n], a.nbytes, writes=True) for n, a in outputs.items()]
        if self._scratch is not None:
            accesses.append(Access(*self._scratch, writes=True))
        return inputs, outputs, accesses

    def _change(self) -> None:
        self._state.changes += 1
        self._bound = None


class EngineInspector:
    """`EngineInspector`."""

    execution_context: IExecutionContext | None = None

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002
        """Return the layers as JSON, by name alone where the plan was not built in detail."""
        assert format is LayerInformationFormat.JSON
        layers: list[object] = [dict(layer) for layer, _ in self._engine.behavior.layers]
        if not self._engine.is_detailed:
            layers = [layer["Name"] for layer, _ in self._engine.behavior.layers]
        elif self.execution_context is None:
            for layer in layers:
                for tensor in [*layer["Inputs"], *layer["Outputs"]]:  # type: ignore[index]
                    tensor["Format/Datatype"] = "N/A due to dynamic shapes"
        return json.dumps({"Layers": layers, "Bindings": self._engine.names})


class ICudaEngine:
    """`ICudaEngine`."""

    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, runtime: Runtime, plan: bytes) -> None:
        head, graph = plan[len(MAGIC) :].split(b"\n", 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._runtime = runtime
        self.driver = runtime.driver
        self.behavior = runtime.behavior
        largest, *verbosity = head.split()
        self.max_batch = int(largest)
        self.is_detailed = verbosity == [b"detailed"]
        self.session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self.inputs: list[str] = [port.name for port in self.session.get_inputs()]
        self.outputs: list[str] = [port.name for port in self.session.get_outputs()]
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)
        ports = [*self.session.get_inputs(), *self.session.get_outputs()]
        self._shapes = {
            port.name: [size if isinstance(size, int) else -1 for size in port.shape]
            for port in ports
        }

    def log_error(self, text: str) -> None:
        """Log why a call failed, where the real one does."""
        self._runtime.logger.log(Severity.ERROR, text)

    def get_tensor_name(self, index: int) -> str:
        """Return the name of a tensor, inputs first."""
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """Return whether it goes in or out."""
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        """Return its type."""
        return DataType.FLOAT if name in self.inputs else self.behavior.output_type

    def get_tensor_shape(self, name: str) -> list[int]:
        """Return its shape, -1 for the batch."""
        return list(self._shapes[name])

    def get_tensor_profile_shape(self, name: str, _profile: int) -> list[list[int]]:
        """Return the smallest, best and largest shape."""
        shape = self._shapes[name][1:]
        return [[1, *shape], [1, *shape], [self.max_batch, *shape]]

    def create_engine_inspector(self) -> EngineInspector:
        """Return an inspector of this engine."""
        return EngineInspector(self)

    def create_execution_context(
        self,
        strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC,
    ) -> IExecutionContext | None:
        """Return a context, or None."""
        if Refusal.CONTEXT in self.behavior.refuses or not self.driver.has_context():
            self.log_error("no execution context can be made")
            return None
        return IExecutionContext(self, strategy)


class Runtime:
    """`Runtime`."""

    def __init__(self, logger: Any, driver: KernelDriver, behavior: Behavior) -> None:
        self.logger = logger
        self.driver = driver
        self.behavior = behavior
        self.engine_host_code_allowed = True
        if Refusal.RUNTIME in behavior.refuses or not driver.has_context():
            logger.log(Severity.ERROR, "CUDA initialization failure: no context")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def deserialize_cuda_engine(self, data: bytes | memoryview) -> ICudaEngine | None:
        """Return the plan's engine, or None."""
        self.behavior.host_code.append(self.engine_host_code_allowed)
        plan = bytes(data)
        if not plan.startswith(MAGIC) or Refusal.DESERIALIZE in self.behavior.refuses:
            self.logger.log(Severity.ERROR, "serialized with another version")
            return None
        return ICudaEngine(self, plan)
