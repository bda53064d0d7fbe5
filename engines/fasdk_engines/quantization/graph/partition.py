"""Cut a graph into stages, each of which can be left out where its results are known.

Layers are probed one at a time on the same captures. All that comes before the layer is as it was,
and need not be computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_engines.graph.types import infer_types
from fasdk_engines.quantization.graph.graph_rewriter import (
    Branch,
    float_value,
    make_choice,
    make_node,
    read_names,
    replace_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx

SKIPPED = "fasdk:skipped"
_FLOAT = 1  # onnx.TensorProto.FLOAT, a fixed part of the file format
_MOST_STAGES = 16
_MOST_CROSSING = 8  # what crosses a cut is copied in and out of a session


@dataclass(frozen=True)
class Stage:
    """A part of a graph.

    Attributes:
        layers: The layers named that it holds, in graph order.
        results: Values it makes that later stages, or whoever runs the graph, read.
    """

    layers: tuple[str, ...]
    results: tuple[str, ...]


def known(result: str) -> str:
    """Return the name of the input that gives a stage's result where the stage is left out."""
    return f"{result}:known"


def cut_in_stages(
    model: onnx.ModelProto, layers: Sequence[str], switches: Sequence[str]
) -> tuple[Stage, ...]:
    """Cut a graph in place and return its stages, in order; none where it has no narrow place.

    What depends on no switch stays outside and is always computed. The graph gets the input
    `SKIPPED`, bool [stages], and one for each result, which is read where the stage is skipped;
    any other array, even an empty one, does elsewhere. Results become outputs.

    Args:
        model: Float32 graph in topological order with one output, float32.
        layers: Names of the nodes that switches change.
        switches: Names of the inputs that are switches.
    """
    import onnx

    graph = model.graph
    switched, always = _split(graph.node, switches)
    ends = _cuts(model, switched, frozenset(layers))
    if len(ends) == 1:  # one stage saves nothing
        return ()
    graph.input.append(
        onnx.helper.make_tensor_value_info(SKIPPED, onnx.TensorProto.BOOL, [len(ends)])
    )
    outputs = {output.name for output in graph.output}
    placed, stages, begin = list(always), [], 0
    for number, end in enumerate(ends):
        nodes, begin = switched[begin:end], end
        wanted = outputs | set(read_names(switched[end:]))
        results = tuple(x for node in nodes for x in node.output if x in wanted)
        stage = Stage(tuple(node.name for node in nodes if node.name in set(layers)), results)
        stages.append(stage)
        placed += _skippable(model, nodes, stage, number)
        for name in results:
            graph.input.append(float_value(known(name)))
            if name not in outputs:
                graph.output.append(float_value(name))
    replace_nodes(graph, placed)
    return tuple(stages)


def _split(
    nodes: Iterable[onnx.NodeProto], switches: Sequence[str]
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Return the nodes that depend on a switch and those that do not, each in order."""
    depending = set(switches)
    switched, always = [], []
    for node in nodes:
        if depending.isdisjoint(read_names([node])):
            always.append(node)
        else:
            switched.append(node)
            depending.update(node.output)
    return switched, always


def _cuts(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], layers: frozenset[str]
) -> list[int]:
    """Return where stages end: places that few values cross, about as many layers apart."""
    kinds = infer_types(model)
    floats = {name for name, kind in kinds.items() if kind.element == _FLOAT}
    last = {name: at for at, node in enumerate(nodes) for name in read_names([node])}
    left = sum(node.name in layers for node in nodes)
    apart = -(-left // _MOST_STAGES)
    ends, crossing, since = [], set[str](), 0
    for at, node in enumerate(nodes[:-1]):
        if node.name in layers:
            since, left = since + 1, left - 1
        crossing.update(node.output)
        crossing = {name for name in crossing if last.get(name, 0) > at}
        narrow = len(crossing) <= _MOST_CROSSING and crossing <= floats
        if since >= apart and left and narrow:
            ends.append(at + 1)
            since = 0
    return [*ends, len(nodes)]


def _skippable(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], stage: Stage, number: int
) -> list[onnx.NodeProto]:
    """Return what puts a stage behind its switch."""
    import onnx

    index, flag = f"{SKIPPED}:{number}:index", f"{SKIPPED}:{number}"
    tensor = onnx.helper.make_tensor(index, onnx.TensorProto.INT64, [1], [number])
    model.graph.initializer.append(tensor)
    inside = {name: f"{name}:inside" for name in stage.results}
    computed = Branch([_renamed(node, inside) for node in nodes], list(inside.values()))
    given = Branch.same([known(name) for name in stage.results], "same")
    choice = make_choice(flag, given, computed, stage.results)
    return [make_node("Gather", [SKIPPED, index], [flag], flag), choice]


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy of a node that reads and writes values under other names."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for attribute in copy.attribute:
        for at, inner in enumerate(attribute.g.node):
            attribute.g.node[at].CopyFrom(_renamed(inner, names))
    return copy
