"""Conversion of a graph to the opset in which QuantizeLinear takes float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk_engines.graph.types import label

if TYPE_CHECKING:
    import onnx

OPSET = 19
_AXES_BECAME_INPUT = frozenset(
    [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
    ]
)
# Redefined between 17 and 19 with more types or optional operands; valid nodes stay valid.
_ONLY_WIDENED = frozenset(
    [
        "AveragePool",
        "BitwiseAnd",
        "Cast",
        "CastLike",
        "Constant",
        "DequantizeLinear",
        "Equal",
        "GroupNormalization",
        "Identity",
        "LpPool",
        "Mish",
        "OptionalGetElement",
        "OptionalHasElement",
        "Pad",
        "QuantizeLinear",
        "Reshape",
        "Resize",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Size",
    ]
)


def raise_opset(model: onnx.ModelProto) -> None:
    """Convert a graph of opset 17 or 18 to opset 19, in place; a newer one is left as it is.

    Raises:
        ExportError: The opset is older, or an operator changed its meaning in between.
    """
    import onnx

    entry = next(o for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if entry.version >= OPSET:
        return
    if entry.version < 17:
        raise ExportError(
            f"the graph is opset {entry.version}, INT8 needs 17 or newer: export the model again"
        )
    for number, node in enumerate(model.graph.node):
        before = onnx.defs.get_schema(node.op_type, entry.version, node.domain).since_version
        after = onnx.defs.get_schema(node.op_type, OPSET, node.domain).since_version
        if before == after or node.op_type in _ONLY_WIDENED:
            continue
        if node.op_type in _AXES_BECAME_INPUT:
            _move_axes(model, node, number)
        elif node.op_type == "Split":
            if len(node.input) < 2 and all(a.name != "num_outputs" for a in node.attribute):
                node.attribute.append(onnx.helper.make_attribute("num_outputs", len(node.output)))
        else:
            raise ExportError(
                f"node {label(node)} has another meaning in opset {OPSET}: export to that opset"
            )
    entry.version = OPSET


def _move_axes(model: onnx.ModelProto, node: onnx.NodeProto, number: int) -> None:
    import onnx

    axes = next((a for a in node.attribute if a.name == "axes"), None)
    if axes is None:
        return
    name = f"{node.output[0]}:axes:{number}"
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(axes.ints, np.int64), name)
    )
    node.input.append(name)
    node.attribute.remove(axes)
