"""Units of a network's input: how they can be told from its weights and some captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.onnxruntime import open_session
from fasdk_engines.graph.editing import constants_of, expose_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk.preprocess.units import InputUnits

# Median standard deviation of a trained network's first layer over its output channels: 0.09 to
# 2.6 was measured on published networks under the right units, and what is farther off than this
# many decades only under units wrong by a factor of 50 or more.
_USUAL_SPREAD = 0.4
_FAR_DECADES = 1.3
_NEAR_DECADES = 0.9
# Standard deviation over captures of the difference between two logits. Under wrong units it
# vanishes or every softmax is saturated; a first layer without a norm can be large and right.
_USUAL_LOGITS = (0.3, 50.0)
# Nats by which the captures' activations may lie farther from those of training than under the
# best other units. Measured: right units 0.1 to 2.0, others by a factor of 50 or more at least 3.
_DIVERGENCE_MARGIN = 1.5
_LARGEST_FIT = 2.0
_LINEAR = frozenset(["Conv", "Gemm", "MatMul"])


@dataclass(frozen=True)
class UnitsEvidence:
    """What a network's activations on captures tell of the units of its input.

    Attributes:
        divergence: Median over the channels of an input's first batch norm of the Kullback-Leibler
            divergence, in nats, of the captures' activations from the mean and variance that
            training recorded, the largest of all inputs; None where the graph holds no batch norm
            that was ever trained.
        first_spread: Standard deviation of the first linear layer's output, the median of its
            channels and the most unusual of the inputs; None where no such layer follows an input.
        first_range: Smallest and largest number that enters a first linear layer.
        logit_spread: Standard deviation over the captures of the difference between two logits,
            the largest of all pairs.
    """

    divergence: float | None
    first_spread: float | None
    first_range: tuple[float, float] | None
    logit_spread: float

    @property
    def is_usual(self) -> bool:
        """Whether the first layer's output is of the size that a trained network's has."""
        return self.first_spread is not None and abs(_decades(self.first_spread)) <= _NEAR_DECADES

    @property
    def is_far(self) -> bool:
        """Whether the first layer's output is of another size than a trained network's has."""
        return self.first_spread is not None and abs(_decades(self.first_spread)) > _FAR_DECADES

    @property
    def is_lost(self) -> bool:
        """Whether the first layer and the logits are both far too small, or both far too large."""
        if self.first_spread is None or not self.is_far:
            return False
        low, high = _USUAL_LOGITS
        if self.first_spread < _USUAL_SPREAD:
            return self.logit_spread < low
        return self.logit_spread > high


class UnitsProbe:
    """A graph that also returns the activations that tell the units of its inputs.

    Args:
        graph: Serialized ONNX model, float32, whose first output holds the logits.
    """

    def __init__(self, graph: bytes) -> None:
        import onnx

        model = onnx.load_from_string(graph)
        weights = constants_of(model.graph)
        self._norms = _first_norms(model.graph, weights)
        self._firsts = [
            (node.input[0], node.output[0], 1 if node.op_type == "Conv" else -1)
            for value in model.graph.input
            for node in _first_linear(model.graph, value.name, weights)
        ]
        watched = {name for before, after, _ in self._firsts for name in (before, after)}
        watched |= set(self._norms)
        inputs = {value.name for value in model.graph.input}
        self._watched = [model.graph.output[0].name, *sorted(watched - inputs)]
        expose_values(model, self._watched)
        self._session = open_session(model.SerializeToString(), name="the probe of input units")

    def logits(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the graph's first output, float32 [B, ...].

        Args:
            inputs: float32 [B, ...] by input name.
        """
        return self._values(self._watched[:1], inputs)[0]

    def evidence(self, inputs: Mapping[str, NDArray[np.float32]]) -> UnitsEvidence:
        """Return what the activations on captures tell.

        Args:
            inputs: float32 [B, ...] by input name.
        """
        found = self._values(self._watched, inputs)
        values = {**inputs, **dict(zip(self._watched, found, strict=True))}
        spreads = [
            float(np.median(_by_channel(values[after], axis).std(axis=1)))
            for _, after, axis in self._firsts
        ]
        before = [values[name] for name, _, _ in self._firsts]
        divergences = [
            float(np.median(_divergence(values[name], mean, variance)))
            for name, (mean, variance) in self._norms.items()
        ]
        return UnitsEvidence(
            divergence=max(divergences, default=None),
            first_spread=max(spreads, key=lambda s: abs(_decades(s))) if spreads else None,
            first_range=(min(float(x.min()) for x in before), max(float(x.max()) for x in before))
            if before
            else None,
            logit_spread=logit_spread(values[self._watched[0]]),
        )

    def _values(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """Return values inside the graph, float32 [B, ...] each, of captures run one by one."""
        rows = [
            self._session.run(names, {n: x[i : i + 1] for n, x in inputs.items()})
            for i in range(len(next(iter(inputs.values()))))
        ]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def better_units(
    told: UnitsEvidence, others: Sequence[tuple[InputUnits, UnitsEvidence]]
) -> list[InputUnits]:
    """Return the units that the evidence prefers to those told, best first; none where it does not.

    The statistics that the first batch norm recorded decide where there are any: networks are
    trained on raw levels, too, and theirs say so. Both ends of the network decide where the
    first layer's output and the logits are far too small or far too large together; that tells raw
    levels from scaled ones and no more.

    Args:
        told: Evidence under the units as described.
        others: Evidence under other units.
    """
    if told.divergence is not None:
        found = sorted(
            (evidence.divergence, number)
            for number, (_, evidence) in enumerate(others)
            if evidence.divergence is not None
            and evidence.divergence <= _LARGEST_FIT
            and told.divergence - evidence.divergence > _DIVERGENCE_MARGIN
        )
        if found:
            return [others[number][0] for _, number in found]
    if not told.is_lost:
        return []
    return [units for units, evidence in others if evidence.is_usual and not evidence.is_lost]


def logit_spread(logits: NDArray[np.floating[Any]]) -> float:
    """Return the largest standard deviation over captures of the difference between two logits.

    Args:
        logits: [N, classes], or one value a capture in any shape.
    """
    rows = logits.reshape(len(logits), -1).astype(np.float64)
    if rows.shape[1] == 1:
        return float(rows.std())
    differences = rows[:, :, None] - rows[:, None, :]
    return float(differences.std(axis=0).max())


def _decades(spread: float) -> float:
    return float(np.log10(max(spread, 1e-30) / _USUAL_SPREAD))


def _first_norms(
    graph: onnx.GraphProto, weights: Mapping[str, NDArray[np.generic]]
) -> dict[str, tuple[NDArray[np.generic], NDArray[np.generic]]]:
    """Return mean and variance of each input's first batch norm that was trained, by its input."""
    found = {}
    for value in graph.input:
        for node in _reached(graph, value.name):
            if node.op_type != "BatchNormalization":
                continue
            mean, variance = weights.get(node.input[3]), weights.get(node.input[4])
            if mean is None or variance is None or mean.dtype != np.float32:
                continue
            if (mean != 0.0).any() or (variance != 1.0).any():
                found[node.input[0]] = (mean, variance)
                break
    return found


def _reached(graph: onnx.GraphProto, name: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that a value reaches, in the order of the graph."""
    reached = {name}
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            yield node


def _first_linear(
    graph: onnx.GraphProto, name: str, weights: Mapping[str, object]
) -> Iterator[onnx.NodeProto]:
    """Yield the nearest linear layers with a weight of their own that an input reaches."""
    pending, seen = [name], {name}
    while pending:
        value = pending.pop(0)
        for node in graph.node:
            if value not in node.input:
                continue
            if node.op_type in _LINEAR and any(other in weights for other in node.input[1:2]):
                yield node
            elif not seen.intersection(node.output):
                seen.update(node.output)
                pending.extend(node.output)


def _by_channel(values: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Return float64 [channels, numbers]."""
    moved = np.moveaxis(values.astype(np.float64), axis, 0)
    return moved.reshape(len(moved), -1)


def _divergence(
    values: NDArray[np.float32], mean: NDArray[np.generic], variance: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Return the divergence of each channel's normal distribution from the recorded one, in nats.

    Kullback and Leibler, "On information and sufficiency", 1951; of the statistics of batch norms
    as Yin et al., "Dreaming to distill", CVPR 2020, match them.
    """
    found = _by_channel(values, 1)
    recorded = variance.astype(np.float64) + 1e-12
    spread = found.var(axis=1) + 1e-12
    offset = (found.mean(axis=1) - mean.astype(np.float64)) ** 2
    divergence: NDArray[np.float64] = 0.5 * (
        np.log(recorded / spread) + (spread + offset) / recorded - 1.0
    )
    return divergence
