"""Conversion of an imported graph's scores to logits in class order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk_engines.onnx_import.description import OutputKind
from fasdk_engines.onnx_import.names import LOGITS, SCORE_OUTPUT, rename, substitute

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

ADDED = "fasdk_score"  # prefix of the names of nodes added here
# Log-odds of a probability nearer to 0 or 1 than this are cut off there.
_CERTAIN = 1e-6
_SUM_SLACK = 1e-3
# They move numbers and change none, so a sigmoid may be taken off before them.
_SHAPE_ONLY = frozenset(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])


def append_logits(graph: onnx.GraphProto, kind: OutputKind) -> bool:
    """Append the operators that make `logits` of the score output, in place.

    A softmax or sigmoid at the end is removed rather than inverted. One score z of the second class
    becomes (0, z), whose softmax is its sigmoid.

    Args:
        graph: Graph whose first output is `SCORE_OUTPUT`.
        kind: Content of that output.

    Returns:
        Whether a logarithm had to be added.
    """
    if kind is OutputKind.PROBABILITIES and _remove_final(graph, "Softmax"):
        kind = OutputKind.LOGITS
    elif kind is OutputKind.PROBABILITY and _remove_final(graph, "Sigmoid"):
        kind = OutputKind.LOGIT
    if kind is OutputKind.LOGITS:
        rename(graph, {SCORE_OUTPUT: LOGITS})
        return False
    from onnx import TensorProto, helper, numpy_helper

    def weight(name: str, values: object, dtype: type[np.generic] = np.float32) -> str:
        tensor = numpy_helper.from_array(np.array(values, dtype), f"{ADDED}/{name}")
        graph.initializer.append(tensor)
        return str(tensor.name)

    def add(operator: str, *inputs: str, name: str) -> str:
        result = f"{ADDED}/{name}_out"
        graph.node.append(helper.make_node(operator, inputs, [result], f"{ADDED}/{name}"))
        return result

    value = SCORE_OUTPUT
    if kind.is_one_score:
        column = add("Reshape", value, weight("column", [-1, 1], np.int64), name="as_column")
        first = 0.0 if kind is OutputKind.LOGIT else -1.0
        value = add("MatMul", column, weight("weights", [[first, 1.0]]), name="both")
    if kind is OutputKind.PROBABILITY:
        value = add("Add", value, weight("one", [1.0, 0.0]), name="complement")
    if kind is not OutputKind.LOGIT:
        bounds = weight("least", _CERTAIN), weight("most", 1.0 - _CERTAIN)
        value = add("Log", add("Clip", value, *bounds, name="clip"), name="log")
    graph.node[-1].output[0] = LOGITS
    graph.output[0].CopyFrom(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, None))
    return kind is not OutputKind.LOGIT


def class_scores(values: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float64]:
    """Return class scores, float64 [N, classes] with rows that sum to 1.

    Args:
        values: float32 [N, ...], an output of the graph.
        kind: Content of that output.

    Raises:
        ExportError: Probabilities are expected and the values are none.
    """
    found = values.reshape(len(values), -1).astype(np.float64)
    if kind is OutputKind.LOGITS:
        shifted = np.exp(found - found.max(axis=1, keepdims=True))
        total: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
        return total
    if kind is OutputKind.LOGIT:
        found = 1.0 / (1.0 + np.exp(-found))
    elif not ((found >= 0.0) & (found <= 1.0)).all():
        raise ExportError(
            f"the output holds {found.min():.3g} to {found.max():.3g}, which are no probabilities: "
            "correct output.kind in the description"
        )
    if kind.is_one_score:
        return np.concatenate([1.0 - found, found], axis=1)
    if np.abs(found.sum(axis=1) - 1.0).max() > _SUM_SLACK:
        raise ExportError(
            f"the output's probabilities sum to {found.sum(axis=1)[0]:.3g}, not to 1: "
            "export a softmax, or its logits"
        )
    return found


def _remove_final(graph: onnx.GraphProto, operator: str) -> bool:
    """Remove the final operator that makes probabilities; return whether it was there."""
    makers = {name: node for node in graph.node for name in node.output}
    passed = _SHAPE_ONLY if operator == "Sigmoid" else frozenset[str]()
    node = makers.get(SCORE_OUTPUT)
    while node is not None and node.op_type in passed:
        node = makers.get(node.input[0])
    if node is None or node.op_type != operator or node.input[0] not in makers:
        return False
    before, after = node.input[0], node.output[0]
    readers = sum(after in other.input for other in graph.node)
    outputs = {value.name for value in graph.output}
    over_classes = all(a.name != "axis" or a.i in (-1, 1) for a in node.attribute)
    if before in outputs or readers + (after in outputs) != 1 or not over_classes:
        return False
    graph.node.remove(node)
    substitute(graph, {before: after})
    return True
