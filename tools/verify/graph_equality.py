"""Equality of ONNX graphs operator by operator and weight by weight, names aside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import onnx
from onnx import numpy_helper

_Row = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class GraphSize:
    """What a comparison went through.

    Attributes:
        operators: Nodes, those of subgraphs included.
        weights: Number of initializers.
        weight_bytes: Bytes of all initializers.
    """

    operators: int
    weights: int
    weight_bytes: int


def first_difference(left: bytes, right: bytes) -> str | None:
    """Return where two serialized ONNX models first differ, or None where they are equal.

    Nodes are compared in stored order: operator, domain, attributes, and which values they read
    and write. A value is known by the order of its first appearance, an initializer by its type,
    shape and bytes. Names, documentation and metadata do not count.

    Raises:
        ValueError: A model has local functions or sparse initializers, which are not compared.
    """
    pairs = zip_longest(_rows(_load(left)), _rows(_load(right)))
    for position, (one, other) in enumerate(pairs):
        if one != other:
            return f"item {position}: {_describe(one)} against {_describe(other)}"
    return None


def measure_size(model: bytes) -> GraphSize:
    """Return the number of operators and weights of a serialized ONNX model."""
    kinds = list(_rows(_load(model)))
    weights = [row for kind, row in kinds if kind == "weight"]
    return GraphSize(
        operators=sum(kind == "operator" for kind, _ in kinds),
        weights=len(weights),
        weight_bytes=sum(len(row[-1]) for row in weights),
    )


@dataclass
class _Values:
    """Numbers of values by name, in order of first appearance; a subgraph sees its parent's."""

    weights: dict[str, onnx.TensorProto]
    numbers: dict[str, int] = field(default_factory=dict)

    def inner(self, graph: onnx.GraphProto) -> _Values:
        return _Values(self.weights | _initializers(graph), dict(self.numbers))

    def define(self, name: str) -> int:
        self.numbers[name] = len(self.numbers)
        return self.numbers[name]


def _load(model: bytes) -> onnx.ModelProto:
    loaded = onnx.load_model_from_string(model)
    if loaded.functions:
        raise ValueError("the model has local functions, which are not compared")
    return loaded


def _rows(model: onnx.ModelProto) -> Iterator[_Row]:
    opsets = sorted((entry.domain, entry.version) for entry in model.opset_import)
    yield "model", (model.ir_version, *opsets)
    yield from _graph_rows(model.graph, _Values(_initializers(model.graph)))


def _graph_rows(graph: onnx.GraphProto, values: _Values) -> Iterator[_Row]:
    if graph.sparse_initializer:
        raise ValueError("the graph has sparse initializers, which are not compared")
    for given in graph.input:
        if given.name not in values.weights:
            yield "input", (values.define(given.name), *_type_of(given))
    for node in graph.node:
        reads: list[int | str] = []
        for name in node.input:
            if name and name not in values.numbers and name in values.weights:
                number = values.define(name)
                yield "weight", (number, *_content(values.weights[name]))
            # A value that nothing has written yet would be an invalid graph.
            reads.append(values.numbers[name] if name else "absent")
        nested: list[_Row] = []
        attributes = []
        for attribute in sorted(node.attribute, key=lambda entry: entry.name):
            content, inner = _attribute(attribute, values)
            attributes.append((attribute.name, attribute.type, content))
            nested.extend(inner)
        writes = [values.define(name) if name else "absent" for name in node.output]
        operator = (node.op_type, node.domain, tuple(reads), tuple(writes), tuple(attributes))
        yield "operator", operator
        yield from nested
    for made in graph.output:
        if made.name not in values.numbers and made.name in values.weights:
            yield "weight", (values.define(made.name), *_content(values.weights[made.name]))
        yield "output", (values.numbers[made.name], *_type_of(made))
    unused = (t for name, t in _initializers(graph).items() if name not in values.numbers)
    for content in sorted(map(_content, unused)):
        yield "weight", ("unused", *content)


def _attribute(attribute: onnx.AttributeProto, values: _Values) -> tuple[object, Iterable[_Row]]:
    """Return an attribute's content without names, and the rows of its subgraphs."""
    graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
    if graphs:
        rows = [row for graph in graphs for row in _graph_rows(graph, values.inner(graph))]
        return len(graphs), rows
    tensors = [attribute.t] if attribute.HasField("t") else list(attribute.tensors)
    if tensors:
        return tuple(map(_content, tensors)), ()
    plain = onnx.AttributeProto()
    plain.CopyFrom(attribute)
    plain.name = plain.doc_string = ""
    return plain.SerializeToString(deterministic=True), ()


def _initializers(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _content(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    return tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()


def _type_of(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | str, ...]]:
    """Return element type and shape; a symbolic dimension is "any", whatever its name."""
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    return tensor.elem_type, tuple(d.dim_value if d.HasField("dim_value") else "any" for d in dims)


def _describe(row: _Row | None) -> str:
    if row is None:
        return "nothing"
    kind, content = row
    if kind == "weight":
        number, data_type, dims, data = content
        element = onnx.TensorProto.DataType.Name(data_type).lower()
        digest = hashlib.sha256(data).hexdigest()[:12]
        return f"weight {number}, {element} {list(dims)}, SHA-256 {digest}"
    return f"{kind} {content}"[:160]
