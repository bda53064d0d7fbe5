"""Benefit of choosing the calibration set, against random captures of the same number.

Run from the project's root; one JSON line a model, for example

    python tools/bench/int8_calibration_set.py mmdg --sizes 16,64 --draws 8
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
from int8_drift import DriftEvaluator
from int8_models import ROOT, SUBJECTS, Prepared, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_calibration.calibration_set.selection import Stratum

    Inputs = Mapping[str, NDArray[np.float32]]

_HELD_OUT = 720


@dataclass(frozen=True)
class SetFigures:
    """Drift of INT8 after calibration on one set, over the held-out captures.

    Attributes:
        radius: Largest distance of a candidate to the nearest capture of the set, in features.
        species_lacking: Number of species in the list that the set does not hold.
        mean_drift: Mean absolute difference of P(bona fide) to FP32, in [0, 1].
        largest_drift: Largest absolute difference of P(bona fide) to FP32, in [0, 1].
        logit_sqnr_db: Power of the FP32 logits over power of their error, in dB.
    """

    radius: float
    species_lacking: int
    mean_drift: float
    largest_drift: float
    logit_sqnr_db: float


@dataclass(frozen=True)
class SizeFigures:
    """Figures of the sets of one size.

    Attributes:
        size: Captures in each set.
        chosen: Figures of the set that is stratified and spread by coverage.
        random: Figures of sets drawn at random from the same candidates, one for each seed.
        drift_over_random: Mean drift of the chosen set over the mean of the random sets'.
        largest_over_random: Largest drift of the chosen set over the mean of the random sets'
            largest.
    """

    size: int
    chosen: SetFigures
    random: tuple[SetFigures, ...]
    drift_over_random: float
    largest_over_random: float


def measure(prepared: Prepared, sizes: Sequence[int], draws: int) -> list[SizeFigures]:
    """Quantize on chosen and on random sets and evaluate each on held-out captures."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.manifest import Precision
    from fasdk.preprocess import to_batch
    from fasdk_calibration.calibration_set.selection import select, stratum_of
    from fasdk_calibration.datasets import open_dataset
    from fasdk_engines.models.registry import get_family
    from fasdk_engines.quantization import Quantizer
    from fasdk_engines.quantization.calibration.features import FeatureExtractor

    bundle = open_bundle(Path(prepared.float_bundle))
    manifest, graph = bundle.manifest, bytes(bundle.graph)
    family = get_family(manifest.model.family)

    def inputs_of(source: str, most: int) -> tuple[list[Inputs], list[str], list[Stratum]]:
        dataset = open_dataset(Path(source))
        spread = np.linspace(0, len(dataset.records) - 1, min(most, len(dataset.records)))
        records = [dataset.records[i] for i in spread.round().astype(int)]
        batches: list[Inputs] = [
            to_batch([dataset.load(record)], manifest.inputs, manifest.presence_order)
            for record in records
        ]
        return batches, [r.species for r in records], [stratum_of(r) for r in records]

    candidates, species, strata = inputs_of(prepared.lists.calibration, 10**6)
    held, _, _ = inputs_of(prepared.lists.held_out, _HELD_OUT)
    held_out = {str(name): np.concatenate([one[name] for one in held]) for name in held[0]}
    evaluator = DriftEvaluator(graph, held_out, manifest.live_index, None, 32)
    extract = FeatureExtractor(graph)
    features = np.stack([extract(one) for one in candidates])

    def figures(chosen: Sequence[int]) -> SetFigures:
        quantizer = Quantizer.prepare(
            graph,
            [candidates[i] for i in chosen],
            manifest.inputs,
            precision=Precision.INT8,
            float32_islands=family.float32_islands,
        )
        found = evaluator.rounded(quantizer.write())
        distances = np.linalg.norm(features[:, None] - features[None, list(chosen)], axis=2)
        return SetFigures(
            float(distances.min(axis=1).max()),
            len(set(species) - {species[i] for i in chosen}),
            found.mean_drift,
            found.largest_drift,
            found.logit_sqnr_db,
        )

    answers = []
    for size in sizes:
        chosen = figures(select(features, strata, size).indices)
        drawn = tuple(
            figures(np.random.default_rng(seed).permutation(len(candidates))[:size].tolist())
            for seed in range(draws)
        )
        answers.append(
            SizeFigures(
                size,
                chosen,
                drawn,
                chosen.mean_drift / float(np.mean([d.mean_drift for d in drawn])),
                chosen.largest_drift / float(np.mean([d.largest_drift for d in drawn])),
            )
        )
    return answers


def main() -> int:
    """Measure the models asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["mmdg"], help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--work", type=Path, default=ROOT / ".verify")
    parser.add_argument("--sizes", default="16,64", help="captures a set, comma separated")
    parser.add_argument("--draws", type=int, default=5, help="random sets of each size")
    arguments = parser.parse_args()
    sizes = [int(word) for word in arguments.sizes.split(",")]
    for name in arguments.models:
        prepared = prepare(SUBJECTS[name], arguments.work.resolve())
        found = measure(prepared, sizes, arguments.draws)
        line = {"model": name, "held_out": _HELD_OUT, "sizes": [asdict(x) for x in found]}
        print(json.dumps(line), flush=True)
        for x in found:
            drifts = ", ".join(f"{d.mean_drift:.5f}" for d in x.random)
            print(
                f"{name}, {x.size} captures: mean drift chosen {x.chosen.mean_drift:.5f}, "
                f"random {drifts}; largest chosen {x.chosen.largest_drift:.4f}, over random "
                f"{x.largest_over_random:.2f}",
                file=sys.stderr,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
