"""Reading and editing of an ONNX graph: every node, values by name, constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

ADDED = "fasdk"  # first part of the names of everything added to a graph


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the graphs that its nodes hold."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else [*attribute.graphs]
            for one in inner:
                yield from all_graphs(one)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a model, those of inner graphs and local functions included."""
    for graph in all_graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model."""
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def expose_values(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Make outputs of the values named that are none yet, whatever their types."""
    from onnx import ValueInfoProto

    present = {output.name for output in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)


def fresh_name(name: str, taken: set[str]) -> str:
    """Return `name`, or where it is taken `name_1` and so on, and add it to those taken."""
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put other nodes, in topological order, in place of a graph's own."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def rename(graph: onnx.GraphProto, names: Mapping[str, str], reserved: Iterable[str] = ()) -> None:
    """Rename values; a value that already has one of the new or reserved names gets another."""
    taken = {*names.values(), *reserved}
    values = value_names(graph)
    moved = {name: f"{name}_in_file" for name in values & taken if name not in names}
    while set(moved.values()) & (values | taken):
        moved = {name: f"{new}_" for name, new in moved.items()}
    substitute(graph, {**moved, **names})


def value_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all values of a graph."""
    values = {n for node in graph.node for n in (*node.input, *node.output)}
    named = (*graph.initializer, *graph.input, *graph.output)
    return values | {one.name for one in named}


def substitute(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    """Replace names of values wherever they occur."""
    for one in all_graphs(graph):
        for node in one.node:
            for group in (node.input, node.output):
                for index, name in enumerate(group):
                    group[index] = renamed.get(name, name)
        for named in (*one.input, *one.output, *one.initializer):
            named.name = renamed.get(named.name, named.name)


def constants_of(
    graph: onnx.GraphProto, largest: int | None = None
) -> dict[str, NDArray[np.generic]]:
    """Return the values of initializers and Constant nodes, of at most so many elements if said."""
    from onnx import numpy_helper

    known = {
        t.name: numpy_helper.to_array(t)
        for t in graph.initializer
        if largest is None or np.prod(t.dims, dtype=np.int64) <= largest
    }
    for node in graph.node:
        if node.op_type == "Constant":
            value = constant_value(node)
            if value is not None and (largest is None or value.size <= largest):
                known[node.output[0]] = value
    return known


def constant_of(graph: onnx.GraphProto, name: str) -> NDArray[np.generic] | None:
    """Return the value of one initializer or Constant node; None where `name` is neither."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        if tensor.name == name:
            return np.asarray(numpy_helper.to_array(tensor))
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            return constant_value(node)
    return None


def constant_value(node: onnx.NodeProto) -> NDArray[np.generic] | None:
    """Return the value of a Constant node; None where it is no tensor of numbers."""
    from onnx import numpy_helper

    types: dict[str, type[np.generic]] = {
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_float": np.float32,
        "value_floats": np.float32,
    }
    for attribute in node.attribute:
        if attribute.name == "value":
            return np.asarray(numpy_helper.to_array(attribute.t))
        if attribute.name in types:
            plain = {"value_int": attribute.i, "value_float": attribute.f}
            many = attribute.ints if attribute.name == "value_ints" else attribute.floats
            return np.array(plain.get(attribute.name, list(many)), types[attribute.name])
    return None


def attribute_of(node: onnx.NodeProto, name: str, default: object = None) -> Any:
    """Return the value of a node's attribute."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    """Set an attribute of a node; None removes it."""
    from onnx import helper

    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name == name:
            del node.attribute[index]
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


class Additions:
    """Nodes and constants to put into a graph, named apart from what it holds.

    Attributes:
        nodes: Nodes in the order in which they were added.

    Args:
        graph: Graph that the constants are added to at once; the nodes are placed by the caller.
        part: Name of what they are for, part of their names.
    """

    def __init__(self, graph: onnx.GraphProto, part: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._part = part
        self._taken = value_names(graph)

    def constant(self, name: str, values: object, dtype: type[np.generic] = np.int64) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        own = self._free(name)
        self._graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), own))
        return own

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name."""
        from onnx import helper

        own = self._free(name)
        output = self._free(f"{name}_out")
        self.nodes.append(helper.make_node(operator, inputs, [output], own, **attributes))
        return output

    def _free(self, name: str) -> str:
        own = f"{ADDED}/{self._part}/{name}"
        number = 2
        while own in self._taken:
            own = f"{ADDED}/{self._part}/{name}_{number}"
            number += 1
        self._taken.add(own)
        return own
