"""Error rates of verdicts on several frames against a single frame at the same bound.

    python tools/bench/sequential.py BUNDLE --presentations 192 --frames 6
    python tools/bench/sequential.py --simulate 0.5 --presentations 2000

shows the bundle synthetic presentations of several frames, tunes on those of development subjects
and counts on those of held-out subjects, at one level: a single frame at its operating point, the
mean of all frames at its own, the sequential test, and three LIVE frames in a row, which is what a
track does without a test. Prints one JSON line. Synthetic captures: what is compared is the rules,
and the gain depends on how alike the frames of a presentation are, which the line contains. With
`--simulate R` the log-odds are Gaussian, frames of a presentation correlated by R, the classes two
and a half standard deviations apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasdk.backends.engine import Backend
from fasdk.backends.registry import open_engine
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.capture import Modality
from fasdk.decision import ScoreCalibration, log_odds
from fasdk.errors import DatasetError
from fasdk.preprocess import to_batch
from fasdk.sequential import ConsecutiveRun, Run, ScoredFrame, SequentialRun, Step
from fasdk_calibration.metrics import ErrorRate, Scores, fuse
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many, parse_attacks
from fasdk_calibration.synthetic.species import taking_turns
from fasdk_calibration.thresholds.levels import (
    DEFAULT_TARGETS,
    LevelTarget,
    Refusal,
)
from fasdk_calibration.thresholds.operating_points import TunedPoint, tune_level
from fasdk_calibration.thresholds.score_calibration import fit_score_calibration
from fasdk_calibration.thresholds.sequential_tuning import TunedTest, tune_test

GRAPH = "0" * 64  # nothing is written


@dataclass(frozen=True)
class Rule:
    """Rule that decides on a presentation.

    Attributes:
        begin: Returns a run for one presentation.
        threshold: Score that a frame must exceed to be LIVE by itself.
        mean: Whether the run sees the mean of all frames instead of the frames.
    """

    begin: Callable[[], Run]
    threshold: float = 0.5
    mean: bool = False


def main() -> int:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--simulate", type=float, metavar="R", help="no bundle, correlation R")
    parser.add_argument("--presentations", type=int, default=192, help="of each split")
    parser.add_argument("--frames", type=int, default=6, help="of each presentation")
    parser.add_argument("--species", default="print flat,flexible mask,makeup")
    parser.add_argument("--level", default="convenience", help="of the default levels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    words = parser.parse_args()
    target = next(target for target in DEFAULT_TARGETS if target.level == words.level)
    if words.simulate is not None:
        development, held_out = (
            simulated(words.simulate, words.presentations, words.frames, words.seed + split)
            for split in range(2)
        )
        named = {"model": "simulated", "precision": None}
        print(json.dumps(named | _document(target, tuple(Modality), development, held_out)))
        return 0
    if words.bundle is None:
        parser.error("give a bundle, or --simulate R")
    bundle = open_bundle(words.bundle)
    manifest = bundle.manifest
    scene = SceneSettings(
        frames_per_presentation=words.frames,
        turns=taking_turns(*parse_attacks(words.species.split(","))),
    )
    development, held_out = (
        _scored(bundle, split, scene, words.presentations * words.frames, words.seed, words.threads)
        for split in (Split.DEVELOPMENT, Split.HELD_OUT)
    )
    named = {"model": manifest.model.family, "precision": manifest.precision.value}
    print(json.dumps(named | _document(target, manifest.modalities, development, held_out)))
    return 0


def simulated(correlation: float, presentations: int, frames: int, seed: int) -> Scores:
    """Return one entry a frame, every other presentation an attack; values are log-odds.

    Args:
        correlation: Correlation of the frames of one presentation, in [0, 1].
        presentations: Number of presentations.
        frames: Number of frames of each.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    live = np.arange(presentations) % 2 == 0
    shared = np.sqrt(correlation) * rng.normal(size=(presentations, 1))
    own = np.sqrt(1.0 - correlation) * rng.normal(size=(presentations, frames))
    values = np.where(live, 1.25, -1.25)[:, None] + shared + own
    names = tuple(str(number) for number in range(presentations) for _ in range(frames))
    labels = np.repeat(live, frames)
    return Scores(
        values=values.ravel(),
        is_bona_fide=labels,
        species=tuple("bona fide" if label else "attack" for label in labels),
        presentation=names,
        subject=names,
        domain=("simulated",) * len(names),
    )


def _scored(
    bundle: Bundle, split: Split, scene: SceneSettings, captures: int, seed: int, threads: int
) -> Scores:
    """Return one entry a frame; values are log-odds."""
    manifest = bundle.manifest
    engine = open_engine(bundle, Backend.ONNXRUNTIME, threads=threads)
    values: list[float] = []
    labels: list[bool] = []
    species, presentations, subjects = [], [], []
    made = generate_many(seed, captures, split, settings=scene, threads=threads)
    for item in made:
        batch = to_batch([item.capture], manifest.inputs, manifest.presence_order)
        values.append(log_odds(engine.run(batch).logits[0], manifest.live_index))
        labels.append(item.is_bona_fide)
        species.append(item.species)
        presentations.append(item.presentation)
        subjects.append(item.subject)
    engine.close()
    return Scores(
        values=np.array(values),
        is_bona_fide=np.array(labels),
        species=tuple(species),
        presentation=tuple(presentations),
        subject=tuple(subjects),
        domain=("synthetic",) * len(values),
    )


def calibrated(frames: Scores, calibration: ScoreCalibration) -> Scores:
    """Return log-odds as calibrated scores."""
    return replace(frames, values=np.array([calibration.score(float(v)) for v in frames.values]))


def _document(
    target: LevelTarget, modalities: Sequence[Modality], development: Scores, held_out: Scores
) -> dict[str, Any]:
    calibration = fit_score_calibration(development, modalities, GRAPH)
    development, held_out = (calibrated(each, calibration) for each in (development, held_out))
    settings: dict[str, Any] = {"source": "", "graph_sha256": GRAPH}
    first = development.select(first_frames(development))
    single = tune_level(first, target, modalities, calibrated=True, **settings)
    mean = tune_level(fuse(development), target, modalities, calibrated=True, **settings)
    test = tune_test(development, target, modalities, max_ms=5_000.0, **settings)
    for each in (single, mean, test):
        if isinstance(each, Refusal):
            raise DatasetError(f"nothing to measure: {each.reason}")
    assert isinstance(single, TunedPoint)  # noqa: S101 - for mypy, as are the next two
    assert isinstance(mean, TunedPoint)  # noqa: S101
    assert isinstance(test, TunedTest)  # noqa: S101
    rules = {
        "single frame": Rule(lambda: ConsecutiveRun(1, 1.0), single.point.threshold),
        "mean of all frames": Rule(lambda: ConsecutiveRun(1, 1.0), mean.point.threshold, mean=True),
        "sequential": Rule(lambda: SequentialRun(test.test)),
        "three in a row": Rule(lambda: ConsecutiveRun(3, 1.0), single.point.threshold),
    }
    promised = {
        "single frame": single.point.apcer_upper,
        "mean of all frames": mean.point.apcer_upper,
        "sequential": test.test.apcer_upper,
    }
    return {
        "bench": "sequential test",
        "level": target.level,
        "target": target.max_apcer,
        "presentations": len(fuse(held_out)),
        "frames": test.test.max_frames,
        "correlation": round(test.test.evidence.correlation, 3),
        "live_bound": round(test.test.live_bound, 3),
        "spoof_bound": round(test.test.spoof_bound, 3),
        "rules": {
            name: {
                "promised_upper": round(promised[name], 4) if name in promised else None,
                "development": _counted(rule, development),
                "held_out": _counted(rule, held_out),
            }
            for name, rule in rules.items()
        },
    }


def _counted(rule: Rule, frames: Scores) -> dict[str, Any]:
    """Return the error rates and frame counts of a rule."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(frames.presentation):
        rows.setdefault(name, []).append(row)
    live: dict[str, list[bool]] = {}
    taken: dict[bool, list[int]] = {True: [], False: []}
    for found in rows.values():
        scores = frames.values[found]
        step, count = _decide(rule, scores)
        live.setdefault(frames.species[found[0]], []).append(step is Step.LIVE)
        taken[bool(frames.is_bona_fide[found[0]])].append(len(scores) if rule.mean else count)
    refused = [not verdict for verdict in live.pop("bona fide")]
    apcer = {name: ErrorRate(sum(accepted), len(accepted)) for name, accepted in live.items()}
    worst = max(apcer, key=lambda name: apcer[name].rate)
    return {
        "worst_apcer": f"{worst} {apcer[worst].errors}/{apcer[worst].total}",
        "bpcer": round(float(np.mean(refused)), 4),
        "mean_frames_bona_fide": round(float(np.mean(taken[True])), 2),
        "mean_frames_attack": round(float(np.mean(taken[False])), 2),
    }


def _decide(rule: Rule, scores: NDArray[np.float64]) -> tuple[Step, int]:
    run, step = rule.begin(), Step.UNDECIDED
    shown: Sequence[float] = [float(scores.mean())] if rule.mean else [float(s) for s in scores]
    for score in shown:
        step = run.add(ScoredFrame(score, score > rule.threshold, 0.0))
        if step is not Step.UNDECIDED:
            break
    return step, run.frames


def first_frames(frames: Scores) -> list[int]:
    """Return the row of each presentation's first frame."""
    first: dict[str, int] = {}
    for row, name in enumerate(frames.presentation):
        first.setdefault(name, row)
    return list(first.values())


if __name__ == "__main__":
    raise SystemExit(main())
