"""Normal form of a float32 graph for quantization: weights as initializers, nodes named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.graph.types import parse_graph

if TYPE_CHECKING:
    import onnx


def prepare_graph(graph: bytes) -> onnx.ModelProto:
    """Return the model with constants as initializers and every node named.

    A weight that reaches its node through Transpose or Identity becomes a transposed initializer.

    Raises:
        ExportError: The bytes are not an ONNX model.
    """
    model = parse_graph(graph)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}
    kept = []
    for node in model.graph.node:
        tensor = _constant(node, initializers) if node.output[0] not in outputs else None
        if tensor is None:
            kept.append(type(node).FromString(node.SerializeToString()))
        else:
            initializers[tensor.name] = tensor
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


def _constant(
    node: onnx.NodeProto, initializers: dict[str, onnx.TensorProto]
) -> onnx.TensorProto | None:
    """Return the value of a node that is a constant or a transposed weight, else None."""
    import onnx

    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Constant" and "value" in attributes:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attributes["value"].t)
        tensor.name = node.output[0]
        return tensor
    if node.op_type not in ("Transpose", "Identity") or node.input[0] not in initializers:
        return None
    value = onnx.numpy_helper.to_array(initializers[node.input[0]])
    if node.op_type == "Transpose":
        value = np.transpose(value, attributes["perm"].ints if "perm" in attributes else None)
    return onnx.numpy_helper.from_array(np.ascontiguousarray(value), node.output[0])
