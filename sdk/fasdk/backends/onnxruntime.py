"""Run a bundle's graph with ONNX Runtime on the CPU: anywhere, and the default without TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


# Run before 8-bit products are looked for, the first makes a Gemm of a product and its bias, which
# no 8-bit kernel takes with a float bias; the second lets products share one Q, which none takes.
_AGAINST_FUSION = ("MatMulAddFusion", "CommonSubexpressionElimination")


class OnnxRuntimeEngine:
    """One ONNX Runtime session.

    Attributes:
        input_names: The graph's inputs, in its order.

    Args:
        graph: The ONNX file's bytes, already verified.
        threads: CPU threads; 0 lets ONNX Runtime take one per core.
        as_written: Run QuantizeLinear and DequantizeLinear where they stand, as an 8-bit graph is
            judged, instead of fusing them into the CPU's own kernels. Those add pairs of products
            in 16 bits where the CPU has no VNNI: only a graph of precision int8-fp32 is made so
            that they cannot saturate. Other graphs are the same either way.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    backend = Backend.ONNXRUNTIME
    version: str = ort.__version__
    max_batch: int | None = None

    def __init__(
        self, graph: bytes | memoryview, *, threads: int = 0, as_written: bool = True
    ) -> None:
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                bytes(graph),
                _options(threads, as_written),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=None if as_written else list(_AGAINST_FUSION),
            )
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime {ort.__version__} refuses the graph: {error}"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.input_names = tuple(value.name for value in self._session.get_inputs())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch; see `Engine.run`."""
        if self._session is None:
            raise BackendError("the engine is closed")
        try:
            values: list[NDArray[Any]] = self._session.run(self._outputs, dict(inputs))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {error}") from error
        return EngineOutputs.from_named(dict(zip(self._outputs, values, strict=True)))

    def open_lane(self, max_batch: int) -> OnnxRuntimeLane:
        """Return a new lane; see `Engine.open_lane`."""
        if self._session is None:
            raise BackendError("the engine is closed")
        if max_batch < 1:
            raise BackendError(f"a lane for batches of {max_batch}, expected at least 1")
        shapes = {v.name: tuple(v.shape[1:]) for v in self._session.get_inputs()}
        return OnnxRuntimeLane(self, shapes, max_batch)

    def close(self) -> None:
        """Release the session."""
        self._session = None


class OnnxRuntimeLane:
    """Input arrays of one caller; the session itself may be called from several threads.

    Args:
        engine: Whose lane it is.
        shapes: Shape of each input without the batch axis.
        max_batch: Largest batch.
    """

    def __init__(
        self, engine: OnnxRuntimeEngine, shapes: Mapping[str, tuple[int, ...]], max_batch: int
    ) -> None:
        self.max_batch = max_batch
        self.inputs: dict[str, NDArray[np.float32]] = {
            name: np.zeros((max_batch, *shape), np.float32) for name, shape in shapes.items()
        }
        self._engine: OnnxRuntimeEngine | None = engine

    def run(self, batch: int) -> EngineOutputs:
        """Run the first rows; see `Lane.run`."""
        if self._engine is None:
            raise BackendError("the lane is closed")
        if not 1 <= batch <= self.max_batch:
            raise BackendError(f"a batch of {batch}, expected 1 to {self.max_batch} captures")
        return self._engine.run({name: rows[:batch] for name, rows in self.inputs.items()})

    def close(self) -> None:
        """Release the arrays."""
        self._engine = None
        self.inputs = {}


def _options(threads: int, as_written: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors reach the caller as exceptions, not on stderr
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Only verified bytes may run: a graph that names weights in other files is refused.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", "/dev/null"
    )
    return options
