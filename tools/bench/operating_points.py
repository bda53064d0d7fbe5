"""Error rates of tuned operating points on subjects outside the tuning list.

    python tools/bench/operating_points.py BUNDLE --development dev.jsonl --held-out other.jsonl

tunes the bundle on the development list, scores the held-out list with it, and prints one JSON
line: log loss and calibration error of the softmax score and of the calibrated one, both classes
weighing the same; and by level the bound that was promised, the worst species' APCER that was
found, how many species are above the level's target, and BPCER. The held-out list has to be of
other subjects.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.decision import OperatingPoint, class_scores
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import DatasetSource, open_dataset
from fasdk_calibration.metrics import Scores, apcer_by_species, auc, bpcer, fuse, worst_species
from fasdk_tools.evaluation.scoring import ScoredDataset, score_dataset
from fasdk_tools.tuning.tune import TuneRequest, tune

_BINS = 15


def main() -> int:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--development", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    development, held_out = open_dataset(arguments.development), open_dataset(arguments.held_out)
    both = {r.subject for r in development.records} & {r.subject for r in held_out.records}
    if both:
        raise DatasetError(f"{len(both)} subjects are in both lists: give other people")
    with tempfile.TemporaryDirectory() as folder:
        request = TuneRequest(
            bundle=arguments.bundle,
            out=Path(folder) / "tuned.fasb",
            protocol=DatasetSource.of(arguments.development),
            allow_missing_levels=True,
            threads=arguments.threads,
        )
        report = tune(request)
        if not report.written:
            raise DatasetError(f"nothing to measure: {'; '.join(report.refusals)}")
        tuned = open_bundle(request.out)
        scored = score_dataset(tuned, held_out, threads=arguments.threads)
    print(json.dumps(_document(tuned, scored, len(development.records))))
    return 0


def _document(tuned: Bundle, scored: ScoredDataset, development: int) -> dict[str, Any]:
    manifest = tuned.manifest
    whole = [present == manifest.modalities for present in scored.present]
    scores = scored.scores.select(np.array(whole))
    logits = scored.logits[np.array(whole)]
    softmax = np.array([class_scores(row)[manifest.live_index] for row in logits])
    levels = [p for p in manifest.operating_points if p.modalities == manifest.modalities]
    return {
        "bench": "operating points",
        "model": manifest.model.family,
        "precision": manifest.precision.value,
        "development": development,
        "held_out": len(scores),
        "auc": round(auc(scores.values, scores.is_bona_fide), 4),
        "log_loss": {
            "softmax": round(_log_loss(softmax, scores.is_bona_fide), 4),
            "calibrated": round(_log_loss(scores.values, scores.is_bona_fide), 4),
        },
        "calibration_error": {
            "softmax": round(_calibration_error(softmax, scores.is_bona_fide), 4),
            "calibrated": round(_calibration_error(scores.values, scores.is_bona_fide), 4),
        },
        "levels": [_level(point, tuned, fuse(scores)) for point in levels],
    }


def _level(point: OperatingPoint, tuned: Bundle, scores: Scores) -> dict[str, Any]:
    document = tuned.document("evaluation.json") or {}
    target = document["targets"][point.level]
    apcer = apcer_by_species(scores.values, scores.is_bona_fide, scores.species, point.threshold)
    worst = worst_species(apcer)
    refused = bpcer(scores.values, scores.is_bona_fide, point.threshold)
    return {
        "level": point.level,
        "target": target,
        "promised_upper": round(point.apcer_upper, 4),
        "held_out_worst": round(apcer[worst].rate, 4),
        "worst_species": f"{worst} {apcer[worst].errors}/{apcer[worst].total}",
        "species": len(apcer),
        "species_above_target": sum(rate.rate > target for rate in apcer.values()),
        "bpcer": round(refused.rate, 4),
    }


def _weights(live: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.where(live, 0.5 / live.sum(), 0.5 / (~live).sum()), np.float64)


def _log_loss(scores: NDArray[np.float64], live: NDArray[np.bool_]) -> float:
    certain = np.clip(np.where(live, scores, 1 - scores), 1e-15, None)
    return -float(_weights(live) @ np.log(certain))


def _calibration_error(scores: NDArray[np.float64], live: NDArray[np.bool_]) -> float:
    """Return the mean distance of score and share of bona fide, over bins of equal width."""
    weights = _weights(live)
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    return float(np.abs(np.bincount(bins, weights=weights * (scores - live))).sum())


if __name__ == "__main__":
    raise SystemExit(main())
