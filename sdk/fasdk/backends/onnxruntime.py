"""ONNX Runtime backend on the CPU, and the one function that opens its sessions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from fasdk.backends.engine import Backend, EngineOutputs, new_rows
from fasdk.bundle.graph import MAX_BATCH_KEY
from fasdk.bundle.manifest import Precision
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from fasdk.backends.specs import EngineOptions
    from fasdk.bundle.bundle import Bundle


# Run before 8-bit products are looked for, the first makes a Gemm of a product and its bias, which
# no 8-bit kernel takes with a float bias; the second lets products share one Q, which none takes.
_AGAINST_FUSION = ("MatMulAddFusion", "CommonSubexpressionElimination")


class Optimization(Enum):
    """Level of ONNX Runtime's graph optimization."""

    FULL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    BASIC = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC  # no fusion into other operators
    NONE = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


def open_session(
    graph: bytes | memoryview,
    *,
    threads: int = 0,
    as_written: bool = True,
    optimization: Optimization = Optimization.FULL,
    prepack: bool = True,
    profile: Path | None = None,
    name: str = "the graph",
) -> ort.InferenceSession:
    """Return a CPU session of an ONNX graph.

    Args:
        graph: The ONNX file's bytes, weights included.
        threads: CPU threads; 0 lets ONNX Runtime take one per core.
        as_written: Whether QuantizeLinear and DequantizeLinear run where they stand, as an 8-bit
            graph is evaluated, instead of fused into the CPU's own kernels. Those add pairs of
            products in 16 bits where the CPU has no VNNI: only a graph of precision int8-fp32 is
            made so that they cannot saturate. Graphs without them are the same either way.
        optimization: Level of graph optimization; NONE where roundings or inner values must stay as
            they are.
        prepack: Whether a second, packed copy of the weights is kept, which pays only over many
            runs.
        profile: Begin of the path of the file in which `end_profiling` leaves the time of every
            node; None not to take them.
        name: Name of the graph in error messages.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    try:
        options = ort.SessionOptions()
        options.graph_optimization_level = optimization.value
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors reach the caller as exceptions, not on stderr
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        if as_written:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if not prepack:
            options.add_session_config_entry("session.disable_prepacking", "1")
        # Only verified bytes may run: a graph that names weights in other files is refused.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", "/dev/null"
        )
        return ort.InferenceSession(
            bytes(graph),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=None if as_written else list(_AGAINST_FUSION),
        )
    except Exception as error:
        raise BackendError(f"ONNX Runtime {ort.__version__} refuses {name}: {error}") from error


def open_onnxruntime(bundle: Bundle, options: EngineOptions) -> OnnxRuntimeEngine:
    """Open a verified bundle; only a graph made for the CPU's 8-bit kernels is fused into them.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    fused = bundle.manifest.precision is Precision.INT8_FP32
    return OnnxRuntimeEngine(bundle.graph, threads=options.threads, as_written=not fused)


class OnnxRuntimeEngine:
    """One ONNX Runtime session.

    Attributes:
        input_names: The graph's inputs, in its order.

    Args:
        graph: The ONNX file's bytes, already verified.
        threads: CPU threads; 0 lets ONNX Runtime take one per core.
        as_written: Whether Q/DQ nodes run where they stand, as in `open_session`.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    backend = Backend.ONNXRUNTIME
    version: str = ort.__version__
    max_batch: int | None = None

    def __init__(
        self, graph: bytes | memoryview, *, threads: int = 0, as_written: bool = True
    ) -> None:
        self._session: ort.InferenceSession | None = open_session(
            graph, threads=threads, as_written=as_written
        )
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
            self._one_at_a_time = metadata.get(MAX_BATCH_KEY) == "1"
            self._outputs = [output.name for output in self._session.get_outputs()]
            inputs = {value.name: value.shape for value in self._session.get_inputs()}
            self._shapes = {name: tuple(shape[1:]) for name, shape in inputs.items()}
        except Exception as error:  # such as a name that is no UTF-8
            raise BackendError(f"ONNX Runtime cannot describe the graph: {error}") from error
        self.input_names = tuple(inputs)

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch, in calls of one capture where the graph takes no more.

        See `Engine.run`.
        """
        session = self._session
        if session is None:
            raise BackendError("the engine is closed")
        try:
            count = min(map(len, inputs.values()), default=0) if self._one_at_a_time else 1
            if count > 1:
                each = [
                    session.run(self._outputs, {n: rows[i : i + 1] for n, rows in inputs.items()})
                    for i in range(count)
                ]
                values = [np.concatenate(column) for column in zip(*each, strict=True)]
            else:
                values = session.run(self._outputs, dict(inputs))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {error}") from error
        return EngineOutputs.from_named(dict(zip(self._outputs, values, strict=True)))

    def open_lane(self, max_batch: int) -> OnnxRuntimeLane:
        """Return a new lane; see `Engine.open_lane`."""
        if self._session is None:
            raise BackendError("the engine is closed")
        return OnnxRuntimeLane(self, self._shapes, max_batch)

    def close(self) -> None:
        """Release the session."""
        self._session = None


class OnnxRuntimeLane:
    """Input arrays of one caller; the session itself may be called from several threads.

    Args:
        engine: Engine that runs the lane's batches.
        shapes: Shape of each input without the batch axis.
        max_batch: Largest batch one call may hold.
    """

    def __init__(
        self, engine: OnnxRuntimeEngine, shapes: Mapping[str, tuple[int, ...]], max_batch: int
    ) -> None:
        self.max_batch = max_batch
        self.inputs = new_rows(shapes, max_batch)
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
