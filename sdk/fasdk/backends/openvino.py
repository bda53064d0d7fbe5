"""OpenVINO backend on the CPU, computing a graph's operators as they are written."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.engine import Backend, EngineOutputs, new_rows
from fasdk.bundle.graph import require_self_contained
from fasdk.errors import BackendError
from fasdk.own_thread import in_own_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.backends.specs import EngineOptions
    from fasdk.bundle.bundle import Bundle

_TELEMETRY = "openvino_telemetry"


def _import_openvino() -> Any:
    """Return `openvino`, imported without the module that reports each import to its maker.

    Where openvino_telemetry cannot be imported, OpenVINO uses a stub of its own. A device that
    processes faces must not report to third parties.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        return import_module("openvino")  # the application imported it and chose for itself
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]


_OV = _import_openvino()

_CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    # A pinned thread waits for its core where other programs work, as beside a door's camera.
    "ENABLE_CPU_PINNING": False,
    # No bfloat16 or float16 arithmetic, whatever the CPU offers: scores must not depend on it.
    "INFERENCE_PRECISION_HINT": "f32",
    "EXECUTION_MODE_HINT": "ACCURACY",
    # Its 8-bit kernels add pairs of products in 16 bits where the CPU has no VNNI, which saturates.
    "LP_TRANSFORMS_MODE": False,
}


def open_openvino(bundle: Bundle, options: EngineOptions) -> OpenVinoEngine:
    """Open a verified bundle.

    Raises:
        BackendError: OpenVINO refuses the graph.
    """
    one = bundle.manifest.max_batch == 1
    return OpenVinoEngine(bundle.graph, threads=options.threads, max_batch=1 if one else None)


@dataclass(frozen=True)
class NodeTime:
    """Time of one node of a compiled model.

    Attributes:
        name: Name of the node.
        operator: Operator that ran, such as Convolution.
        kernel: Kernel and the type it computes in, such as "jit_avx2_f32".
        ms: Mean of all calls since the model was compiled, in milliseconds, to whole microseconds.
    """

    name: str
    operator: str
    kernel: str
    ms: float


class OpenVinoEngine:
    """One compiled OpenVINO model.

    Float16 operators are computed in float32, on weights and constants rounded to float16.
    QuantizeLinear and DequantizeLinear are computed where they stand, as in evaluation.

    Attributes:
        input_names: The graph's inputs, in its order.

    Args:
        graph: The ONNX file's bytes, already verified.
        threads: CPU threads; 0 lets OpenVINO take one per core.
        max_batch: Largest number of captures in one call; None for any.
        profiled: Whether the time of every node is taken, which slows calls down.

    Raises:
        BackendError: OpenVINO refuses the graph, it reads weights from other files, or it
            quantizes in a way that cannot be computed as written.
    """

    backend = Backend.OPENVINO
    version: str = _OV.__version__.partition("-")[0]

    def __init__(
        self,
        graph: bytes | memoryview,
        *,
        threads: int = 0,
        max_batch: int | None = None,
        profiled: bool = False,
    ) -> None:
        self.max_batch = max_batch
        data = bytes(graph)
        try:
            require_self_contained(data)
            # Its CPU plugin gives the thread that loads it a stack for signal handlers, and frees
            # that in the thread that unloads it: a thread that goes on would be left without one.
            self._model: Any
            self._ports, self._model = in_own_thread(
                partial(_compiled, data, threads, profiled=profiled)
            )
        except Exception as error:
            raise BackendError(f"OpenVINO {self.version} refuses the graph: {error}") from error
        self._request: Any = None
        self.input_names = tuple(self._ports.inputs)

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch; see `Engine.run`."""
        if self._model is None:
            raise BackendError("the engine is closed")
        self._ports.check(inputs)
        if self._request is None:
            try:
                self._request = self._model.create_infer_request()
            except Exception as error:
                raise BackendError(f"OpenVINO failed: {error}") from error
        return self._ports.infer(self._request, inputs)

    def node_times(self) -> tuple[NodeTime, ...]:
        """Return the mean times of the nodes that ran, over all calls so far, in their order.

        Raises:
            BackendError: There was no call, or the engine was opened without `profiled`.
        """
        try:
            nodes = self._request.get_profiling_info()
        except Exception as error:
            raise BackendError(f"OpenVINO tells no times of nodes: {error}") from error
        return tuple(
            NodeTime(
                str(node.node_name),
                str(node.node_type),
                str(node.exec_type),
                1e3 * node.real_time.total_seconds(),
            )
            for node in nodes
            if node.status == _OV.ProfilingInfo.Status.EXECUTED
        )

    def open_lane(self, max_batch: int) -> OpenVinoLane:
        """Return a new lane with an inference request of its own; see `Engine.open_lane`."""
        if self._model is None:
            raise BackendError("the engine is closed")
        try:
            request = self._model.create_infer_request()
        except Exception as error:
            raise BackendError(f"OpenVINO failed: {error}") from error
        return OpenVinoLane(request, self._ports, max_batch)

    def close(self) -> None:
        """Release the compiled model; lanes keep it until they are closed."""
        self._model = self._request = None


def _compiled(graph: bytes, threads: int, *, profiled: bool) -> tuple[_Ports, Any]:
    """Return the ports of a graph and its compiled model."""
    core = _OV.Core()
    model = core.read_model(graph)
    # Before it is compiled: a Cast that goes leaves its name to the port beside it.
    ports = _Ports.of(model)
    _write_out_quantization(model)
    config = {**_CONFIG, "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": profiled}
    return ports, core.compile_model(model, "CPU", config)


@dataclass(frozen=True)
class _Ports:
    """Inputs and outputs of a graph, in the order OpenVINO numbers them by.

    Attributes:
        inputs: Shape of each input by name, without the batch axis.
        outputs: Name of each output.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> _Ports:
        """Return the ports of a model that was just read."""
        return cls(
            {
                port.any_name: tuple(int(d.get_length()) for d in list(port.partial_shape)[1:])
                for port in model.inputs
            },
            tuple(port.any_name for port in model.outputs),
        )

    def check(self, inputs: Mapping[str, NDArray[np.float32]]) -> None:
        """Refuse inputs that OpenVINO would convert, or answer without.

        Raises:
            BackendError: An input is absent or unknown, or of another dtype or shape.
        """
        if set(inputs) != set(self.inputs):
            raise BackendError(
                f"OpenVINO failed: it was given {', '.join(sorted(inputs)) or 'nothing'}, "
                f"expected {', '.join(sorted(self.inputs))}"
            )
        batches = set()
        for name, array in inputs.items():
            found = getattr(array, "dtype", type(array).__name__)
            shape = tuple(getattr(array, "shape", ()))
            if found != np.float32 or not shape or shape[1:] != self.inputs[name]:
                raise BackendError(
                    f"OpenVINO failed: input {name} is {found} {list(shape)}, "
                    f"expected float32 {['batch', *self.inputs[name]]}"
                )
            batches.add(shape[0])
        if len(batches) > 1:
            raise BackendError(f"OpenVINO failed: inputs hold {sorted(batches)} captures each")

    def infer(self, request: Any, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch on an inference request and return copies of what came out."""
        try:
            given = {index: inputs[name] for index, name in enumerate(self.inputs)}
            results = request.infer(given, share_inputs=True)
            named = {name: np.asarray(results[index]) for index, name in enumerate(self.outputs)}
        except Exception as error:
            raise BackendError(f"OpenVINO failed: {error}") from error
        return EngineOutputs.from_named(named)


class OpenVinoLane:
    """Input arrays and inference request of one caller.

    Args:
        request: The compiled model's `InferRequest`.
        ports: Inputs and outputs of the model.
        max_batch: Largest batch one call may hold.
    """

    def __init__(self, request: Any, ports: _Ports, max_batch: int) -> None:
        self.max_batch = max_batch
        self.inputs = new_rows(ports.inputs, max_batch)
        self._ports = ports
        self._request: Any = request

    def run(self, batch: int) -> EngineOutputs:
        """Run the first rows; see `Lane.run`."""
        if self._request is None:
            raise BackendError("the lane is closed")
        if not 1 <= batch <= self.max_batch:
            raise BackendError(f"a batch of {batch}, expected 1 to {self.max_batch} captures")
        rows = {name: array[:batch] for name, array in self.inputs.items()}
        return self._ports.infer(self._request, rows)

    def close(self) -> None:
        """Release the arrays and the request."""
        self._request = None
        self.inputs = {}


def _write_out_quantization(model: Any) -> None:
    """Replace each FakeQuantize, which QuantizeLinear is read as, by the arithmetic it stands for.

    saturate(round_half_even(x / scale) + zero_point), as the ONNX standard defines QuantizeLinear.
    OpenVINO 2026.4 moves a Subtract before a FakeQuantize into its range and then gets the values
    wrong where its 8-bit kernels are off.

    Raises:
        BackendError: A range is not constant, or its integers are not one pair a tensor.
    """
    ops = import_module("openvino.opset13")
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        limits = [node.input_value(slot).get_node() for slot in range(1, 5)]
        if any(limit.get_type_name() != "Constant" for limit in limits):
            raise BackendError(
                f"{node.get_friendly_name()} quantizes to a range that is computed: "
                "use --backend onnxruntime"
            )
        low, high, least, most = (np.asarray(limit.data, np.float64) for limit in limits)
        if least.size != 1 or most.size != 1:
            raise BackendError(
                f"{node.get_friendly_name()} quantizes to other integers by channel: "
                "use --backend onnxruntime"
            )
        if not (low < high).all():
            raise BackendError(f"{node.get_friendly_name()} has a scale that is not positive")
        zero_point = np.round(least - low * (most - least) / (high - low))
        # The range's far end gives the scale back with the least rounding, and is never zero.
        from_low = least - zero_point != 0
        scale = np.where(
            from_low,
            low / np.where(from_low, least - zero_point, 1),
            high / np.where(most - zero_point != 0, most - zero_point, 1),
        )
        levels = ops.round(ops.divide(node.input_value(0), _constant(ops, scale)), "half_to_even")
        if zero_point.any():
            levels = ops.add(levels, _constant(ops, zero_point))
        levels = ops.clamp(levels, float(least.item()), float(most.item()))
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(levels.output(0))
    model.validate_nodes_and_infer_types()


def _constant(ops: Any, values: NDArray[np.float64]) -> Any:
    return ops.constant(values.astype(np.float32))
