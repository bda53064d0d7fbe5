"""Find a graph's Linear and Conv layers and say which of them may compute in eight bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_engines.graph.types import ValueType, infer_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

LEAST_INNER = 16  # products shorter than this gain nothing from eight bits (ModelOpt's rule)
LEAST_ROWS = 8  # fewer rows are a matrix-vector product: reading the weights is all it costs
LEAST_OUTPUTS = 16


@dataclass(frozen=True)
class Layer:
    """One Linear or Conv of a graph.

    Attributes:
        name: Its node's name.
        operator: MatMul, Gemm or Conv.
        macs: Multiply-accumulates for one capture.
        quantized: Whether it computes in eight bits.
        reason: Why not; empty where it does.
        two_terms: Whether it multiplies twice, its activation held in two int8 terms.
    """

    name: str
    operator: str
    macs: int
    quantized: bool
    reason: str
    two_terms: bool = False


@dataclass(frozen=True)
class WeightedNode:
    """What quantization has to know of a Linear or Conv.

    Attributes:
        layer: What is told of it.
        value: Name of the activation it reads.
        weight: Name of the weight it reads.
        channel_axis: Axis of the activation that is summed over: -1 for Linear, 1 for Conv.
        inner: Length of one product: K of a matrix, channels a group times kernel of a Conv.
        outputs: Columns of the result, over all groups.
        groups: Groups of a Conv, else 1.
        transposed: Whether a Gemm's weight is [N, K].
        window: Of a Conv, else None.
    """

    layer: Layer
    value: str
    weight: str
    channel_axis: int
    inner: int
    outputs: int
    groups: int = 1
    transposed: bool = False
    window: Window | None = None


@dataclass(frozen=True)
class Window:
    """What a Conv sees at once.

    Attributes:
        kernel: Height and width.
        strides: Vertical and horizontal.
        pads: Top, left, bottom, right, filled with 0.
        dilations: Vertical and horizontal.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]


def find_layers(
    model: onnx.ModelProto,
    capture_shapes: Mapping[str, tuple[int, ...]],
    islands: frozenset[str],
) -> list[WeightedNode]:
    """Return every Linear and Conv, in graph order.

    Args:
        model: Float32 graph.
        capture_shapes: Shape of each graph input for one capture, batch axis included.
        islands: Names of nodes that must stay float32.

    Raises:
        ExportError: The graph's types do not fit together.
    """
    types = infer_types(model, capture_shapes)
    weights = {t.name: tuple(t.dims) for t in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv") and node.input[1] in weights:
            made = _conv if node.op_type == "Conv" else _linear
            found.append(made(node, weights[node.input[1]], types, node.name in islands))
    return found


def _linear(
    node: onnx.NodeProto,
    shape: tuple[int, ...],
    types: Mapping[str, ValueType],
    is_island: bool,
) -> WeightedNode:
    attributes = {a.name: a for a in node.attribute}
    transposed = "transB" in attributes and bool(attributes["transB"].i)
    inner, outputs = (shape[-1], shape[-2]) if transposed else (shape[-2:] if shape[1:] else (0, 0))
    result = _extents(types, node.output[0])
    rows = math.prod(result[:-1]) if result else 0
    reason = ""
    if is_island:
        reason = "float32 island"
    elif len(shape) != 2:
        reason = "its weight is not one matrix"
    elif not result:
        reason = "its shape is not known before it runs"
    elif any(attributes[n].f != 1.0 for n in ("alpha", "beta") if n in attributes) or (
        "transA" in attributes and attributes["transA"].i
    ):
        reason = "a Gemm with factors or a transposed activation"
    elif rows < LEAST_ROWS:
        reason = f"matrix-vector product: {rows} rows a capture"
    elif inner < LEAST_INNER or outputs < LEAST_OUTPUTS:
        reason = f"too small: {inner} by {outputs}"
    layer = Layer(node.name, node.op_type, rows * inner * outputs, not reason, reason)
    return WeightedNode(
        layer, node.input[0], node.input[1], -1, inner, outputs, transposed=transposed
    )


def _conv(
    node: onnx.NodeProto,
    shape: tuple[int, ...],
    types: Mapping[str, ValueType],
    is_island: bool,
) -> WeightedNode:
    attributes = {a.name: a for a in node.attribute}
    groups = attributes["group"].i if "group" in attributes else 1
    inner = math.prod(shape[1:])
    result = _extents(types, node.output[0])
    places = math.prod(result[2:]) if result else 0
    padding = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    window = None
    reason = ""
    if is_island:
        reason = "float32 island"
    elif len(shape) != 4 or padding not in (b"", b"NOTSET"):
        reason = "not a plain two-dimensional convolution"
    elif not result:
        reason = "its shape is not known before it runs"
    elif places < LEAST_ROWS:
        reason = f"matrix-vector product: {places} places a capture"
    elif inner < LEAST_INNER:
        reason = f"too small: {inner} values a product, {groups} groups"
    if len(shape) == 4:
        window = _window(attributes, (shape[2], shape[3]))
    macs = places * shape[0] * inner
    layer = Layer(node.name, "Conv", macs, not reason, reason)
    return WeightedNode(
        layer, node.input[0], node.input[1], 1, inner, shape[0], groups=groups, window=window
    )


def _window(attributes: Mapping[str, onnx.AttributeProto], kernel: tuple[int, int]) -> Window:
    def ints(name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(attributes[name].ints) if name in attributes else default

    strides, dilations = ints("strides", (1, 1)), ints("dilations", (1, 1))
    top, left, bottom, right = ints("pads", (0, 0, 0, 0))
    return Window(
        kernel, (strides[0], strides[1]), (top, left, bottom, right), (dilations[0], dilations[1])
    )


def _extents(types: Mapping[str, ValueType], name: str) -> tuple[int, ...]:
    shape = types[name].shape if name in types else None
    if shape is None or any(extent is None for extent in shape):
        return ()
    return tuple(extent for extent in shape if extent is not None)
