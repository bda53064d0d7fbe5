"""Bring a float32 graph into the form quantization reads: weights as weights, nodes with names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.graph.types import parse_graph

if TYPE_CHECKING:
    import onnx


def prepare_graph(graph: bytes) -> onnx.ModelProto:
    """Return the model with constants as initializers and every node named.

    Weights that reach their node through Transpose or Identity are turned and named directly.

    Raises:
        ExportError: The bytes are not an ONNX model.
    """
    model = parse_graph(graph)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}
    kept = []
    for node in model.graph.node:
        tensor = _constant(node, held) if node.output[0] not in outputs else None
        if tensor is None:
            kept.append(type(node).FromString(node.SerializeToString()))
        else:
            held[tensor.name] = tensor
            model.graph.initializer.append(tensor)
    names = {node.name for node in kept}
    seen: set[str] = set()
    for number, node in enumerate(kept):
        if not node.name or node.name in seen:
            fresh = f"{node.name or node.op_type}_{number}"
            while fresh in names:
                fresh += "_"
            node.name = fresh
            names.add(fresh)
        seen.add(node.name)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.value_info[:]
    return model


def _constant(node: onnx.NodeProto, held: dict[str, onnx.TensorProto]) -> onnx.TensorProto | None:
    """Return what a node computes if it is a constant or a weight turned."""
    import onnx

    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Constant" and "value" in attributes:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attributes["value"].t)
        tensor.name = node.output[0]
        return tensor
    if node.op_type not in ("Transpose", "Identity") or node.input[0] not in held:
        return None
    value = onnx.numpy_helper.to_array(held[node.input[0]])
    if node.op_type == "Transpose":
        value = np.transpose(value, attributes["perm"].ints if "perm" in attributes else None)
    return onnx.numpy_helper.from_array(np.ascontiguousarray(value), node.output[0])
