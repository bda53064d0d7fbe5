"""Branches and constants that are known once an image's size is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.graph.editing import (
    ADDED,
    attribute_of,
    constant_value,
    constants_of,
    replace_nodes,
    substitute,
)
from fasdk_engines.graph.types import holds_graph, infer_types

if TYPE_CHECKING:
    import onnx

_MOST_BRANCHES = 200
_RANDOM_VALUES = frozenset(
    [
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ]
)
_LARGEST_CONSTANT = 2**20  # elements; position embeddings resized to an image's size are as large


def take_known_branches(model: onnx.ModelProto) -> int:
    """Put the branch that is taken in place of every If of known condition, in place.

    A condition is known where it follows from constants and from extents that the graph's inputs
    fix; exporters write such branches for a squeeze.

    Returns:
        The number of branches taken.
    """
    for count in range(_MOST_BRANCHES):
        branches = [node for node in model.graph.node if node.op_type == "If"]
        if not branches:
            return count
        known = _KnownValues(model).values
        index = next(
            (
                i
                for i, n in enumerate(model.graph.node)
                if n.op_type == "If" and n.input[0] in known
            ),
            None,
        )
        if index is None:
            return count
        _take(model.graph, index, bool(np.all(known[model.graph.node[index].input[0]])), count)
    return _MOST_BRANCHES


def fold_known_values(model: onnx.ModelProto) -> None:
    """Make constants of what follows from constants and fixed extents, in place.

    The axes of a reduction or the size a position embedding is resized to often do, and TensorRT
    wants them constant.
    """
    from onnx import numpy_helper

    graph = model.graph
    known = _KnownValues(model).values
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        folded = all(name in known and known[name].dtype.kind in "fiub" for name in node.output)
        if folded and node.op_type != "Constant" and not outputs.intersection(node.output):
            for name in node.output:
                graph.initializer.append(numpy_helper.from_array(np.array(known[name]), name))
        else:
            kept.append(node)
    replace_nodes(graph, kept)


def _take(graph: onnx.GraphProto, index: int, condition: bool, number: int) -> None:
    node = graph.node[index]
    branch = attribute_of(node, "then_branch" if condition else "else_branch")
    inner: onnx.GraphProto = type(graph)()
    inner.CopyFrom(branch)
    own = {name for one in inner.node for name in one.output}
    own |= {tensor.name for tensor in inner.initializer}
    results = [value.name for value in inner.output]
    names = {name: f"{ADDED}/branch_{number}/{name}" for name in own if name}
    substitute(inner, names)
    taken = [*inner.node]
    for result, name in zip(results, node.output, strict=True):
        copy = type(node)(op_type="Identity", input=[names.get(result, result)], output=[name])
        taken.append(copy)
    graph.initializer.extend(inner.initializer)
    replace_nodes(graph, [*graph.node[:index], *taken, *graph.node[index + 1 :]])


class _KnownValues:
    """Values of a graph that follow from constants and fixed extents.

    Attributes:
        values: Value by name.

    Args:
        model: Model, not changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.values = constants_of(model.graph, _LARGEST_CONSTANT)
        self._opsets = list(model.opset_import)
        self._types = infer_types(model, strict=False)
        # Of Shape nodes, and what is taken of them: with None for the open batch.
        self._extents: dict[str, tuple[int | None, ...]] = {}
        for node in model.graph.node:
            self._read(node)

    def _read(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            value = constant_value(node)
            if value is not None:
                self.values.setdefault(node.output[0], value)
        elif node.op_type == "Shape":
            self._read_shape(node)
        elif node.input and node.input[0] in self._extents and self._take(node):
            return
        elif node.input and all(name in self.values for name in node.input if name):
            self._compute(node)

    def _read_shape(self, node: onnx.NodeProto) -> None:
        shape = self._types[node.input[0]].shape if node.input[0] in self._types else None
        if shape is not None:
            start, end = attribute_of(node, "start", 0), attribute_of(node, "end", len(shape))
            self._note(node.output[0], shape[start:end])

    def _take(self, node: onnx.NodeProto) -> bool:
        """Read what a node takes of a shape; return whether it is such a node."""
        extents, name = self._extents[node.input[0]], node.output[0]
        operands = [self.values.get(one) for one in node.input[1:] if one]
        if node.op_type == "Size":
            self.values[name] = np.array(len(extents), np.int64)
            return True
        if any(operand is None for operand in operands):
            return False
        known = [np.asarray(operand, np.int64) for operand in operands if operand is not None]
        if node.op_type == "Gather":
            chosen = np.array(extents, object)[known[0]]
            if all(extent is not None for extent in np.ravel(chosen)):
                self.values[name] = np.array(chosen, np.int64)
            return True
        if node.op_type == "Slice" and len(known) in (2, 3):
            self._note(name, extents[int(np.ravel(known[0])[0]) : int(np.ravel(known[1])[0])])
            return True
        return False

    def _note(self, name: str, extents: tuple[int | None, ...]) -> None:
        self._extents[name] = extents
        if None not in extents:
            self.values[name] = np.array(extents, np.int64)

    def _compute(self, node: onnx.NodeProto) -> None:
        """Compute a node of known operands, where ONNX's own evaluator can."""
        from onnx import helper, numpy_helper
        from onnx.reference import ReferenceEvaluator

        if node.op_type in _RANDOM_VALUES or holds_graph(node):
            return
        operands = [
            numpy_helper.from_array(np.asarray(self.values[name]), name)
            for name in node.input
            if name
        ]
        results = [helper.make_empty_tensor_value_info(name) for name in node.output]
        lone = helper.make_graph([node], "known", [], results, operands)
        try:
            evaluator = ReferenceEvaluator(helper.make_model(lone, opset_imports=self._opsets))
            found = [np.asarray(value) for value in evaluator.run(None, {})]
        except Exception:  # noqa: BLE001 - what cannot be computed here is not known
            return
        if all(value.size <= _LARGEST_CONSTANT for value in found):
            self.values.update(zip(node.output, found, strict=True))
