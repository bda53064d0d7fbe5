"""Effect of float16 on mixture-of-experts gates: captures that another expert processes.

Runs an FP32 bundle's graph on a list, then in half precision with every output rounded, once for
each set of float32 islands; prints one JSON line, for example

    python tools/bench/half_gates.py mmda.fasb development.jsonl --islands /gate/

"family" are the islands the model's own builds use. Choose on development captures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from fasdk.bundle.bundle import Bundle

    Inputs = Mapping[str, NDArray[np.float32]]

_BATCH = 32


@dataclass(frozen=True)
class GateFigures:
    """Effect of half precision with some float32 islands.

    Attributes:
        islands: Regular expressions of the names of nodes that stay float32.
        rerouted: Number of captures for which any gate picks other experts than in float32.
        median_drift: Median absolute change of the log-odds.
        mean_drift: Mean absolute change of the log-odds.
        largest_drift: Largest absolute change of the log-odds.
        largest_drift_of_others: Largest absolute change of the log-odds over captures that are not
            rerouted.
        mean_score_drift: Mean absolute change of P(bona fide), in [0, 1].
        flips: Number of captures on the other side of the bundle's threshold; None without one.
        expected_flips: Expected share of flips of other captures; None without a threshold.
    """

    islands: tuple[str, ...]
    rerouted: int
    median_drift: float
    mean_drift: float
    largest_drift: float
    largest_drift_of_others: float
    mean_score_drift: float
    flips: int | None
    expected_flips: float | None


def measure(bundle: Bundle, source: Path, sets: Sequence[Sequence[str]]) -> list[GateFigures]:
    """Measure each set of islands on a list's captures."""
    from fasdk.bundle.manifest import Precision
    from fasdk.decision import live_score, log_odds
    from fasdk_engines.graph.emulation import emulated_model
    from fasdk_engines.graph.fp16 import convert
    from fasdk_engines.graph.islands import islands_matching
    from fasdk_engines.graph.types import parse_graph
    from fasdk_engines.quantization.mixed_precision.budget import expected_flips

    manifest, graph = bundle.manifest, bytes(bundle.graph)
    inputs = _inputs(bundle, source)
    points = {tuple(p.modalities): p.threshold for p in manifest.operating_points}
    threshold = points.get(tuple(manifest.modalities))
    logits, picks = _run(parse_graph(graph), inputs)

    def per_capture(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (
            np.array([log_odds(row, manifest.live_index) for row in rows]),
            np.array([live_score(row, manifest.live_index) for row in rows]),
        )

    odds, scores = per_capture(logits)
    found = []
    for islands in sets:
        half = convert(graph, Precision.FP16, islands_matching(graph, islands))
        moved_logits, moved_picks = _run(emulated_model(half), inputs)
        moved, moved_scores = per_capture(moved_logits)
        drift, rerouted = np.abs(moved - odds), (moved_picks != picks).any(axis=1)
        flips = expected = None
        if threshold is not None:
            flips = int(((scores > threshold) != (moved_scores > threshold)).sum())
            expected = expected_flips(scores, moved_scores, threshold)
        found.append(
            GateFigures(
                tuple(islands),
                int(rerouted.sum()),
                float(np.median(drift)),
                float(drift.mean()),
                float(drift.max()),
                float(drift[~rerouted].max(initial=0.0)),
                float(np.abs(moved_scores - scores).mean()),
                flips,
                expected,
            )
        )
    return found


def _inputs(bundle: Bundle, source: Path) -> Inputs:
    from fasdk.preprocess import to_batch
    from fasdk_calibration.datasets import open_dataset

    dataset, manifest = open_dataset(source), bundle.manifest
    rows = [
        to_batch([dataset.load(record)], manifest.inputs, manifest.presence_order)
        for record in dataset.records
    ]
    return {str(name): np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _run(model: onnx.ModelProto, inputs: Inputs) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits, float32 [N, classes], and what every gate picked, int64 [N, picks], sorted."""
    import onnx

    from fasdk.backends.onnxruntime import Optimization, open_session

    gates = [node.output[1] for node in model.graph.node if node.op_type == "TopK"]
    for name in gates:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = open_session(model.SerializeToString(), optimization=Optimization.NONE, prepack=False)
    rows, picks = [], []
    for at in range(0, len(next(iter(inputs.values()))), _BATCH):
        part = {name: values[at : at + _BATCH] for name, values in inputs.items()}
        logits, *picked = session.run(["logits", *gates], part)
        rows.append(logits)
        count = len(logits)
        # A gate may read several rows for each capture: one for each modality, in that order.
        sorted_picks = [np.sort(one, axis=-1).reshape(-1, count, one.shape[-1]) for one in picked]
        flat = [one.transpose(1, 0, 2).reshape(count, -1) for one in sorted_picks]
        picks.append(np.concatenate([np.zeros((count, 1), np.int64), *flat], axis=1))
    return np.concatenate(rows), np.concatenate(picks)


def main() -> int:
    """Measure the family's islands, and those given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="an FP32 bundle")
    parser.add_argument("captures", type=Path, help="a list")
    parser.add_argument("--islands", action="append", nargs="*", default=[], help="one set")
    arguments = parser.parse_args()
    from fasdk.bundle.bundle import open_bundle
    from fasdk_engines.models.registry import get_family

    bundle = open_bundle(arguments.bundle)
    family = get_family(bundle.manifest.model.family)
    found = measure(
        bundle, arguments.captures, [family.float32_islands, *map(tuple, arguments.islands)]
    )
    print(json.dumps({"model": family.name, "sets": [asdict(one) for one in found]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
