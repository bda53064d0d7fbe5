"""Linear and Conv layers of a graph, and which of them can compute in INT8."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.settings import take_choices
from fasdk_engines.graph.types import ValueType, infer_types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

MIN_INNER = 16  # products shorter than this gain nothing from INT8 (ModelOpt's rule)
MIN_ROWS = 8  # fewer rows are a matrix-vector product, whose time is that of reading the weights
MIN_OUTPUTS = 16


class ExclusionReason(str, Enum):
    """Why a Linear or Conv layer computes in floating point.

    The value is a stable code, as calibration.json holds it.

    Attributes:
        sentence: The reason in words, for messages.
    """

    FLOAT32_ISLAND = ("float32-island", "the model keeps it in float32")
    NOT_ONE_MATRIX = ("not-one-matrix", "its weight is not one matrix")
    UNKNOWN_SHAPE = ("unknown-shape", "its output shape is not known before it runs")
    GENERAL_GEMM = ("general-gemm", "a Gemm with factors or a transposed activation")
    GENERAL_CONV = ("general-conv", "not a plain two-dimensional convolution")
    MATRIX_VECTOR = ("matrix-vector", "a matrix-vector product: too few rows a capture")
    TOO_SMALL = ("too-small", "too small to gain from INT8")
    REVERTED = ("reverted", "reverted to float for accuracy")

    sentence: str

    def __new__(cls, code: str, sentence: str) -> ExclusionReason:
        """Make a member of its code and its sentence."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member


@dataclass(frozen=True)
class Layer:
    """One Linear or Conv layer of a graph.

    Attributes:
        name: Name of its node.
        operator: MatMul, Gemm or Conv.
        macs: Multiply-accumulates for one capture.
        reason: Why it computes in floating point; None where it computes in INT8.
        is_residual: Whether its activation is held in two INT8 terms, the second of which encodes
            the residual of the first, so that its weight is multiplied twice.
        detail: The sizes behind `reason`, such as "1 row"; empty where there are none.
    """

    name: str
    operator: str
    macs: int
    reason: ExclusionReason | None = None
    is_residual: bool = False
    detail: str = ""

    def __post_init__(self) -> None:
        """Take the reason as its member."""
        take_choices(self, reason=ExclusionReason)

    @property
    def quantized(self) -> bool:
        """Whether it computes in INT8."""
        return self.reason is None


@dataclass(frozen=True)
class WeightedNode:
    """A Linear or Conv node with what quantization needs to know of it.

    Attributes:
        layer: Name and size of the layer, and whether it computes in INT8.
        activation: Name of the activation it reads.
        weight: Name of the weight it reads.
        channel_axis: Axis of the activation that is summed over: -1 for Linear, 1 for Conv.
        inner: Length K of one product: rows of a matrix, channels a group times kernel of a Conv.
        outputs: Columns N of the result, over all groups.
        groups: Groups of a Conv, else 1.
        transposed: Whether a Gemm's weight is stored as [N, K].
        window: Sliding window of a Conv; None for a Linear.
    """

    layer: Layer
    activation: str
    weight: str
    channel_axis: int
    inner: int
    outputs: int
    groups: int = 1
    transposed: bool = False
    window: Window | None = None


@dataclass(frozen=True)
class Window:
    """Sliding window of a two-dimensional convolution, in pixels.

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


def int8_share(layers: Sequence[Layer], float_layers: Iterable[str] = ()) -> float:
    """Return the share of multiply-accumulates in INT8, in [0, 1].

    Args:
        layers: Every Linear and Conv layer.
        float_layers: Names of quantized layers to count as floating point.
    """
    reverted, total = set(float_layers), sum(layer.macs for layer in layers)
    in_int8 = sum(y.macs for y in layers if y.quantized and y.name not in reverted)
    return in_int8 / total if total else 0.0


def find_layers(
    model: onnx.ModelProto,
    capture_shapes: Mapping[str, tuple[int, ...]],
    islands: frozenset[str],
) -> list[WeightedNode]:
    """Return every Linear and Conv layer, in graph order.

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
    reason: ExclusionReason | None = None
    detail = ""
    if is_island:
        reason = ExclusionReason.FLOAT32_ISLAND
    elif len(shape) != 2:
        reason = ExclusionReason.NOT_ONE_MATRIX
    elif not result:
        reason = ExclusionReason.UNKNOWN_SHAPE
    elif any(attributes[n].f != 1.0 for n in ("alpha", "beta") if n in attributes) or (
        "transA" in attributes and attributes["transA"].i
    ):
        reason = ExclusionReason.GENERAL_GEMM
    elif rows < MIN_ROWS:
        reason, detail = ExclusionReason.MATRIX_VECTOR, f"{rows} rows"
    elif inner < MIN_INNER or outputs < MIN_OUTPUTS:
        reason, detail = ExclusionReason.TOO_SMALL, f"{inner} by {outputs}"
    layer = Layer(node.name, node.op_type, rows * inner * outputs, reason, detail=detail)
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
    positions = math.prod(result[2:]) if result else 0
    padding = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    window = None
    reason: ExclusionReason | None = None
    detail = ""
    if is_island:
        reason = ExclusionReason.FLOAT32_ISLAND
    elif len(shape) != 4 or padding not in (b"", b"NOTSET"):
        reason = ExclusionReason.GENERAL_CONV
    elif not result:
        reason = ExclusionReason.UNKNOWN_SHAPE
    elif positions < MIN_ROWS:
        reason, detail = ExclusionReason.MATRIX_VECTOR, f"{positions} output positions"
    elif inner < MIN_INNER:
        reason = ExclusionReason.TOO_SMALL
        detail = f"{inner} values a product, {groups} groups"
    if len(shape) == 4:
        window = _window(attributes, (shape[2], shape[3]))
    macs = positions * shape[0] * inner
    layer = Layer(node.name, "Conv", macs, reason, detail=detail)
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


def channel_rows(value: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return an activation as float32 [rows, C], its channels moved from `axis` to the last."""
    return np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])


def window_rows(
    value: NDArray[np.float32], window: Window, limit: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return at most `limit` rows a Conv multiplies, chosen at random: float32 [rows, C * kh * kw].

    Args:
        value: Input of the Conv, float32 [B, C, H, W].
        window: Sliding window of the Conv.
        limit: Largest number of rows.
        rng: Random generator that chooses the rows.
    """
    top, left, bottom, right = window.pads
    padded = np.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)))
    (kh, kw), (dh, dw), (sh, sw) = window.kernel, window.dilations, window.strides
    reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    views = views[:, :, ::sh, ::sw, ::dh, ::dw]  # [B, C, h, w, kh, kw]
    by_place = views.transpose(0, 2, 3, 1, 4, 5)
    extents = by_place.shape[:3]
    places = np.arange(extents[0] * extents[1] * extents[2])
    if len(places) > limit:
        places = rng.choice(places, limit, replace=False)
    rows: NDArray[np.float32] = by_place[np.unravel_index(places, extents)]
    return rows.reshape(len(places), -1)


def weight_matrix(weight: NDArray[np.float32], *, transposed: bool) -> NDArray[np.float64]:
    """Return a weight as float64 [K, N]: a matrix, or a Conv's [N, C / groups, kh, kw]."""
    if weight.ndim == 4:
        weight = weight.reshape(len(weight), -1)
        transposed = True
    matrix: NDArray[np.float64] = (weight.T if transposed else weight).astype(np.float64)
    return matrix
