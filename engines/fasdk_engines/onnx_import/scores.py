"""Conversion of an imported graph's scores to logits in class order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk_engines.graph.editing import attribute_of, rename, substitute
from fasdk_engines.graph.types import infer_types
from fasdk_engines.onnx_import.description import OutputKind
from fasdk_engines.onnx_import.outputs import LOGITS, SCORE_OUTPUT

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.graph.types import ValueType

SCORE_NODES = "fasdk_score"  # prefix of the names of nodes added here
# Log-odds of a probability nearer to 0 or 1 than this are cut off there.
_CERTAIN = 1e-6
_SUM_SLACK = 1e-3
# They move numbers and change none, so a softmax or sigmoid may be taken off before them.
_SHAPE_ONLY = frozenset(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
# They choose or average numbers, so what comes out of a softmax or sigmoid before them still is of
# probabilities.
_KEEP_RANGE = _SHAPE_ONLY | {
    "Cast",
    "Clip",
    "Dropout",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "Slice",
    "Split",
    "Transpose",
}


def append_logits(model: onnx.ModelProto, kind: OutputKind) -> bool:
    """Append the operators that make `logits` of the score output, in place.

    A softmax or sigmoid at the end is removed rather than inverted. One score z of the second class
    becomes (0, z), whose softmax is its sigmoid.

    Args:
        model: Model whose first output is `SCORE_OUTPUT`, one row a capture.
        kind: Content of that output.

    Returns:
        Whether a logarithm had to be added.
    """
    graph = model.graph
    if kind is OutputKind.PROBABILITIES and _remove_final(model, "Softmax"):
        kind = OutputKind.LOGITS
    elif kind is OutputKind.PROBABILITY and _remove_final(model, "Sigmoid"):
        kind = OutputKind.LOGIT
    if kind is OutputKind.LOGITS:
        rename(graph, {SCORE_OUTPUT: LOGITS})
        return False
    from onnx import TensorProto, helper, numpy_helper

    def weight(name: str, values: object, dtype: type[np.generic] = np.float32) -> str:
        tensor = numpy_helper.from_array(np.array(values, dtype), f"{SCORE_NODES}/{name}")
        graph.initializer.append(tensor)
        return str(tensor.name)

    def add(operator: str, *inputs: str, name: str) -> str:
        result = f"{SCORE_NODES}/{name}_out"
        graph.node.append(helper.make_node(operator, inputs, [result], f"{SCORE_NODES}/{name}"))
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
    rename(graph, {}, reserved=[LOGITS])
    graph.node[-1].output[0] = LOGITS
    graph.output[0].CopyFrom(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, None))
    return kind is not OutputKind.LOGIT


def class_scores(values: NDArray[np.floating], kind: OutputKind) -> NDArray[np.float64]:
    """Return class scores, float64 [N, classes] with rows that sum to 1.

    Args:
        values: [N, ...], an output of the graph.
        kind: Content of that output.
    """
    found = values.reshape(len(values), -1).astype(np.float64)
    if kind is OutputKind.LOGITS:
        shifted = np.exp(found - found.max(axis=1, keepdims=True))
        total: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
        return total
    if kind is OutputKind.LOGIT:
        found = 1.0 / (1.0 + np.exp(-found))
    if kind.is_one_score:
        return np.concatenate([1.0 - found, found], axis=1)
    return found


def require_kind_of_values(
    kind: OutputKind, found: NDArray[np.float64], extreme: NDArray[np.float64]
) -> None:
    """Refuse values that are probabilities where logits are described, or the other way round.

    Args:
        kind: Content of the output as described.
        found: float64 [N, columns], the output on images.
        extreme: float64 [M, columns], the output on inputs far outside the range of images; rows
            that are not finite are left out.

    Raises:
        ExportError: It names the kind that fits.
    """
    every = np.concatenate([found, extreme])
    every = every[np.isfinite(every).all(axis=1)]
    spread = f"{found.min():.3g} to {found.max():.3g}"
    bounded = bool(((found >= 0.0) & (found <= 1.0)).all())
    always = bool(((every >= 0.0) & (every <= 1.0)).all())
    proven = len(every) > len(found)  # by inputs that images are not
    sums = np.abs(found.sum(axis=1) - 1.0).max() <= _SUM_SLACK
    if kind is OutputKind.LOGITS and bounded and sums:
        raise ExportError(
            f"the output holds {spread} on images and every row sums to 1, so it holds "
            f'probabilities: write kind = "probabilities" under [output]'
        )
    if kind is OutputKind.LOGIT and always and proven:
        raise ExportError(
            f"the output holds {spread} on images and stays within 0 to 1 on inputs far outside "
            'their range, so it is a probability: write kind = "probability" under [output]'
        )
    if kind is OutputKind.PROBABILITY and not (bounded and always):
        where = "on images" if not bounded else "on inputs far outside the range of images"
        spread = spread if not bounded else f"{every.min():.3g} to {every.max():.3g}"
        raise ExportError(
            f"the output holds {spread} {where}, which are no probabilities: write "
            'kind = "logit" under [output]'
        )
    if kind is OutputKind.PROBABILITIES and not bounded:
        raise ExportError(
            f'the output holds {spread}, which are no probabilities: write kind = "logits" under '
            "[output]"
        )
    if kind is OutputKind.PROBABILITIES and not sums:
        raise ExportError(
            f"the output's probabilities sum to {found.sum(axis=1)[0]:.3g}, not to 1: "
            "export a softmax, or its logits"
        )


def require_kind_of_graph(
    model: onnx.ModelProto, name: str, kind: OutputKind, *, by_class: bool
) -> None:
    """Refuse logits that come out of a softmax or sigmoid.

    Args:
        model: Model in standard form.
        name: Its score output.
        kind: Content of that output as described.
        by_class: Whether the output has an axis of as many scores as there are labels.

    Raises:
        ExportError: It names the node and the kind that fits.
    """
    if kind not in (OutputKind.LOGITS, OutputKind.LOGIT):
        return
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in _KEEP_RANGE:
        node = makers.get(node.input[0])
    if node is None or node.op_type not in ("Softmax", "Sigmoid", "HardSigmoid"):
        return
    if by_class and node.op_type != "Softmax":
        raise ExportError(
            f"output {name!r} comes out of {node.op_type} {node.name!r}, which makes a separate "
            "probability of each column, not scores that sum to 1: export the column of the live "
            "class alone, or a softmax"
        )
    right = "probabilities" if by_class else "probability"
    raise ExportError(
        f"output {name!r} comes out of {node.op_type} {node.name!r}, so it holds probabilities and "
        f'not kind "{kind.value}": write kind = "{right}" under [output]'
    )


def _remove_final(model: onnx.ModelProto, operator: str) -> bool:
    """Remove the final operator that makes probabilities; return whether it was there."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    node = makers.get(SCORE_OUTPUT)
    while node is not None and node.op_type in _SHAPE_ONLY:
        if _readers(graph, node.input[0]) != 1 or node.input[0] in outputs:
            return False
        node = makers.get(node.input[0])
    if node is None or node.op_type != operator or node.input[0] not in makers:
        return False
    before, after = node.input[0], node.output[0]
    if before in outputs or _readers(graph, after) + (after in outputs) != 1:
        return False
    if operator == "Softmax" and not _over_classes(node, infer_types(model)):
        return False
    graph.node.remove(node)
    substitute(graph, {before: after})
    return True


def _readers(graph: onnx.GraphProto, name: str) -> int:
    return sum(name in node.input for node in graph.node)


def _over_classes(node: onnx.NodeProto, types: dict[str, ValueType]) -> bool:
    """Whether a softmax runs over the one axis of more than one score, the batch left out."""
    shape = types[node.input[0]].shape if node.input[0] in types else None
    if shape is None or len(shape) < 2:
        return False
    axis = attribute_of(node, "axis", -1)
    axis %= len(shape)
    others = [extent for i, extent in enumerate(shape) if i not in (0, axis)]
    return axis != 0 and all(extent == 1 for extent in others)
