"""Feature extraction: the input of a float graph's last linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import open_session
from fasdk.errors import BackendError, ExportError
from fasdk_engines.graph.editing import expose_values
from fasdk_engines.graph.types import parse_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

_LINEAR = frozenset(["Conv", "Gemm", "MatMul"])


class FeatureExtractor:
    """A float graph cut off before its last linear layer.

    Attributes:
        value: Name of the value it returns, the input of that layer.

    Args:
        graph: ONNX file, float32, with an output `logits`.
        threads: CPU threads; 0 takes one per core.

    Raises:
        ExportError: No linear layer leads to the logits.
        BackendError: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        model = parse_graph(graph)
        self.value = last_linear_input(model)
        del model.graph.output[:]
        expose_values(model, [self.value])
        self._session = open_session(
            model.SerializeToString(), threads=threads, name="the feature graph"
        )
        self._inputs = [value.name for value in self._session.get_inputs()]

    def __call__(self, batch: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return one capture's features, float32 [D]; a feature map is averaged over its positions.

        Args:
            batch: float32 [1, ...] by input name: one capture, because a value inside the graph
                need not have the batch as its first axis.

        Raises:
            BackendError: ONNX Runtime failed.
        """
        try:
            (value,) = self._session.run(
                [self.value], {name: batch[name] for name in self._inputs if name in batch}
            )
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on the feature graph: {error}") from error
        found = np.asarray(value, np.float32)
        return (found.mean(axis=(2, 3)) if found.ndim == 4 else found).ravel()


def last_linear_input(model: onnx.ModelProto) -> str:
    """Return the name of the input of the linear layer nearest to the output `logits`.

    Raises:
        ExportError: There is no output `logits`, or no linear layer on the way to it.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    producer = {name: node for node in model.graph.node for name in node.output}
    if not any(value.name == "logits" for value in model.graph.output):
        raise ExportError("the graph has no output logits: export the model again")
    frontier, seen = ["logits"], {"logits"}
    while frontier:
        following = []
        for name in frontier:
            node = producer.get(name)
            if node is None:
                continue
            if node.op_type in _LINEAR and node.input[1] in weights and node.input[0] in producer:
                return str(node.input[0])
            for source in node.input:
                if source and source not in seen and source not in weights:
                    seen.add(source)
                    following.append(source)
        frontier = following
    raise ExportError(
        "no linear layer leads to the logits: this graph has no features to choose captures by"
    )
