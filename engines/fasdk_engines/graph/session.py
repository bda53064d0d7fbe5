"""ONNX Runtime sessions on the CPU, for graphs whose values are compared or measured."""

from __future__ import annotations

from enum import Enum
from typing import Any

from fasdk.errors import BackendError


class Optimization(Enum):
    """Rewriting that ONNX Runtime may do before it runs a graph; Q/DQ pairs are never fused."""

    NONE = "none"
    """None, so that every value is computed and every rounding stays where it is."""
    BASIC = "basic"
    """Rewriting that changes no value, such as constant folding."""
    ALL = "all"
    """Whatever ONNX Runtime does by default."""


def open_session(
    graph: bytes, *, threads: int = 0, optimization: Optimization = Optimization.ALL
) -> Any:
    """Return an `onnxruntime.InferenceSession` on the CPU.

    Args:
        graph: Serialized ONNX model.
        threads: CPU threads; 0 takes one per core.
        optimization: Rewriting that is allowed.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    import onnxruntime as ort

    levels = {
        Optimization.NONE: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        Optimization.BASIC: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        Optimization.ALL: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
    options = ort.SessionOptions()
    options.graph_optimization_level = levels[optimization]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if optimization is not Optimization.ALL:
        # A second, packed copy of the weights is worth its memory only over many runs.
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = 4  # errors reach the caller as exceptions, not on stderr
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BackendError(f"ONNX Runtime refuses the graph: {error}") from error
