"""Choice of the nodes that stay float32 in a half-precision graph, measured on captures.

A graph comes with islands of its own, which its author chose. Beyond those stay float32: nodes
around a tensor that half precision cannot hold, nodes whose weight it loses, where the loss moves
a score, and in a small network the layers whose rounding moves the scores most. Float32 layers in a
small network cost next to nothing; in a large one they cost what half precision is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.errors import PrecisionError
from fasdk_engines.graph.emulation import (
    MAX_DRIFT_RATIO,
    Fp16Report,
    emulate_fp16,
    largest_score_drift,
)
from fasdk_engines.graph.fp16 import LostWeight, convert_to_half
from fasdk_engines.graph.islands import Islands, islands_matching, node_pattern
from fasdk_engines.graph.types import parse_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    Batch = Mapping[str, NDArray[np.float32]]

SCORE_DRIFT = 1.5e-3  # of any class score, aimed at: other captures differ, and 2e-3 is to hold
SMALL_NETWORK = 10_000_000  # weights; up to here layers of most effect are searched for
_MAX_ROUNDS = 12  # of float32 nodes around tensors that overflow
_MAX_LAYERS = 64  # whose sensitivity is measured, one emulation each
_SENSITIVITY_CAPTURES = 4
_FIRST_LAYERS = (2, 4)  # tried before sensitivity is measured: mostly pixels lose most
_LAYERS = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization"])


class FloatReason(str, Enum):
    """Why a node stays float32 beyond the model's own islands."""

    OVERFLOW = "overflow"  # a tensor it reads or writes leaves half precision's range
    LOST_WEIGHT = "lost weight"  # half precision makes its weight 0 or infinite
    DRIFT = "drift"  # its rounding moves the scores more than that of other layers


@dataclass(frozen=True)
class FloatNode:
    """A node that stays float32 beyond the model's own islands.

    Attributes:
        name: Name of the node.
        reason: Why it stays float32.
    """

    name: str
    reason: FloatReason


@dataclass(frozen=True, eq=False)
class HalfPrecision:
    """A graph in half precision, and what it costs.

    Attributes:
        graph: Serialized ONNX model.
        islands: Regular expressions of the names of nodes that stay float32: the model's own, and
            one for each of `added`.
        added: Nodes that stay float32 beyond the model's own, in the order they were chosen.
        report: Emulation on the captures.
        score_drift: Largest difference of any class score, in [0, 1]: with every operator's output
            rounded, or as ONNX Runtime runs the graph, whichever is larger.
    """

    graph: bytes
    islands: tuple[str, ...]
    added: tuple[FloatNode, ...]
    report: Fp16Report
    score_drift: float

    @property
    def reasons(self) -> dict[str, str]:
        """Reason by name of `added`, in the same order."""
        return {node.name: node.reason.value for node in self.added}


def to_half_precision(
    graph: bytes,
    islands: Sequence[str],
    batch: Batch,
    reference: NDArray[np.float32],
    *,
    keep_sensitive: bool = True,
) -> HalfPrecision:
    """Return a float32 graph in half precision, more nodes in float32 where they have to be.

    Args:
        graph: ONNX file, float32 throughout, every node named.
        islands: Regular expressions of the names of nodes that stay float32.
        batch: Captures to measure on, float32 [N, ...] by input name.
        reference: float32 [N, classes], the graph's logits on them.
        keep_sensitive: Whether the most sensitive layers of a small network may stay float32.

    Raises:
        PrecisionError: A pattern matches no node, a weight is not finite, or no choice of nodes
            keeps every tensor within half precision's range.
        ExportError: The graph cannot be converted; see `fasdk_engines.graph.fp16.convert`.
        BackendError: ONNX Runtime refuses or fails to run it.
    """
    search = _Search(graph, tuple(islands), batch, reference)
    found = search.within_range()
    if _is_within(found) or not (keep_sensitive and search.is_small):
        return found
    return search.with_sensitive_layers(found)


def _is_within(found: HalfPrecision) -> bool:
    return found.score_drift <= SCORE_DRIFT and found.report.drift_ratio <= MAX_DRIFT_RATIO


class _Search:
    """Search for the nodes of one graph that stay float32."""

    def __init__(
        self,
        graph: bytes,
        islands: tuple[str, ...],
        batch: Batch,
        reference: NDArray[np.float32],
    ) -> None:
        self._graph, self._islands = graph, islands
        self._batch, self._reference = batch, reference
        self._own = islands_matching(graph, islands).nodes
        model = parse_graph(graph)
        self._names = [node.name for node in model.graph.node]
        self._segments = _segments(model)
        weights = sum(int(np.prod(t.dims, dtype=np.int64)) for t in model.graph.initializer)
        self.is_small = weights <= SMALL_NETWORK and len(self._segments) <= _MAX_LAYERS

    def within_range(self) -> HalfPrecision:
        """Return the graph with the nodes in float32 that its tensors and weights ask for."""
        added: dict[str, FloatReason] = {}
        harmless: set[str] = set()
        what = "the weights"
        for _ in range(_MAX_ROUNDS):
            half = convert_to_half(self._graph, self._with(added))
            lost = [weight for weight in half.lost if weight.name not in harmless]
            harmful = self._harmful(lost)
            if harmful:
                self._add(added, (n for w in harmful for n in w.nodes), FloatReason.LOST_WEIGHT)
                continue
            harmless.update(weight.name for weight in lost)
            if not half.halves:
                break
            report = emulate_fp16(half.graph, [self._batch], self._reference)
            if report.finite and not report.offending:
                return self._result(half.graph, added, report)
            what = f"tensor {report.worst_tensor!r}"
            around = _nodes_around(half.graph, report.offending, self._names)
            if not self._add(added, around, FloatReason.OVERFLOW):
                break
        raise PrecisionError(
            f"half precision cannot hold {what}, even with {len(added)} of {len(self._names)} "
            "nodes in float32: build with --precision fp32, or int8-fp32 for CPUs"
        )

    def with_sensitive_layers(self, found: HalfPrecision) -> HalfPrecision:
        """Return the graph with the fewest layers in float32 that keep the scores.

        Where none does, the one of those tried that moves them least.
        """
        before = {node.name: node.reason for node in found.added}
        best = found
        for count in _FIRST_LAYERS:
            if 2 * count >= len(self._segments):  # at most half, or little of FP16 is left
                return best
            best = self._better(best, before, self._segments[:count])
            if _is_within(best):
                return best
        ranked = self._by_sensitivity(frozenset(before) | self._own)
        count = 1
        while 2 * count < len(ranked):
            best = self._better(best, before, ranked[:count])
            if _is_within(best):
                break
            count *= 2
        return best

    def _better(
        self,
        best: HalfPrecision,
        before: Mapping[str, FloatReason],
        segments: Sequence[tuple[str, ...]],
    ) -> HalfPrecision:
        """Return the better of a result and the graph with these segments in float32 too."""
        added = dict(before)
        self._add(added, (name for part in segments for name in part), FloatReason.DRIFT)
        half = convert_to_half(self._graph, self._with(added))
        if not half.halves:
            return best
        report = emulate_fp16(half.graph, [self._batch], self._reference)
        if report.offending:
            return best
        tried = self._result(half.graph, added, report)
        return tried if tried.score_drift < best.score_drift else best

    def _by_sensitivity(self, floats: frozenset[str]) -> list[tuple[str, ...]]:
        """Return segments of the graph by the drift that each causes alone, the largest first."""
        every = np.linspace(0, len(self._reference) - 1, _SENSITIVITY_CAPTURES).round().astype(int)
        few = np.unique(every)
        batch = {name: values[few] for name, values in self._batch.items()}
        reference = self._reference[few]
        drifts: list[tuple[float, tuple[str, ...]]] = []
        for segment in self._segments:
            rest = frozenset(self._names).difference(segment) | floats
            half = convert_to_half(self._graph, Islands(nodes=rest))
            if not half.halves:  # the segment holds islands alone
                continue
            report = emulate_fp16(half.graph, [batch], reference)
            drift = float(np.square(report.logits - reference).mean())
            drifts.append((drift if np.isfinite(drift) else np.inf, segment))
        drifts.sort(key=lambda found: -found[0])  # stable: graph order among equals
        return [segment for _, segment in drifts]

    def _result(
        self, graph: bytes, added: Mapping[str, FloatReason], report: Fp16Report
    ) -> HalfPrecision:
        as_run = _run(graph, self._batch)
        return HalfPrecision(
            graph,
            (*self._islands, *(node_pattern(name) for name in added)),
            tuple(FloatNode(name, reason) for name, reason in added.items()),
            report,
            max(report.score_drift, largest_score_drift(as_run, self._reference)),
        )

    def _with(self, added: Iterable[str]) -> Islands:
        return Islands(nodes=self._own.union(added))

    def _add(
        self, added: dict[str, FloatReason], names: Iterable[str], reason: FloatReason
    ) -> bool:
        """Add nodes that are not float32 yet; return whether there were any."""
        before = len(added)
        for name in names:
            if name not in self._own:
                added.setdefault(name, reason)
        return len(added) > before

    def _harmful(self, lost: Sequence[LostWeight]) -> list[LostWeight]:
        """Return the weights whose loss matters: infinite ones, and those that move a score.

        A weight that guards a division, such as the epsilon of a normalization, matters only where
        the divisor is 0, which is on images of one level: these are tried too.
        """
        infinite = [weight for weight in lost if not weight.vanishes]
        zero = [weight for weight in lost if weight.vanishes]
        if not zero or not self._moves(zero):
            return infinite
        return infinite + ([one for one in zero if self._moves([one])] or zero)

    def _moves(self, zero: Sequence[LostWeight]) -> bool:
        model = parse_graph(self._graph)
        _zero_weights(model, {weight.name for weight in zero})
        changed = model.SerializeToString()
        flat = {
            name: np.stack([np.full_like(x[0], x.min()), np.full_like(x[0], x.max())])
            for name, x in self._batch.items()
        }
        on_flat = _run(self._graph, flat)
        known = np.isfinite(on_flat).all(axis=1)
        drift = max(
            largest_score_drift(_run(changed, self._batch), self._reference),
            largest_score_drift(_run(changed, flat)[known], on_flat[known]) if known.any() else 0.0,
        )
        return not drift <= SCORE_DRIFT


def _run(graph: bytes, batch: Batch) -> NDArray[np.float32]:
    """Return logits, float32 [N, classes], one capture at a time."""
    engine = OnnxRuntimeEngine(graph)
    count = len(next(iter(batch.values())))
    rows = [engine.run({n: x[i : i + 1] for n, x in batch.items()}).logits for i in range(count)]
    return np.concatenate(rows)


def _segments(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Return the nodes in graph order, cut in front of every layer with a weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    segments: list[list[str]] = [[]]
    for node in model.graph.node:
        if node.op_type in _LAYERS and weights.intersection(node.input[1:]) and segments[-1]:
            segments.append([])
        segments[-1].append(node.name)
    return [tuple(segment) for segment in segments]


def _nodes_around(graph: bytes, tensors: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return the float32 graph's nodes that write or read tensors of the half-precision one."""
    around, known = set(tensors), frozenset(names)
    found = {
        node.name
        for node in parse_graph(graph).graph.node
        if node.name in known and around.intersection((*node.input, *node.output))
    }
    return [name for name in names if name in found]


def _zero_weights(model: onnx.ModelProto, names: set[str]) -> None:
    """Set weights, given as initializers or by constant nodes, to 0 in place."""
    from onnx import helper, numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name in names:
            zeros = np.zeros(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    for node in model.graph.node:
        if node.op_type in ("Constant", "ConstantOfShape") and node.output[0] in names:
            held = next((a for a in node.attribute if a.name == "value"), None)
            shape = tuple(held.t.dims) if held is not None else ()
            if held is None and node.attribute:  # value_float or value_floats
                shape = (len(node.attribute[0].floats),) if node.attribute[0].floats else ()
            del node.attribute[:]
            zeros = numpy_helper.from_array(np.zeros(shape, np.float32))
            node.attribute.append(helper.make_attribute("value", zeros))
