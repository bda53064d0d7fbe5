"""Reference execution of a Q/DQ graph on a CPU, every operator on its own.

ONNX Runtime would fuse Q/DQ pairs into its own 8-bit kernels and compute float16 in float32. Here
no Q/DQ pair is fused, and the values of every float16 output are rounded to float16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.onnxruntime import Optimization, open_session
from fasdk.errors import BackendError
from fasdk_engines.graph.editing import copy_of, expose_values
from fasdk_engines.graph.types import infer_types, parse_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

_FLOAT, _FLOAT16 = 1, 10  # onnx.TensorProto.DataType, a fixed part of the file format


class QdqReferenceRunner:
    """Reference runner of a Q/DQ graph, in one ONNX Runtime session.

    Args:
        graph: Typed ONNX file with an output `logits`; float32, or float16 with float32 inputs.
        threads: CPU threads; 0 takes one per core.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        from fasdk_engines.graph.emulation import emulated_model

        model = parse_graph(graph)
        if any(t.element == _FLOAT16 for t in infer_types(model).values()):
            model = emulated_model(graph)
        self._session = open_session(
            model.SerializeToString(),
            threads=threads,
            optimization=Optimization.NONE,
            prepack=False,
            name="the Q/DQ graph",
        )

    def logits(self, batch: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return logits, float32 [B, classes].

        Args:
            batch: float32 [B, ...] by input name.

        Raises:
            BackendError: ONNX Runtime fails.
        """
        try:
            (found,) = self._session.run(["logits"], dict(batch))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on the Q/DQ graph: {error}") from error
        return np.asarray(found, np.float32)


def run_qdq_reference(
    graph: bytes, batch: Mapping[str, NDArray[np.float32]], *, threads: int = 0
) -> NDArray[np.float32]:
    """Return logits, float32 [B, classes], with no Q/DQ pair fused.

    In a float16 graph every operator's output is rounded to float16. For more than one batch use
    `QdqReferenceRunner`, which opens its session once.

    Args:
        graph: Typed ONNX file; see `QdqReferenceRunner`.
        batch: float32 [B, ...] by input name.
        threads: CPU threads; 0 takes one per core.

    Raises:
        BackendError: ONNX Runtime refuses or fails to run the graph.
    """
    return QdqReferenceRunner(graph, threads=threads).logits(batch)


def session_with_outputs(model: onnx.ModelProto, values: Sequence[str]) -> Any:
    """Return a session of a float32 graph whose outputs include the values named."""
    watched = copy_of(model)
    expose_values(watched, values)
    return open_session(
        watched.SerializeToString(),
        optimization=Optimization.BASIC,
        prepack=False,
        name="the Q/DQ graph",
    )
