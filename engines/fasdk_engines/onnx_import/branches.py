"""Removal of branches whose condition is known once an image's size is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.graph.types import infer_types
from fasdk_engines.onnx_import.editing import (
    ADDED,
    attribute_of,
    constant_value,
    constants_of,
    replace_nodes,
    substitute,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.graph.types import ValueType

_MOST_BRANCHES = 200


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
        known = _known_values(model, infer_types(model, strict=False))
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


def _take(graph: onnx.GraphProto, index: int, condition: bool, number: int) -> None:
    node = graph.node[index]
    branch = attribute_of(node, "then_branch" if condition else "else_branch")
    assert hasattr(branch, "node")  # noqa: S101 - the checker of ONNX requires both branches
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


def _known_values(
    model: onnx.ModelProto, types: Mapping[str, ValueType]
) -> dict[str, NDArray[np.generic]]:
    """Return every value that follows from constants and fixed extents."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    known = constants_of(model.graph)
    extents: dict[str, tuple[int | None, ...]] = {}  # of Shape nodes whose batch is open
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = constant_value(node)
            if value is not None and node.output[0] not in known:
                known[node.output[0]] = value
            continue
        if node.op_type == "Shape" and node.input[0] in types:
            shape = types[node.input[0]].shape
            if shape is not None:
                start = attribute_of(node, "start", 0)
                end = attribute_of(node, "end", len(shape))
                extents[node.output[0]] = shape[start:end]  # type: ignore[misc]
                if None not in extents[node.output[0]]:
                    known[node.output[0]] = np.array(extents[node.output[0]], np.int64)
            continue
        if node.op_type == "Gather" and node.input[0] in extents and node.input[1] in known:
            chosen = np.array(extents[node.input[0]], object)[known[node.input[1]].astype(int)]
            if all(extent is not None for extent in np.ravel(chosen)):
                known[node.output[0]] = np.array(chosen, np.int64)
            continue
        if not node.input or not all(name in known for name in node.input if name):
            continue
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            continue
        lone = helper.make_graph(
            [node],
            "known",
            [],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
            [numpy_helper.from_array(known[name], name) for name in node.input if name],
        )
        try:
            evaluator = ReferenceEvaluator(
                helper.make_model(lone, opset_imports=list(model.opset_import))
            )
            values = evaluator.run(None, {})
        except Exception:  # noqa: S112 - what cannot be computed here is not known
            continue
        known.update(
            (name, np.asarray(value)) for name, value in zip(node.output, values, strict=True)
        )
    return known
