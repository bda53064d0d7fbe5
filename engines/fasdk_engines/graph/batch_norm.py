"""Folding of inference-mode batch normalization into the operators around it.

In inference a BatchNormalization multiplies each channel by gamma / sqrt(variance + epsilon) and
adds beta - mean * gamma / sqrt(variance + epsilon) (Ioffe and Szegedy, "Batch Normalization", ICML
2015). Both are constants, so they go into the weight and bias of a linear operator before or
behind it. What stays where there is no such operator is one product and one sum.

It is done on the float32 graph, before a precision is chosen: the four constants of a
BatchNormalization span ranges that half precision does not hold, such as a mean of 1e-9, and their
folded form does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.graph.editing import fresh_name
from fasdk_engines.graph.types import infer_types, subgraph_nodes

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

# onnx.TensorProto.DataType, a fixed part of the file format
_FLOAT = 1
_EPSILON = 1e-5  # of BatchNormalization where the attribute is left out
_PRODUCERS = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul"])
_READERS = frozenset(["Conv", "Gemm", "MatMul"])


@dataclass(frozen=True, eq=False)
class _Affine:
    """A product and a sum for each channel.

    Attributes:
        scale: float64 [C].
        shift: float64 [C].
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def fold_batch_norm(model: onnx.ModelProto) -> int:
    """Fold every BatchNormalization with constant parameters, in place.

    In this order: into a Conv, ConvTranspose, Gemm or MatMul with a constant weight whose result
    nothing else reads, a constant Add in between included; into every Conv without padding, Gemm or
    MatMul that reads it; else into a Mul and an Add. Constants are computed in float64 and rounded
    to float32 once. Left as they are: training mode, parameters that are not constants or not
    float32, a channel whose constants are not finite, and graphs with subgraphs.

    Returns:
        Number of BatchNormalization nodes that were folded.

    Raises:
        ExportError: The graph's types do not fit together.
    """
    graph = model.graph
    if not any(_is_inference(node) for node in graph.node):
        return 0
    if any(True for _ in subgraph_nodes(model)):
        return 0  # a subgraph reads values by name, which are not counted as readers here
    folding = _Folding(model)
    folding.run()
    return folding.count


@dataclass
class _Folding:
    """Folding of one graph.

    Attributes:
        model: Graph, rewritten in place.
        count: Number of nodes folded so far.
    """

    model: onnx.ModelProto
    count: int = 0
    _constants: dict[str, NDArray[np.float32]] = field(init=False)
    _producers: dict[str, onnx.NodeProto] = field(init=False)
    _readers: dict[str, list[onnx.NodeProto]] = field(init=False)
    _dropped: list[onnx.NodeProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Index the graph."""
        from onnx import numpy_helper

        graph = self.model.graph
        types = infer_types(self.model)
        self._ranks = {name: len(t.shape or ()) for name, t in types.items()}
        self._floats = {name for name, t in types.items() if t.element == _FLOAT}
        self._names = {*types, *(tensor.name for tensor in graph.initializer)}
        self._outputs = {value.name for value in graph.output}
        replaceable = {value.name for value in graph.input}  # a caller may give another value
        self._constants = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if tensor.data_type == _FLOAT and tensor.name not in replaceable
        }
        self._nodes = [type(node).FromString(node.SerializeToString()) for node in graph.node]
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._readers = {}
        for node in self._nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def run(self) -> None:
        """Fold every node that can be folded, in graph order."""
        written: list[onnx.NodeProto] = []
        for node in self._nodes:
            affine = self._affine(node) if _is_inference(node) else None
            if affine is None:
                written.append(node)
                continue
            self.count += 1
            written += self._replacement(node, affine)
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(n for n in written if all(n is not gone for gone in self._dropped))
        read = {name for node in graph.node for name in node.input} | self._outputs
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name not in read:
                del graph.initializer[index]

    def _affine(self, node: onnx.NodeProto) -> _Affine | None:
        """Return what a node does to each channel, or None where it has to stay as it is."""
        if self._ranks.get(node.input[0], 0) < 2 or node.output[0] not in self._floats:
            return None
        if any(name not in self._constants for name in node.input[1:5]):
            return None
        gamma, beta, mean, variance = (
            self._constants[name].astype(np.float64) for name in node.input[1:5]
        )
        epsilon = next((float(a.f) for a in node.attribute if a.name == "epsilon"), _EPSILON)
        with np.errstate(all="ignore"):
            scale = gamma / np.sqrt(variance + epsilon)
            shift = beta - mean * scale
        return _Affine(scale, shift) if _fits(scale, shift) else None

    def _replacement(self, node: onnx.NodeProto, affine: _Affine) -> list[onnx.NodeProto]:
        """Return what stands in the place of a BatchNormalization."""
        for attempt in (self._into_producer, self._into_readers):
            nodes = attempt(node, affine)
            if nodes is not None:
                return nodes
        source, result = node.input[0], node.output[0]
        shape = (-1, *(1,) * (self._ranks[source] - 2))
        product = fresh_name(f"{result}_scaled", self._names)
        name = node.name or result
        return [
            self._node("Mul", source, affine.scale.reshape(shape), product, f"{name}/scale"),
            self._node("Add", product, affine.shift.reshape(shape), result, f"{name}/shift"),
        ]

    def _into_producer(self, node: onnx.NodeProto, affine: _Affine) -> list[onnx.NodeProto] | None:
        """Fold into the linear operator in front, if nothing else reads its result."""
        source, result = node.input[0], node.output[0]
        rank, channels = self._ranks[source], len(affine.scale)
        linear, added = self._only_producer(source), None
        bias = np.zeros(channels)
        if linear is not None and linear.op_type == "Add":
            added = linear
            split = self._split_add(added, rank, channels)
            if split is None:
                return None
            linear, bias = self._only_producer(split[0]), split[1]
        if linear is None or linear.op_type not in _PRODUCERS:
            return None
        weight = self._constants.get(linear.input[1])
        own = self._bias(linear, channels)
        if weight is None or own is None or not _writes_channels(linear, weight, rank):
            return None
        folded = _scale_outputs(linear, weight, affine.scale)
        total = (own + bias) * affine.scale + affine.shift
        if not _fits(folded, total):
            return None
        self._set_weight(linear, folded)
        if added is not None:
            self._dropped.append(added)
        self._set_bias(linear, total)
        linear.output[0] = result
        self._producers[result] = linear
        return []

    def _into_readers(self, node: onnx.NodeProto, affine: _Affine) -> list[onnx.NodeProto] | None:
        """Fold into the linear operators behind, if nothing else reads the node's output."""
        source, result = node.input[0], node.output[0]
        readers = self._readers.get(result, [])
        if not readers or result in self._outputs:
            return None
        folded = []
        for reader in readers:
            found = self._folded_reader(reader, result, self._ranks[source], affine)
            if found is None:
                return None
            folded.append(found)
        for reader, (weight, bias) in zip(readers, folded, strict=True):
            self._set_weight(reader, weight)
            self._set_bias(reader, bias)
            reader.input[0] = source
        others = [x for x in self._readers[source] if x is not node]
        self._readers[source] = others + readers
        return []

    def _folded_reader(
        self, reader: onnx.NodeProto, result: str, rank: int, affine: _Affine
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return the weight and bias of a reader with a channel's product and sum in front."""
        if reader.op_type not in _READERS or result in reader.input[1:]:
            return None
        weight = self._constants.get(reader.input[1])
        if weight is None or not _reads_channels(reader, weight, rank, affine):
            return None
        scaled, added = _scale_inputs(reader, weight, affine)
        bias = self._bias(reader, len(added))
        if bias is None or not _fits(scaled, bias + added):
            return None
        return scaled, bias + added

    def _only_producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that writes a value, if one node alone reads it."""
        if name in self._outputs or len(self._readers.get(name, ())) != 1:
            return None
        return self._producers.get(name)

    def _split_add(
        self, node: onnx.NodeProto, rank: int, channels: int
    ) -> tuple[str, NDArray[np.float64]] | None:
        """Return the value that an Add reads and the constant of each channel, float64 [C]."""
        for value, constant in (tuple(node.input), tuple(node.input)[::-1]):
            found = self._constants.get(constant)
            if found is None or self._ranks.get(value) != rank:
                continue
            shape = (*(1,) * (rank - found.ndim), *found.shape)
            if len(shape) == rank and shape[1] in (1, channels) and found.size == shape[1]:
                return value, np.broadcast_to(found.reshape(-1), (channels,)).astype(np.float64)
        return None

    def _bias(self, node: onnx.NodeProto, channels: int) -> NDArray[np.float64] | None:
        """Return a linear operator's bias, float64 [C]; None where it is not one constant each."""
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros(channels)
        bias = self._constants.get(node.input[2])
        if (
            bias is None
            or bias.size not in (1, channels)
            or bias.shape[:-1].count(1) < bias.ndim - 1
        ):
            return None
        factor = next((a.f for a in node.attribute if a.name == "beta"), 1.0)
        whole = np.broadcast_to(bias.reshape(-1).astype(np.float64), (channels,))
        return whole * factor

    def _set_weight(self, node: onnx.NodeProto, weight: NDArray[np.float64]) -> None:
        node.input[1] = self._constant(f"{node.input[1]}_folded", weight)

    def _set_bias(self, node: onnx.NodeProto, bias: NDArray[np.float64]) -> None:
        if node.op_type == "MatMul":  # of two matrices: the same product, with a bias
            node.op_type = "Gemm"
        for attribute in node.attribute:
            if attribute.name == "beta":
                attribute.f = 1.0
        name = node.input[2] if len(node.input) > 2 and node.input[2] else f"{node.input[1]}_bias"
        del node.input[2:]
        node.input.append(self._constant(f"{name}_folded", bias))

    def _node(
        self, operator: str, source: str, constant: NDArray[np.float64], result: str, name: str
    ) -> onnx.NodeProto:
        """Return an element-wise node of a value and a constant, known to what is folded next."""
        from onnx import helper

        second = self._constant(f"{result}_{'scale' if operator == 'Mul' else 'shift'}", constant)
        node = helper.make_node(operator, [source, second], [result], name=name)
        self._producers[result] = node
        self._readers.setdefault(source, []).append(node)
        self._ranks[result] = self._ranks[source]
        return node

    def _constant(self, name: str, value: NDArray[np.float64]) -> str:
        from onnx import numpy_helper

        fresh, narrow = fresh_name(name, self._names), value.astype(np.float32)
        self._constants[fresh] = narrow
        self.model.graph.initializer.append(numpy_helper.from_array(narrow, fresh))
        return fresh


def _is_inference(node: onnx.NodeProto) -> bool:
    """Return whether a node is a BatchNormalization by channel, with stored statistics."""
    integers = _integers(node)
    return (
        node.op_type == "BatchNormalization"
        and not any(node.output[1:])
        and not integers.get("training_mode")
        # Statistics of each position, which opset 9 removed.
        and bool(integers.get("spatial", 1))
    )


def _fits(*constants: NDArray[np.float64]) -> bool:
    """Return whether float32 holds every value."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(bool(np.isfinite(x.astype(np.float32)).all()) for x in constants)


def _integers(node: onnx.NodeProto) -> dict[str, int]:
    """Return a node's integer attributes by name."""
    return {a.name: a.i for a in node.attribute}


def _writes_channels(node: onnx.NodeProto, weight: NDArray[np.float32], rank: int) -> bool:
    """Return whether the outputs of a linear operator are the channels of its result's axis 1."""
    return weight.ndim == rank if "Conv" in node.op_type else rank == weight.ndim == 2


def _reads_channels(
    node: onnx.NodeProto, weight: NDArray[np.float32], rank: int, affine: _Affine
) -> bool:
    """Return whether a product and a sum in front of an operator can go into its weight and bias.

    Padding is zeros behind the sum, so a sum cannot pass a padded convolution.
    """
    if node.op_type != "Conv":
        return rank == weight.ndim == 2 and not _integers(node).get("transA")
    attributes = {a.name: a for a in node.attribute}
    automatic = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    pads = attributes["pads"].ints if "pads" in attributes else ()
    is_padded = automatic in (b"SAME_UPPER", b"SAME_LOWER") or any(pads)
    return weight.ndim == rank and not (is_padded and affine.shift.any())


def _scale_outputs(
    node: onnx.NodeProto, weight: NDArray[np.float32], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a linear operator's weight with each of its outputs multiplied by `scale`, [C]."""
    wide = weight.astype(np.float64)
    if node.op_type == "ConvTranspose":  # [inputs, outputs a group, ...]
        groups = _integers(node).get("group", 1)
        by_group = wide.reshape(groups, len(wide) // groups, wide.shape[1], -1)
        return (by_group * scale.reshape(groups, 1, wide.shape[1], 1)).reshape(wide.shape)
    if node.op_type == "Conv" or _integers(node).get("transB"):
        return wide * scale.reshape(-1, *(1,) * (wide.ndim - 1))
    return wide * scale


def _scale_inputs(
    node: onnx.NodeProto, weight: NDArray[np.float32], affine: _Affine
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return an operator's weight and added bias [outputs] with an affine in front of it."""
    wide = weight.astype(np.float64)
    if node.op_type == "Conv":  # [outputs, inputs a group, ...]
        groups = _integers(node).get("group", 1)
        by_group = wide.reshape(groups, len(wide) // groups, wide.shape[1], -1)
        scale, shift = (x.reshape(groups, 1, -1, 1) for x in (affine.scale, affine.shift))
        added = (by_group * shift).sum(axis=(2, 3)).reshape(-1)
        return (by_group * scale).reshape(wide.shape), added
    factor = next((a.f for a in node.attribute if a.name == "alpha"), 1.0)
    if _integers(node).get("transB"):
        return wide * affine.scale, factor * (wide @ affine.shift)
    return wide * affine.scale[:, None], factor * (affine.shift @ wide)
