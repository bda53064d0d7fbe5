"""Score drift of a quantized graph against the FP32 graph it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class DriftFigures:
    """Difference of a quantized graph to the FP32 graph on the held-out captures.

    Attributes:
        mean_drift: Mean absolute difference of P(bona fide), in [0, 1].
        largest_drift: Largest absolute difference of P(bona fide), in [0, 1].
        flips: Number of captures on the other side of the threshold; None without one.
        logit_sqnr_db: Power of the FP32 logits over power of their error, in dB.
        deviation_sqnr_db: Power of each logit's deviation from its mean over the captures, over
            power of that deviation's error, in dB.
    """

    mean_drift: float
    largest_drift: float
    flips: int | None
    logit_sqnr_db: float
    deviation_sqnr_db: float


class DriftEvaluator:
    """Compares graphs with the FP32 graph on the held-out captures.

    Attributes:
        scores: float64 [N], P(bona fide) by the FP32 graph.

    Args:
        graph: Path of the FP32 graph.
        inputs: float32 [N, ...] by graph input.
        live_index: Index of the bona fide logit.
        threshold: Frozen operating point, or None.
        batch: Captures in one run.
    """

    def __init__(
        self,
        graph: bytes,
        inputs: Inputs,
        live_index: int,
        threshold: float | None,
        batch: int,
    ) -> None:
        self._inputs, self._live, self._threshold = inputs, live_index, threshold
        self._batch = batch
        self._logits = self._run(_SessionRunner(graph, fuse=True))
        self.scores = _softmax(self._logits)[:, live_index]

    def unfused(self, graph: bytes) -> DriftFigures:
        """Evaluate a graph with no Q/DQ pair fused."""
        return self._figures(self._run(_SessionRunner(graph, fuse=False)))

    def by_default(self, graph: bytes) -> DriftFigures:
        """Evaluate a graph as ONNX Runtime runs it by default."""
        return self._figures(self._run(_SessionRunner(graph, fuse=True)))

    def rounded(self, graph: bytes) -> DriftFigures:
        """Evaluate a float16 graph with every operator's output rounded to float16."""
        from fasdk_engines.quantization import QdqReferenceRunner

        return self._figures(self._run(QdqReferenceRunner(graph)))

    def _run(self, runner: _Runner) -> NDArray[np.float64]:
        count = len(next(iter(self._inputs.values())))
        rows = [
            runner.logits({n: v[at : at + self._batch] for n, v in self._inputs.items()})
            for at in range(0, count, self._batch)
        ]
        return np.concatenate(rows).astype(np.float64)

    def _figures(self, logits: NDArray[np.float64]) -> DriftFigures:
        scores = _softmax(logits)[:, self._live]
        drift = np.where(np.isfinite(scores), np.abs(scores - self.scores), 1.0)
        flips = None
        if self._threshold is not None:
            flips = int(((scores > self._threshold) != (self.scores > self._threshold)).sum())
        noise = float(np.square(logits - self._logits).sum())
        deviation = self._logits - self._logits.mean(axis=0)
        return DriftFigures(
            float(drift.mean()),
            float(drift.max()),
            flips,
            _decibels(float(np.square(self._logits).sum()), noise),
            _decibels(float(np.square(deviation).sum()), noise),
        )


class _Runner(Protocol):
    def logits(self, batch: Inputs) -> NDArray[np.float32]: ...


class _SessionRunner:
    def __init__(self, graph: bytes, *, fuse: bool) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        if not fuse:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._types = {i.name: i.type for i in self._session.get_inputs()}

    def logits(self, batch: Inputs) -> NDArray[np.float32]:
        fed = {
            name: values.astype(np.float16) if "float16" in self._types[name] else values
            for name, values in batch.items()
        }
        return np.asarray(self._session.run(["logits"], fed)[0], np.float32)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _decibels(signal: float, noise: float) -> float:
    return float(10 * np.log10(signal / max(noise, 1e-30)))
