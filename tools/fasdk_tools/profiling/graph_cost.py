"""Operations and bytes of one call of an ONNX graph, kernel by kernel."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk_engines.graph.editing import attribute_of
from fasdk_engines.graph.types import ValueType, holds_graph, infer_types, label, parse_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

_Shapes = list[tuple[int, ...]]


class Number(str, Enum):
    """Number format in which a product is computed."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @property
    def size_bytes(self) -> int:
        """Bytes of one number."""
        return {Number.FP32: 4, Number.FP16: 2, Number.INT8: 1}[self]


class Work(str, Enum):
    """Kind of a kernel by the product it computes."""

    CONVOLUTION = "convolution"
    LINEAR = "linear"
    ATTENTION = "product of two activations"
    OTHER = "no product"


@dataclass(frozen=True)
class KernelCost:
    """Cost of one kernel: a node of the graph and the pointwise nodes that follow it.

    Attributes:
        operator: ONNX operator of its first node.
        work: Kind of its product.
        number: Number format of its product; of its outputs where it computes none.
        operations: Operations of its product, two a multiply-add; 0 where it computes none.
        weights: Elements of the weights it reads.
        weight_bytes: Bytes of them as the graph stores them.
        activations: Elements of the computed values it reads and writes.
        activation_bytes: Bytes of them in the graph's types.
    """

    operator: str
    work: Work
    number: Number
    operations: int
    weights: int
    weight_bytes: int
    activations: int
    activation_bytes: int


@dataclass(frozen=True)
class GraphCost:
    """Cost of one call of a graph.

    Attributes:
        batch: Captures of the call.
        kernels: Its kernels, in the order of the graph.
    """

    batch: int
    kernels: tuple[KernelCost, ...]

    @property
    def operations(self) -> int:
        """Operations of all products, two a multiply-add."""
        return sum(kernel.operations for kernel in self.kernels)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights as the graph stores them; one that two kernels read counts twice."""
        return sum(kernel.weight_bytes for kernel in self.kernels)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the values that kernels exchange, in the graph's types."""
        return sum(kernel.activation_bytes for kernel in self.kernels)

    def operations_by_work(self) -> dict[tuple[Work, Number], int]:
        """Return the operations by kind of product and its number format."""
        found: Counter[tuple[Work, Number]] = Counter()
        for kernel in self.kernels:
            if kernel.operations:
                found[kernel.work, kernel.number] += kernel.operations
        return dict(found)


def graph_cost(graph: bytes | memoryview, inputs: Mapping[str, tuple[int, ...]]) -> GraphCost:
    """Count one call of a graph.

    Products are counted exactly: MatMul, Gemm, Conv, ConvTranspose and Einsum. Other operators cost
    the bytes they move. Pointwise operators join the kernel before them where nothing else reads
    its result, as TensorRT fuses them; views (Reshape and its like) and what depends on weights
    alone cost nothing.

    Args:
        graph: ONNX file, without external data.
        inputs: Shape of every input, batch first; the first one's batch is the call's.

    Raises:
        ExportError: The bytes are no ONNX graph, or its types do not fit together.
        UsageError: The shape of a value depends on the data, or the work of an operator is not
            known.
    """
    return cost_of(parse_graph(graph), inputs)


def cost_of(model: onnx.ModelProto, inputs: Mapping[str, tuple[int, ...]]) -> GraphCost:
    """Count one call of a parsed graph; see `graph_cost`. Weights need no values."""
    counted = _Counter(model, infer_types(model, inputs))
    return GraphCost(batch=next(iter(inputs.values()))[0], kernels=counted.kernels())


# Views of their first input: no kernel, no copy.
_VIEWS = frozenset(
    ["DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Dropout"]
)
_QUANTIZING = ("DequantizeLinear", "QuantizeLinear")
_POINTWISE = frozenset(
    name
    for names in (
        "Abs Add And BatchNormalization Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu",
        "Greater GreaterOrEqual HardSigmoid HardSwish LeakyRelu Less LessOrEqual Log Max Min Mul",
        "Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus",
        "Softsign Sqrt Sub Tanh ThresholdedRelu Where",
    )
    for name in names.split()
)
# Operators with products of their own that this module does not count.
_UNCOUNTED = (
    "Attention",
    "ConvInteger",
    "DeformConv",
    "GRU",
    "LSTM",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
)


class _Counter:
    """Values and kernels of one graph.

    Args:
        model: ONNX model, its nodes in an order in which they can run.
        types: Type of every value.
    """

    def __init__(self, model: onnx.ModelProto, types: Mapping[str, ValueType]) -> None:
        from onnx import TensorProto

        self._indices = (TensorProto.INT64, TensorProto.INT32)
        self._halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
        self._types = types
        self._weights = {tensor.name for tensor in model.graph.initializer}
        self._source: dict[str, str] = {}  # by view: the value it is a view of
        self._dequantized: set[str] = set()
        self._nodes = [node for node in model.graph.node if self._is_work(node)]
        # Readings of every computed value by kernels and by the caller, through views too.
        self._readings: Counter[str] = Counter(
            name for node in self._nodes for name in self._read(node)
        )
        self._readings.update(self._resolve(value.name) for value in model.graph.output)

    def kernels(self) -> tuple[KernelCost, ...]:
        """Return the cost of every kernel."""
        kernels: list[list[onnx.NodeProto]] = []
        made: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            kernel = self._kernel_before(node, made)
            if kernel is None:
                kernel = []
                kernels.append(kernel)
            kernel.append(node)
            made.update(dict.fromkeys(node.output, kernel))
        return tuple(self._cost(kernel) for kernel in kernels)

    def _is_work(self, node: onnx.NodeProto) -> bool:
        """Note what a node's outputs are, and return whether a device has work with it."""
        if holds_graph(node) or node.op_type in _UNCOUNTED:
            raise UsageError(
                f"{label(node)}: the work of this operator is not counted: no estimate can be "
                "given for this graph; measure it with `fasdk profile`"
            )
        read = self._read(node)
        constant = all(name in self._weights for name in read)  # so is one that reads nothing
        if node.op_type in _VIEWS:
            self._source[node.output[0]] = read[0]
            if node.op_type == "DequantizeLinear" or node.input[0] in self._dequantized:
                self._dequantized.add(node.output[0])
            return False
        if constant:
            self._weights.update(node.output)
            return False
        # A shape or a list of indices is computed before the call.
        return not all(self._types[name].element in self._indices for name in node.output if name)

    def _kernel_before(
        self, node: onnx.NodeProto, made: Mapping[str, list[onnx.NodeProto]]
    ) -> list[onnx.NodeProto] | None:
        """Return the kernel that a pointwise node is fused with, or None."""
        if node.op_type in _POINTWISE:
            for name in self._read(node):
                if name in made and self._readings[name] == 1:
                    return made[name]
        return None

    def _cost(self, nodes: Sequence[onnx.NodeProto]) -> KernelCost:
        first = nodes[0]
        inside = Counter(name for node in nodes for name in self._read(node))
        results = {name for node in nodes for name in node.output if name}
        weights = [name for name in inside if name in self._weights and self._is_data(name)]
        moved = [name for name in inside if name not in self._weights and name not in results]
        moved += [name for name in results if self._readings[name] > inside[name]]
        operations = sum(
            _COUNTS[node.op_type](
                node,
                [self._shape(n, node) for n in node.input if n],
                self._shape(node.output[0], node),
            )
            for node in nodes
            if node.op_type in _COUNTS
        )
        return KernelCost(
            operator=first.op_type,
            work=self._work(first) if operations else Work.OTHER,
            number=self._number(first, of_product=operations > 0),
            operations=operations,
            weights=sum(self._elements(name, first) for name in weights),
            weight_bytes=sum(self._bytes(name, first) for name in weights),
            activations=sum(self._elements(name, first) for name in moved),
            activation_bytes=sum(self._bytes(name, first) for name in moved),
        )

    def _read(self, node: onnx.NodeProto) -> list[str]:
        """Return what a node reads, views resolved; of Q and DQ the tensor alone."""
        names = node.input[:1] if node.op_type in _QUANTIZING else node.input
        return [self._resolve(name) for name in names if name]

    def _resolve(self, name: str) -> str:
        return self._source.get(name, name)

    def _work(self, node: onnx.NodeProto) -> Work:
        if node.op_type in ("Conv", "ConvTranspose"):
            return Work.CONVOLUTION
        constant = [name in self._weights for name in self._read(node)[:2]]
        return Work.LINEAR if any(constant) else Work.ATTENTION

    def _number(self, node: onnx.NodeProto, *, of_product: bool) -> Number:
        if of_product and all(name in self._dequantized for name in node.input[:2]):
            return Number.INT8
        half = self._types[node.output[0]].element in self._halves
        return Number.FP16 if half else Number.FP32

    def _is_data(self, name: str) -> bool:
        return self._types[name].element not in self._indices

    def _shape(self, name: str, node: onnx.NodeProto) -> tuple[int, ...]:
        found = self._types.get(name)
        extents = None if found is None else found.shape
        if extents is None or any(extent is None for extent in extents):
            raise UsageError(
                f"{label(node)}: the shape of {name!r} depends on the data, so its work is not "
                "known: no estimate can be given for this graph; measure it with `fasdk profile`"
            )
        return tuple(extent for extent in extents if extent is not None)

    def _elements(self, name: str, node: onnx.NodeProto) -> int:
        return math.prod(self._shape(name, node))

    def _bytes(self, name: str, node: onnx.NodeProto) -> int:
        from onnx.helper import tensor_dtype_to_np_dtype

        size = tensor_dtype_to_np_dtype(self._types[name].element).itemsize
        return self._elements(name, node) * int(size)


def _count_matmul(_: onnx.NodeProto, read: _Shapes, out: tuple[int, ...]) -> int:
    return 2 * math.prod(out) * read[0][-1]


def _count_gemm(node: onnx.NodeProto, read: _Shapes, out: tuple[int, ...]) -> int:
    return 2 * math.prod(out) * read[0][0 if attribute_of(node, "transA", 0) else -1]


def _count_conv(_: onnx.NodeProto, read: _Shapes, out: tuple[int, ...]) -> int:
    return 2 * math.prod(out) * math.prod(read[1][1:])


def _count_transposed(_: onnx.NodeProto, read: _Shapes, __: tuple[int, ...]) -> int:
    return 2 * math.prod(read[0]) * math.prod(read[1][1:])


def _count_einsum(node: onnx.NodeProto, read: _Shapes, _: tuple[int, ...]) -> int:
    """Count a product of two operands: one multiply-add a combination of its indices."""
    equation = attribute_of(node, "equation")
    text = (equation.decode() if isinstance(equation, bytes) else str(equation)).replace(" ", "")
    if len(read) != 2 or "..." in text:
        raise UsageError(
            f"{label(node)}: its equation {text!r} is none of two operands without '...', so its "
            "work is not counted: measure the graph with `fasdk profile`"
        )
    terms: Sequence[str] = text.split("->")[0].split(",")
    extents: dict[str, int] = {}
    for term, shape in zip(terms, read, strict=True):
        extents |= dict(zip(term, shape, strict=True))
    return 2 * math.prod(extents.values())


_COUNTS: dict[str, Callable[[onnx.NodeProto, _Shapes, tuple[int, ...]], int]] = {
    "MatMul": _count_matmul,
    "Gemm": _count_gemm,
    "Conv": _count_conv,
    "ConvTranspose": _count_transposed,
    "Einsum": _count_einsum,
}
