"""Batched inference of an ONNX graph on captures, with its preprocessing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.preprocess import to_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Capture, Modality
    from fasdk.preprocess import PreprocessSpec

_BATCH = 8


class GraphRunner:
    """A graph on ONNX Runtime with its preprocessing: captures in, logits out.

    Attributes:
        graph_sha256: The graph's digest.

    Args:
        graph: Path of the ONNX file.
        specs: Preprocessing by modality.
        presence: Column order of the graph's presence input, or None.
        as_written: See `OnnxRuntimeEngine`.
    """

    def __init__(
        self,
        graph: bytes,
        specs: Mapping[Modality, PreprocessSpec],
        presence: Sequence[Modality] | None = None,
        *,
        as_written: bool = False,
    ) -> None:
        self._engine = OnnxRuntimeEngine(graph, as_written=as_written)
        self.graph_sha256 = hashlib.sha256(graph).hexdigest()
        self._specs = specs
        self._presence = presence

    def logits(self, captures: Sequence[Capture]) -> NDArray[np.float32]:
        """Return float32 [N, classes], one row a capture."""
        rows = []
        for start in range(0, len(captures), _BATCH):
            part = list(captures[start : start + _BATCH])
            rows.append(self._engine.run(to_batch(part, self._specs, self._presence)).logits)
        return np.concatenate(rows)

    def batch_logits(self, batch: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the same for tensors `to_batch` has made already."""
        count = len(next(iter(batch.values())))
        rows = [
            self._engine.run({n: x[start : start + _BATCH] for n, x in batch.items()}).logits
            for start in range(0, count, _BATCH)
        ]
        return np.concatenate(rows)
