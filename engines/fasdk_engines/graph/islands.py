"""Float32 islands: nodes that stay float32 in a half-precision graph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import PrecisionError
from fasdk_engines.graph.types import parse_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Islands:
    """Nodes that stay float32 in a half-precision graph.

    `LayerNormalization` and `Softmax` are no islands: they take and give float16, and no model here
    drifts less for having them in float32 than rounding at random explains.

    Attributes:
        operators: Operator types that stay float32. The default is the reductions: long sums, which
            a kernel may accumulate in the type it is given, where no rounding of outputs would show
            it.
        nodes: Names of nodes that stay float32.
        outputs: Whether the nodes that write the graph's outputs are islands. They are small, and
            rounding a logit of 4 costs 0.002, a good part of the whole budget.
    """

    operators: frozenset[str] = frozenset(
        [
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMean",
            "ReduceSum",
            "ReduceSumSquare",
        ]
    )
    nodes: frozenset[str] = frozenset()
    outputs: bool = True


DEFAULT_ISLANDS = Islands()


def islands_matching(graph: bytes, patterns: Sequence[str]) -> Islands:
    """Return the default islands and every node in whose name one of `patterns` is found.

    Args:
        graph: Serialized ONNX model.
        patterns: Regular expressions, such as a family's `float32_islands`.

    Raises:
        PrecisionError: A pattern is found in no node's name, so that it would protect nothing.
        ExportError: The graph is not ONNX.
    """
    names = [node.name for node in parse_graph(graph).graph.node] if patterns else []
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if re.search(pattern, name)}
        if not matching:
            raise PrecisionError(
                f"float32 island {pattern!r} is found in no node's name: name nodes as the graph "
                "does (a batch norm is folded into the layer beside it: name that layer)"
            )
        found |= matching
    return Islands(nodes=frozenset(found))


def node_pattern(name: str) -> str:
    """Return the regular expression that one node's name alone matches."""
    return f"^{re.escape(name)}$"


def keep_in_float32(nodes: Iterable[str]) -> str:
    """Return how an error tells to keep nodes in float32, or to do without half precision."""
    patterns = ", ".join(f"'{node_pattern(name)}'" for name in nodes)
    return (
        f"write float32_islands = [{patterns}] at the top of the description of an ONNX file, "
        "or build with --precision fp32"
    )
