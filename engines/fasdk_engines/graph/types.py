"""Parsing of ONNX graphs, and inference of the type and shape of every value.

The weights' values are what makes a graph large and do not bear on its types, so inference runs on
a copy without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx

# Shapes and axes are small constants that inference reads; every weight is larger than this.
_KEPT_ELEMENTS = 64
# Operators that copy the values they are given.
MOVEMENT = frozenset(
    [
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)


@dataclass(frozen=True)
class ValueType:
    """Type of one value.

    Attributes:
        element: Element type, a member of `onnx.TensorProto.DataType`; 0 where unknown.
        shape: Extents, None for a symbolic or unknown one; None where the rank is unknown.
    """

    element: int
    shape: tuple[int | None, ...] | None


def parse_graph(graph: bytes | memoryview) -> onnx.ModelProto:
    """Parse an ONNX file's bytes.

    Raises:
        ExportError: They are not an ONNX model.
    """
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(bytes(graph))
    except Exception as error:  # protobuf's own, which has no type stubs to name it by
        raise ExportError(f"the graph is not an ONNX file: {error}") from error
    if not model.graph.output:
        raise ExportError("the graph is not an ONNX file: it declares no output")
    return model


def infer_types(
    model: onnx.ModelProto,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    strict: bool = True,
) -> dict[str, ValueType]:
    """Infer every value's type with ONNX's own rules, weights and inputs included.

    Args:
        model: ONNX model, not changed. Its own types of intermediate values are ignored.
        input_shapes: Extents to put in place of the declared ones, by graph input.
        strict: Whether operands that disagree are an error; otherwise what follows from them is
            left out.

    Raises:
        ExportError: Two operands of a node disagree, or a node has no such types at all.
    """
    import onnx

    skeleton = without_weights(model)
    for value in skeleton.graph.input:
        for axis, extent in enumerate((input_shapes or {}).get(value.name, ())):
            value.type.tensor_type.shape.dim[axis].dim_value = extent
    try:
        inferred = onnx.shape_inference.infer_shapes(
            skeleton, check_type=strict, strict_mode=strict, data_prop=True
        )
    except Exception as error:  # its exceptions share no narrower base
        reason = " ".join(str(error).split())
        raise ExportError(f"the graph's types do not fit together: {reason}") from error
    types = {t.name: ValueType(t.data_type, tuple(t.dims)) for t in model.graph.initializer}
    for group in (inferred.graph.input, inferred.graph.value_info, inferred.graph.output):
        for value in group:
            types[value.name] = _value_type(value.type.tensor_type)
    return types


def subgraph_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that hold a graph of their own (If, Loop, Scan)."""
    for node in model.graph.node:
        if holds_graph(node):
            yield node


def holds_graph(node: onnx.NodeProto) -> bool:
    """Whether a node holds a graph of its own (If, Loop, Scan)."""
    return any(a.HasField("g") or a.graphs for a in node.attribute)


def label(node: onnx.NodeProto) -> str:
    """Return how an error names a node: operator and node name, or its first output."""
    return f"{node.op_type} {(node.name or next(iter(node.output), ''))!r}"


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its weights turned into inputs, whose values inference never reads."""
    import onnx

    skeleton = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    graph = skeleton.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        elements = 1
        for extent in tensor.dims:
            elements *= extent
        if elements <= _KEPT_ELEMENTS:
            graph.initializer.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return skeleton


def _value_type(tensor: onnx.TypeProto.Tensor) -> ValueType:
    if not tensor.HasField("shape"):
        return ValueType(tensor.elem_type, None)
    extents = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return ValueType(tensor.elem_type, extents)
