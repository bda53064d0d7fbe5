"""Graph partitions that can be skipped where their results are cached.

Sensitivity analysis switches one layer at a time on the same captures. All that comes before that
layer has the same values as before and need not be computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_engines.graph.types import infer_types
from fasdk_engines.quantization.graph.graph_rewriter import (
    Branch,
    float_value,
    make_if,
    make_node,
    read_names,
    replace_nodes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx

SKIPPED = "fasdk:skipped"
_FLOAT = 1  # onnx.TensorProto.FLOAT, a fixed part of the file format
_MAX_PARTITIONS = 16
_MAX_CROSSING = 8  # values across a cut are copied in and out of a session


@dataclass(frozen=True)
class Partition:
    """A contiguous part of a graph.

    Attributes:
        layers: Names of the switchable layers it holds, in graph order.
        results: Names of its values that later partitions or the caller read.
    """

    layers: tuple[str, ...]
    results: tuple[str, ...]


def cached_input(result: str) -> str:
    """Return the name of the input that holds a result where its partition is skipped."""
    return f"{result}:cached"


def partition_graph(
    model: onnx.ModelProto, layers: Sequence[str], switches: Sequence[str]
) -> tuple[Partition, ...]:
    """Partition a graph in place and return its partitions, in order.

    Nodes that depend on no switch stay outside and are always computed. The graph gets the input
    `SKIPPED`, bool [partitions], and one input for each result, which is read where the partition
    is skipped; elsewhere any array will do, even an empty one. Results become outputs.

    Args:
        model: Float32 graph in topological order with one output, float32.
        layers: Names of the nodes that switches change.
        switches: Names of the inputs that are switches.

    Returns:
        The partitions; none where no cut crosses few enough float32 values, and the graph is then
        left as it was.
    """
    import onnx

    graph = model.graph
    switched, always = _split(graph.node, switches)
    ends = _cuts(model, switched, frozenset(layers))
    if len(ends) == 1:  # one partition saves nothing
        return ()
    graph.input.append(
        onnx.helper.make_tensor_value_info(SKIPPED, onnx.TensorProto.BOOL, [len(ends)])
    )
    outputs = {output.name for output in graph.output}
    placed, partitions, begin = list(always), [], 0
    for number, end in enumerate(ends):
        nodes, begin = switched[begin:end], end
        wanted = outputs | set(read_names(switched[end:]))
        results = tuple(x for node in nodes for x in node.output if x in wanted)
        partition = Partition(
            tuple(node.name for node in nodes if node.name in set(layers)), results
        )
        partitions.append(partition)
        placed += _skippable(model, nodes, partition, number)
        for name in results:
            graph.input.append(float_value(cached_input(name)))
            if name not in outputs:
                graph.output.append(float_value(name))
    replace_nodes(graph, placed)
    return tuple(partitions)


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
    """Return where partitions end: at cuts that few values cross, about as many layers apart."""
    kinds = infer_types(model)
    floats = {name for name, kind in kinds.items() if kind.element == _FLOAT}
    last = {name: at for at, node in enumerate(nodes) for name in read_names([node])}
    left = sum(node.name in layers for node in nodes)
    apart = -(-left // _MAX_PARTITIONS)
    ends, crossing, since = [], set[str](), 0
    for at, node in enumerate(nodes[:-1]):
        if node.name in layers:
            since, left = since + 1, left - 1
        crossing.update(node.output)
        crossing = {name for name in crossing if last.get(name, 0) > at}
        narrow = len(crossing) <= _MAX_CROSSING and crossing <= floats
        if since >= apart and left and narrow:
            ends.append(at + 1)
            since = 0
    return [*ends, len(nodes)]


def _skippable(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], partition: Partition, number: int
) -> list[onnx.NodeProto]:
    """Return the nodes that compute a partition, or yield its cached results where skipped."""
    import onnx

    index, flag = f"{SKIPPED}:{number}:index", f"{SKIPPED}:{number}"
    tensor = onnx.helper.make_tensor(index, onnx.TensorProto.INT64, [1], [number])
    model.graph.initializer.append(tensor)
    inside = {name: f"{name}:inside" for name in partition.results}
    computed = Branch([_renamed(node, inside) for node in nodes], list(inside.values()))
    given = Branch.same([cached_input(name) for name in partition.results], "same")
    choice = make_if(flag, given, computed, partition.results)
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
