"""Conversion of a float32 graph to half precision, with the types in the graph itself.

A strongly typed TensorRT network, which takes its types from the graph and not from builder flags,
needs every operand of a node in one float type. So half precision is a property of each value:
everything is float16 but explicit float32 islands, with one Cast where a value crosses between the
two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fasdk.bundle.manifest import Precision
from fasdk.errors import ExportError, PrecisionError
from fasdk_engines.graph.editing import fresh_name
from fasdk_engines.graph.islands import DEFAULT_ISLANDS, Islands, keep_in_float32
from fasdk_engines.graph.types import MOVEMENT, infer_types, label, parse_graph, subgraph_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

# onnx.TensorProto.DataType, a fixed part of the file format
_FLOAT, _FLOAT16 = 1, 10

# Values in between belong to neither region by nature: they stay float32 where everything around
# them is, so that no value is cast down only to be cast up again.
_MOVEMENT = MOVEMENT | {"Cast", "ConstantOfShape", "Tile"}
_ARITHMETIC = frozenset(
    [
        "Abs",
        "Add",
        "Clip",
        "Div",
        "Exp",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Sqrt",
        "Sub",
        "Sum",
        "Tanh",
        "Where",
    ]
)
# They read the value but not its type.
_TYPE_BLIND = frozenset(["Cast", "Shape", "Size"])
# Their float output comes from an attribute or a subgraph that a cast of operands does not reach.
_UNSUPPORTED = frozenset(["Bernoulli", "CastLike", "EyeLike", "RandomNormal", "RandomUniform"])


@dataclass(frozen=True)
class LostWeight:
    """A weight of which half precision keeps nothing.

    Attributes:
        name: Name of the weight in the graph.
        nodes: Names of the nodes that read it in half precision, in graph order.
        largest: Its value of the largest magnitude: below 6e-8 it becomes 0, above 65504 infinite.
    """

    name: str
    nodes: tuple[str, ...]
    largest: float

    @property
    def vanishes(self) -> bool:
        """Whether every value becomes 0; else one becomes infinite."""
        return abs(self.largest) < 1.0


@dataclass(frozen=True, eq=False)
class HalfGraph:
    """A graph in half precision.

    Attributes:
        graph: Serialized ONNX model.
        lost: Weights that became 0 or infinite, by order of use.
        halves: Number of values that nodes compute in half precision.
    """

    graph: bytes
    lost: tuple[LostWeight, ...]
    halves: int


def parse_precision(name: str) -> Precision:
    """Return the precision called `name`.

    Raises:
        PrecisionError: There is no such precision; `auto` is a search, not a precision.
    """
    choices = ", ".join(p.value for p in Precision)
    if name == "auto":
        raise PrecisionError(f"precision 'auto' names no precision here: choose one of {choices}")
    try:
        return Precision(name)
    except ValueError:
        raise PrecisionError(f"unknown precision {name!r}: choose one of {choices}") from None


def convert(graph: bytes, precision: Precision, islands: Islands = DEFAULT_ISLANDS) -> bytes:
    """Return the graph in another precision, with the same float32 inputs and outputs.

    Values keep their names, so that a layer of one graph can be held against the same layer of the
    other; equal arguments give equal bytes.

    Args:
        graph: ONNX file, float32 throughout.
        precision: FP32 returns the very bytes given.
        islands: Nodes and values that stay float32 in FP16.

    Raises:
        PrecisionError: The precision needs captures, which this function does not take, a weight
            is beyond half precision, or an island names no node. A weight that vanishes is no
            error here: what it costs is measured (`fasdk_engines.graph.half_precision`).
        ExportError: The graph is not one that can be converted: its types do not fit together, it
            holds subgraphs, local functions, sparse or external weights, or half-precision parts.
    """
    if precision is Precision.FP32:
        return graph
    if precision is not Precision.FP16:
        raise PrecisionError(
            f"precision {precision.value!r} needs calibration captures: "
            "give --calibration LIST, or choose fp32 or fp16"
        )
    half = convert_to_half(graph, islands)
    for weight in half.lost:
        if not weight.vanishes:
            raise PrecisionError(
                f"weight {weight.name!r} of node {weight.nodes[0]!r} holds {weight.largest:g}, "
                f"beyond half precision's 65504: {keep_in_float32(weight.nodes)}"
            )
    return half.graph


def convert_to_half(graph: bytes, islands: Islands = DEFAULT_ISLANDS) -> HalfGraph:
    """Return a float32 graph in half precision with the weights that it loses.

    Args:
        graph: ONNX file, float32 throughout.
        islands: Nodes and values that stay float32.

    Raises:
        PrecisionError: A weight is not finite, or an island names no node.
        ExportError: The graph is not one that can be converted; see `convert`.
    """
    model = parse_graph(graph)
    _refuse_unconvertible(model)
    _hoist_constants(model)
    half = _HalfConversion(model, islands)
    half.rewrite()
    del model.graph.value_info[:]
    half.check()
    halves = sum(element == _FLOAT16 for element in half.produced.values())
    return HalfGraph(model.SerializeToString(deterministic=True), tuple(half.lost), halves)


def _refuse_unconvertible(model: onnx.ModelProto) -> None:
    for node in subgraph_nodes(model):
        raise ExportError(f"node {label(node)} holds a graph of its own: export without If or Loop")
    if model.functions:
        raise ExportError(
            f"local function {model.functions[0].name!r}: inline it before conversion"
        )
    if model.graph.sparse_initializer:
        raise ExportError("the graph holds sparse weights: export them dense")
    for tensor in model.graph.initializer:
        if tensor.external_data:
            raise ExportError(f"weight {tensor.name!r} lies outside the graph: export one file")
        if tensor.data_type == _FLOAT16:
            raise ExportError(f"weight {tensor.name!r} is float16: convert the float32 graph")
    for node in model.graph.node:
        if node.op_type in _UNSUPPORTED or (
            node.op_type == "Cast"
            and any(a.name == "to" and a.i == _FLOAT16 for a in node.attribute)
        ):
            raise ExportError(f"node {label(node)} cannot be converted: export it as plain float32")


def _hoist_constants(model: onnx.ModelProto) -> None:
    """Turn float Constant nodes into initializers, which may exist in both types."""
    import onnx

    kept = []
    for node in model.graph.node:
        value = _constant_value(node) if node.op_type == "Constant" else None
        if value is None or value.dtype != np.float32:
            kept.append(node)
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, node.output[0]))
    if len(kept) != len(model.graph.node):
        nodes = [_copy(node) for node in kept]
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _constant_value(
    node: onnx.NodeProto,
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
    import onnx

    attribute = node.attribute[0]
    if attribute.name == "value":
        return onnx.numpy_helper.to_array(attribute.t)
    if attribute.name == "value_float":
        return np.array(attribute.f, np.float32)
    if attribute.name == "value_floats":
        return np.array(attribute.floats, np.float32)
    return None


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    duplicate = onnx.NodeProto()
    duplicate.CopyFrom(node)
    return duplicate


@dataclass
class _HalfConversion:
    """Conversion of one graph to half precision.

    Attributes:
        model: Graph, rewritten in place.
        islands: Nodes that stay float32.
        floats: Names of the float32 values of the original graph.
        weights: Initializers by name.
        wide: Indices of the nodes that compute in float32.
        produced: Element type each float value has after conversion, by name.
        wanted: Names of the weights each region reads, by element type, in order of first use.
        lost: Weights that became 0 or infinite, in order of use.
    """

    model: onnx.ModelProto
    islands: Islands
    floats: frozenset[str] = field(init=False)
    weights: dict[str, onnx.TensorProto] = field(init=False)
    wide: set[int] = field(init=False)
    produced: dict[str, int] = field(init=False)
    wanted: dict[int, dict[str, str]] = field(init=False)
    lost: list[LostWeight] = field(default_factory=list)
    _names: set[str] = field(init=False)
    _readers: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        types = infer_types(self.model)
        for node in self.model.graph.node:
            ends = {types[name].element for name in (*node.input, *node.output) if name in types}
            if node.op_type == "Cast" and ends == {_FLOAT}:
                node.op_type = "Identity"
                del node.attribute[:]
        self.floats = frozenset(name for name, t in types.items() if t.element == _FLOAT)
        for name, t in types.items():
            if t.element == _FLOAT16:
                raise ExportError(f"value {name!r} is float16: convert the float32 graph")
        self.weights = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._names = {*types, *self.weights}
        self._opset = next(
            o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")
        )
        self.wide = self._choose_wide()
        self.produced = {v.name: _FLOAT for v in self.model.graph.input if v.name in self.floats}
        self.wanted = {_FLOAT: {}, _FLOAT16: {}}

    def _choose_wide(self) -> set[int]:
        """Return the islands, and whatever lies only between float32 values."""
        nodes = self.model.graph.node
        unknown = self.islands.nodes - {node.name for node in nodes}
        if unknown:
            raise PrecisionError(
                f"island {min(unknown)!r} names no node of the graph: name one as the graph does"
            )
        outputs = {value.name for value in self.model.graph.output}
        fixed = {
            index
            for index, node in enumerate(nodes)
            if node.op_type in self.islands.operators
            or node.name in self.islands.nodes
            or (self.islands.outputs and outputs.intersection(node.output))
        }
        candidates = {
            index
            for index, node in enumerate(nodes)
            if index not in fixed and node.op_type in _MOVEMENT | _ARITHMETIC
        }
        producer = {name: i for i, node in enumerate(nodes) for name in node.output}
        readers: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            for name in node.input:
                readers.setdefault(name, []).append(index)
        while True:
            wide = fixed | candidates

            def surrounded(index: int, wide: set[int] = wide) -> bool:
                node = nodes[index]
                read_by = [reader for name in node.output for reader in readers.get(name, ())]
                if not read_by and not outputs.intersection(node.output):
                    return False
                # A graph input counts as half: it is rounded at the border.
                sources = (n for n in node.input if n in self.floats and n not in self.weights)
                return all(producer.get(name, -1) in wide for name in sources) and all(
                    reader in wide or nodes[reader].op_type in _TYPE_BLIND for reader in read_by
                )

            kept = {index for index in candidates if surrounded(index)}
            if kept == candidates:
                return wide
            candidates = kept

    def rewrite(self) -> None:
        """Retype every node, in graph order, and every weight it reads."""
        rewritten: list[onnx.NodeProto] = []
        casts: dict[tuple[str, int], str] = {}
        renamed: dict[str, str] = {}
        outputs = {v.name for v in self.model.graph.output if v.name in self.floats}
        for index, original in enumerate(self.model.graph.node):
            node = _copy(original)
            element = _FLOAT if index in self.wide else _FLOAT16
            self._retype_inputs(node, element, rewritten, casts, renamed)
            self._retype_outputs(node, element)
            rewritten.append(node)
            for slot, name in enumerate(node.output):
                if name in outputs and self.produced.get(name) == _FLOAT16:
                    # The contract's name belongs to the float32 side of the border.
                    inner = fresh_name(f"{name}_fp16", self._names)
                    node.output[slot] = renamed[name] = inner
                    self.produced[inner], self.produced[name] = _FLOAT16, _FLOAT
                    casts[inner, _FLOAT] = name
                    rewritten.append(_cast(inner, name, _FLOAT))
        del self.model.graph.node[:]
        self.model.graph.node.extend(rewritten)
        self._retype_weights()

    def _retype_inputs(
        self,
        node: onnx.NodeProto,
        element: int,
        rewritten: list[onnx.NodeProto],
        casts: dict[tuple[str, int], str],
        renamed: dict[str, str],
    ) -> None:
        for slot, original in enumerate(node.input):
            if original not in self.floats:
                continue
            if original in self.weights:
                wanted = self._wanted(node, slot, element)
                node.input[slot] = self._weight(original, wanted)
                if wanted == _FLOAT16:
                    self._readers.setdefault(original, []).append(node.name)
                continue
            name = node.input[slot] = renamed.get(original, original)
            wanted = self._wanted(node, slot, element)
            if node.op_type in _TYPE_BLIND or self.produced[name] == wanted:
                continue
            if (name, wanted) not in casts:
                suffix = "fp16" if wanted == _FLOAT16 else "fp32"
                casts[name, wanted] = fresh_name(f"{name}_{suffix}", self._names)
                rewritten.append(_cast(name, casts[name, wanted], wanted))
            node.input[slot] = casts[name, wanted]

    def _retype_outputs(self, node: onnx.NodeProto, element: int) -> None:
        for slot, name in enumerate(node.output):
            if name in self.floats:
                self.produced[name] = element if self._takes_half(node, slot, out=True) else _FLOAT
        if node.op_type == "Cast" and node.output[0] in self.floats:
            next(a for a in node.attribute if a.name == "to").i = element
        if node.op_type == "ConstantOfShape" and node.output[0] in self.floats:
            self._retype_fill(node, element)

    def _wanted(self, node: onnx.NodeProto, slot: int, element: int) -> int:
        return element if self._takes_half(node, slot, out=False) else _FLOAT

    def _takes_half(self, node: onnx.NodeProto, slot: int, *, out: bool) -> bool:
        """Return whether the operator's own definition lets this operand be float16."""
        import onnx

        try:
            schema = onnx.defs.get_schema(node.op_type, self._opset, node.domain)
        except onnx.defs.SchemaError as error:
            raise ExportError(
                f"node {label(node)} of domain {node.domain!r} is not an ONNX operator"
            ) from error
        formals = schema.outputs if out else schema.inputs
        return "tensor(float16)" in formals[min(slot, len(formals) - 1)].types

    def _weight(self, name: str, element: int) -> str:
        """Return the name under which a region reads a weight."""
        if name not in self.wanted[element]:
            other = _FLOAT if element == _FLOAT16 else _FLOAT16
            suffix = "fp16" if element == _FLOAT16 else "fp32"
            taken = name in self.wanted[other]
            self.wanted[element][name] = (
                fresh_name(f"{name}_{suffix}", self._names) if taken else name
            )
        return self.wanted[element][name]

    def _retype_weights(self) -> None:
        import onnx

        outputs = {value.name for value in self.model.graph.output}
        for name, tensor in self.weights.items():
            if name not in self.floats or name in outputs:
                continue
            wide, narrow = self.wanted[_FLOAT].get(name), self.wanted[_FLOAT16].get(name)
            if narrow is None:
                continue
            value = onnx.numpy_helper.to_array(tensor)
            half = self._to_half(value, name, self._readers.get(name, ()))
            narrowed = onnx.numpy_helper.from_array(half, narrow)
            if wide is not None and wide != name:
                self.model.graph.initializer.append(onnx.numpy_helper.from_array(value, wide))
            if narrow == name:
                tensor.CopyFrom(narrowed)
            else:
                self.model.graph.initializer.append(narrowed)

    def _to_half(
        self,
        value: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
        name: str,
        nodes: Sequence[str],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
        if not np.isfinite(value).all():
            worst = float(value.flat[int(np.argmin(np.isfinite(value)))])
            raise PrecisionError(
                f"weight {name!r} holds {worst:g}, which no precision can use: "
                "train again, or repair the checkpoint"
            )
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all() or (value.any() and not half.any()):
            largest = float(value.flat[int(np.argmax(np.abs(value)))])
            self.lost.append(LostWeight(name, tuple(dict.fromkeys(nodes)), largest))
        return half

    def _retype_fill(self, node: onnx.NodeProto, element: int) -> None:
        import onnx

        fill = next((a for a in node.attribute if a.name == "value"), None)
        value = np.zeros(1, np.float32) if fill is None else onnx.numpy_helper.to_array(fill.t)
        if element == _FLOAT16:
            value = self._to_half(value, node.output[0], [node.name])
        made = onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(value))
        del node.attribute[:]
        node.attribute.append(made)

    def check(self) -> None:
        """Hold what was written against ONNX's own type inference.

        Raises:
            ExportError: A value's type is not the one the conversion gave it.
        """
        types = infer_types(self.model)
        for name, expected in self.produced.items():
            if types[name].element != expected:
                raise ExportError(
                    f"value {name!r} came out as element type {types[name].element}, "
                    f"expected {expected}: its operator is not one that can be converted"
                )


def _cast(source: str, target: str, element: int) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node("Cast", [source], [target], name=f"cast:{target}", to=element)
