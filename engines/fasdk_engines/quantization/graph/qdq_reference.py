"""Run a quantized graph exactly as it is written, where no GPU is.

ONNX Runtime would fuse Q/DQ pairs into its own 8-bit kernels and compute float16 in float32. Here
every node runs on its own, and behind every operator with a float16 output its values are rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import BackendError
from fasdk_engines.graph.types import infer_types, parse_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

_FLOAT, _FLOAT16 = 1, 10  # onnx.TensorProto.DataType, a fixed part of the file format


class WrittenRunner:
    """A graph in one session, as written.

    Args:
        graph: Typed graph with an output `logits`; float32, or float16 with float32 inputs.
        threads: CPU threads; 0 takes one per core.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        from fasdk_engines.graph.emulation import emulated_model

        model = parse_graph(graph)
        if any(t.element == _FLOAT16 for t in infer_types(model).values()):
            model = emulated_model(graph)
        self._session = plain_session(model.SerializeToString(), threads)

    def logits(self, batch: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return float32 [B, classes].

        Raises:
            BackendError: ONNX Runtime fails.
        """
        try:
            (found,) = self._session.run(["logits"], dict(batch))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on the graph as written: {error}") from error
        return np.asarray(found, np.float32)


def run_as_written(
    graph: bytes, batch: Mapping[str, NDArray[np.float32]], *, threads: int = 0
) -> NDArray[np.float32]:
    """Return logits, float32 [B, classes], with Q/DQ executed as written.

    In a float16 graph every operator's output is rounded to float16. For more than one batch use
    `WrittenRunner`, which opens its session once.

    Raises:
        BackendError: ONNX Runtime refuses or fails to run the graph.
    """
    return WrittenRunner(graph, threads=threads).logits(batch)


def watching_session(model: onnx.ModelProto, values: Sequence[str]) -> Any:
    """Return a session of a float32 graph with `values` among its outputs."""
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    own = {output.name for output in watched.graph.output}
    for name in values:
        if name not in own:
            watched.graph.output.append(onnx.ValueInfoProto(name=name))
    return plain_session(watched.SerializeToString(), 0, optimize=True)


def plain_session(graph: bytes, threads: int, *, optimize: bool = False) -> Any:
    """Return an ONNX Runtime session that leaves Q/DQ alone.

    Args:
        graph: ONNX file.
        threads: CPU threads; 0 takes one per core.
        optimize: Let it rearrange the rest; never where roundings stand between operators.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_BASIC if optimize else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # A second, packed copy of the weights pays only over many runs.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BackendError(f"ONNX Runtime refuses the graph as written: {error}") from error
