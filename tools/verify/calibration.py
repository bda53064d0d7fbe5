"""Claims about calibration and evaluation, measured: `make verify-calibration`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group,
`--work FOLDER` is where captures, checkpoints and bundles are kept for the next run. Everything is
measured on synthetic captures; full-size models have random weights, and the claims say so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from claims import Claim, report
from measuring import REFERENCE, ROOT, bench_json, fasdk_json, fasdk_run, pytest_claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.bundle.bundle import Bundle
    from fasdk_calibration.metrics import Scores
    from fasdk_engines.quantization.mixed_precision.budget import CombinationFigures

TRAINED = ("mmdg", "mmdgpp", "mmda", "bigmoe")
PUBLISHED = ("minifasnet-v2", "minifasnet-v1se")
FULL = tuple(f"{model}-full" for model in TRAINED)
RIVALS = ("onnxruntime", "modelopt")
_BATCH = 32
_FULL_CAPTURES = 128
_AUTO_CALIBRATION, _AUTO_DEVELOPMENT = 32, 64
_SET_SIZE, _SET_DRAWS = 16, 5


@dataclass(frozen=True)
class ListCounts:
    """Rows of one published list, by research/models.md 1.9."""

    rows: int
    bona_fide: int
    attack: int
    duplicates: int = 0


LISTS = {
    "C-train": ListCounts(4800, 1200, 3600),
    "C-val": ListCounts(2401, 601, 1800),
    "C-test": ListCounts(6739, 1200, 5539, 4),
    "P-train": ListCounts(1090, 597, 493),
    "P-val": ListCounts(272, 145, 127),
    "P-test": ListCounts(667, 363, 304),
    "S-train": ListCounts(6297, 900, 5397, 20),
    "S-val": ListCounts(2100, 300, 1800),
    "S-test": ListCounts(12564, 1800, 10764, 56),
    "W-train": ListCounts(1695, 372, 1323),
    "W-val": ListCounts(1671, 324, 1347),
    "W-test": ListCounts(1671, 345, 1326),
}


def list_claims() -> Iterator[Claim]:
    """The published lists, as `fasdk dataset check` counts them."""
    for name, expected in LISTS.items():
        path = REFERENCE / "mmdg-benchmark" / f"{name}.txt.gz"
        found = fasdk_json("dataset", "check", path)
        counts = ListCounts(*(found[k] for k in ("rows", "bona_fide", "attack", "duplicates")))
        differing = [k for k in vars(expected) if getattr(expected, k) != getattr(counts, k)]
        yield Claim(f"{name}: counts that differ from the paper's lists", len(differing), "==", 0)


def suite_claims() -> Iterator[Claim]:
    """What the tests show."""
    for claim, patterns in {
        "readers round-trip, bad lists refused": ["calibration/datasets/**/test_*.py"],
        "metrics equal scikit-learn's, bounds SciPy's": ["calibration/metrics/test_*.py"],
        "ranges": ["calibration/calibration_set/test_ranges.py"],
        "calibration set": ["calibration/calibration_set/test_selection.py"],
        "liveness budget": ["engines/quantization/mixed_precision/test_*.py"],
        "operating points": ["calibration/thresholds/test_*.py", "tools/**/test_tune*.py"],
        "synthetic captures": ["calibration/synthetic/test_*.py"],
        "quantizer": ["engines/quantization/**/test_*.py"],
        "evaluation": ["calibration/error_rates/test_*.py", "tools/**/test_evaluat*.py"],
        "report in Chromium, numbers equal the JSON's": ["tools/test_report*.py"],
        "verbs and bad inputs": [
            *("tools/test_dataset_verb.py", "tools/test_metrics_verb.py", "tools/test_synth.py"),
            "tools/test_bad_input.py",
        ],
    }.items():
        files = [str(p) for pattern in patterns for p in sorted((ROOT / "tests").glob(pattern))]
        # Slow tests are part of the claim; without a file of that name nothing was shown.
        yield pytest_claim(
            f"{claim}: tests that fail or skip", *(files or patterns), "-m", "not gpu"
        )


def synthetic_claims() -> Iterator[Claim]:
    """How fast synthetic captures are made."""
    found = bench_json("synthetic.py")
    rate = found["made_per_minute"]
    yield Claim(
        "synthetic captures a minute, two threads", rate, ">=", 1000, json.dumps(found)[:200]
    )


def prepared(work: Path, model: str) -> dict[str, Any]:
    """Return where a model's files are, made if need be."""
    return bench_json("int8_models.py", model, "--work", work)


def int8_claims(work: Path, model: str) -> Iterator[Claim]:
    """A trained tiny model in INT8 against FP32 on captures of people nobody saw before."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk_calibration.datasets import open_dataset
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits, check_budget

    files = prepared(work, model)
    floating, quantized = (open_bundle(Path(files[k])) for k in ("float_bundle", "int8_bundle"))
    dataset = open_dataset(Path(files["lists"]["held_out"]))
    seen = {
        record.subject
        for name in ("train", "calibration", "development")
        for record in open_dataset(Path(files["lists"][name])).records
    }
    yield Claim(
        f"{model}: held-out subjects seen in training, calibration or development",
        len(seen & {record.subject for record in dataset.records}),
        "==",
        0,
    )
    answers = _answers(floating, quantized, Path(files["lists"]["held_out"]))
    scores = answers.reference
    points = floating.manifest.operating_points
    found = check_budget(
        scores,
        answers.int8,
        [floating.manifest.modalities] * len(scores.values),
        points,
        limits := BudgetLimits(),
    ).combinations[0]
    yield from _captures_are_hard_enough(model, scores, found.threshold)
    yield from _budget_holds(model, found, limits)
    # A layer that takes two int8 terms is executed twice, and counts once.
    macs = min(_share_of_macs(quantized, answers.one), files["int8_report"]["int8"]["int8_share"])
    yield Claim(
        f"{model}: share of Linear and Conv multiply-accumulates in INT8",
        macs,
        ">=",
        0.9,
        f"auto took {files['int8_seconds']:.0f} s",
    )


def _captures_are_hard_enough(
    model: str, scores: Scores, threshold: float | None
) -> Iterator[Claim]:
    from fasdk_calibration.metrics import auc, logit

    if threshold is None:
        raise ValueError(f"{model}: the FP32 bundle has no operating point")
    area = auc(scores.values, scores.is_bona_fide)
    near = np.abs(logit(scores.values) - logit(np.array(threshold))) <= 1.0
    yield Claim(f"{model}: held-out captures", len(scores.values), ">=", 2000)
    yield Claim(f"{model}: of them within one logit of the threshold", int(near.sum()), ">=", 200)
    yield Claim(f"{model}: FP32 AUC, at least", area, ">=", 0.90)
    yield Claim(f"{model}: FP32 AUC, at most", area, "<=", 0.995)


def _budget_holds(model: str, found: CombinationFigures, limits: Any) -> Iterator[Claim]:
    if found.flips is None or found.apcer is None or found.bpcer is None:
        raise ValueError(f"{model}: the held-out captures lack a class")
    yield Claim(
        f"{model}: share of decision flips, INT8 against FP32",
        found.flips / found.captures,
        "<=",
        limits.max_flips,
        f"{found.flips} of {found.captures}; expected of others like them "
        f"{found.expected_flips or 0:.3%}, of one class {found.expected_class_flips or 0:.3%}",
    )
    yield Claim(
        f"{model}: mean absolute score drift",
        found.mean_drift,
        "<=",
        limits.max_drift,
        f"largest {found.largest_drift:.4f}",
    )
    for name, rate in (("APCER of the worst species", found.apcer), ("BPCER", found.bpcer)):
        yield Claim(
            f"{model}: change of {name}",
            rate.change,
            "<=",
            limits.max_rate_change,
            f"{rate.before:.2%} to {rate.after:.2%} of {rate.presentations}, {rate.species[1]}",
        )


@dataclass(frozen=True, eq=False)
class _Answers:
    """FP32 and INT8 scores of the same captures.

    Attributes:
        reference: FP32 scores with labels and species.
        int8: float64 [N], P(bona fide), every operator's output rounded as written.
        logits: float64 [N, classes], FP32.
        int8_logits: float64 [N, classes], INT8.
        one: Graph inputs of one capture.
    """

    reference: Scores
    int8: NDArray[np.float64]
    logits: NDArray[np.float64]
    int8_logits: NDArray[np.float64]
    one: dict[str, NDArray[np.float32]]


def _answers(
    floating: Bundle, quantized: Bundle, source: Path, most: int | None = None
) -> _Answers:
    """Ask both graphs, a few captures at a time; `most` takes so many, evenly spread."""
    from fasdk.backends.onnxruntime import OnnxRuntimeEngine
    from fasdk.decision import live_score
    from fasdk.preprocess import to_batch
    from fasdk_calibration.datasets import open_dataset
    from fasdk_calibration.metrics import Scores
    from fasdk_engines.quantization import QdqReferenceRunner

    dataset, manifest = open_dataset(source), floating.manifest
    records = dataset.records
    if most is not None and most < len(records):
        records = tuple(
            records[i] for i in np.linspace(0, len(records) - 1, most).round().astype(int)
        )
    plain, written = OnnxRuntimeEngine(floating.graph), QdqReferenceRunner(bytes(quantized.graph))
    size = _BATCH if len(quantized.graph) < 64_000_000 else 2
    rows: list[NDArray[np.float32]] = []
    int8_rows: list[NDArray[np.float32]] = []
    one: dict[str, NDArray[np.float32]] = {}
    for at in range(0, len(records), size):
        captures = [dataset.load(record) for record in records[at : at + size]]
        batch = to_batch(captures, manifest.inputs, manifest.presence_order)
        one = one or {name: values[:1] for name, values in batch.items()}
        rows.append(plain.run(batch).logits)
        int8_rows.append(written.logits(batch))
    logits, int8_logits = np.concatenate(rows), np.concatenate(int8_rows)
    values, moved = (
        np.array([live_score(row, manifest.live_index) for row in found])
        for found in (logits, int8_logits)
    )
    reference = Scores.of_captures(records, values)
    return _Answers(
        reference, moved, logits.astype(np.float64), int8_logits.astype(np.float64), one
    )


def _share_of_macs(bundle: Bundle, one: dict[str, NDArray[np.float32]]) -> float:
    sys.path.insert(0, str(ROOT / "tools" / "bench"))
    from int8_macs import count_macs

    return float(count_macs(bytes(bundle.graph), one).share)


def full_claims(work: Path, model: str) -> Iterator[Claim]:
    """A full-size model: its weights are random, so logits are compared, not decisions."""
    from fasdk.bundle.bundle import open_bundle

    files = prepared(work, model)
    floating, quantized = (open_bundle(Path(files[k])) for k in ("float_bundle", "int8_bundle"))
    start = time.perf_counter()
    found = _answers(floating, quantized, Path(files["lists"]["held_out"]), _FULL_CAPTURES)
    noise = float(np.square(found.int8_logits - found.logits).sum())
    deviation = found.logits - found.logits.mean(axis=0)
    power, varying = (float(np.square(x).sum()) for x in (found.logits, deviation))
    yield Claim(
        f"{model}, random weights: logit SQNR in dB on {len(found.logits)} captures",
        10 * float(np.log10(power / noise)),
        ">=",
        30,
        f"of the deviations from the mean {10 * np.log10(varying / noise):.1f} dB; "
        f"measured in {time.perf_counter() - start:.0f} s",
    )
    yield Claim(
        f"{model}, random weights: share of Linear and Conv multiply-accumulates in INT8",
        min(_share_of_macs(quantized, found.one), files["int8_report"]["int8"]["int8_share"]),
        ">=",
        0.9,
    )


def calibration_set_claims(work: Path, model: str) -> Iterator[Claim]:
    """What choosing the captures is worth, against as many drawn at random from the same list."""
    found = bench_json(
        *("int8_calibration_set.py", model, "--work", work),
        *("--sizes", _SET_SIZE, "--draws", _SET_DRAWS),
    )
    (figures,) = found["sizes"]
    chosen, drawn = figures["chosen"], figures["random"]
    note = f"{_SET_SIZE} captures, {_SET_DRAWS} random draws, {found['held_out']} held out"
    yield Claim(
        f"{model}: species of the list that the chosen calibration set lacks",
        chosen["species_lacking"],
        "==",
        0,
        f"{note}; at random {[one['species_lacking'] for one in drawn]}",
    )
    yield Claim(
        f"{model}: coverage radius of the chosen set over the least of the random ones",
        chosen["radius"] / min(one["radius"] for one in drawn),
        "<=",
        1,
        note,
    )
    yield Claim(
        f"{model}: score drift after calibration on the chosen set over the random ones' mean",
        figures["drift_over_random"],
        "<=",
        1,
        f"{chosen['mean_drift']:.5f}, at random "
        f"{', '.join(format(one['mean_drift'], '.5f') for one in drawn)}; largest over random "
        f"{figures['largest_over_random']:.2f}",
    )


def plan_claims(work: Path, model: str) -> Iterator[Claim]:
    """The INT8 graph builds in TensorRT-RTX, and its plan is smaller than the FP16 plan."""
    report_of = prepared(work, model)["int8_report"]
    half = bench_json("int8_models.py", model, "--work", work, "--float16-plan")
    yield Claim(
        f"{model}: INT8 plan of TensorRT-RTX over its FP16 plan, in bytes",
        report_of["plan_bytes"] / half["plan_bytes"] if report_of["plan_bytes"] else None,
        "<=",
        0.75,
        f"{report_of['plan_bytes'] / 1e6:.2f} and {half['plan_bytes'] / 1e6:.2f} MB",
    )


def rival_claims(work: Path, environment: Path, model: str) -> Iterator[Claim]:
    """Ours against what other tools make by default, on the same captures."""
    found = bench_json("int8_rivals.py", model, "--work", work, "--environment", environment)
    ours, *others = found["contestants"]
    if ours["error"] is not None:
        raise ValueError(f"{model}: {ours['error']}")
    own = max(f["mean_drift"] for f in (ours["unfused"], ours["rounded"]) if f is not None)
    for other in others:
        name, drift = other["tool"], None
        note = f"versions {other['versions']}"
        if other["unfused"] is not None:
            drift = other["unfused"]["mean_drift"]
            note = f"{own:.5f} and {drift:.5f}, INT8 share {other['int8_macs']:.2f}, {note}"
        claim = f"{model}: our mean score drift over that of {name}'s default"
        if drift is None:  # a tool that makes no graph of the model is beaten by any
            yield Claim(f"{claim}: it made none", 0.0, "<=", 1, other["error"][:300])
        else:
            yield Claim(claim, own / drift, "<=", 0.999, note)


def speed_claims(work: Path) -> Iterator[Claim]:
    """The CPU's own 8-bit form."""
    from fasdk.bundle.bundle import open_bundle

    with tempfile.TemporaryDirectory() as name:
        graph = Path(name) / "model.onnx"
        bundle = open_bundle(Path(prepared(work, "mmdg-full")["float_bundle"]))
        graph.write_bytes(bundle.graph)
        found = bench_json("int8_speed.py", graph, "--model", "mmdg")
    yield Claim(
        "mmdg full: FP32 time over int8-fp32 time of one capture in ONNX Runtime",
        found["times_faster"],
        ">=",
        1.3,
        f"{found['fp32_ms']} and {found['int8_fp32_ms']} ms, {found['threads']} threads, "
        f"{found['share_of_macs']:.1%} of multiply-accumulates in INT8",
    )


def auto_claims(work: Path) -> Iterator[Claim]:
    """The whole search on a full-size model, on few captures: random weights decide nothing."""
    files = bench_json("int8_models.py", "mmdg-full", "--work", work, "--no-bundles")
    lists = files["lists"]
    out = work / "mmdg-full.auto.fasb"
    development = Path(lists["development"])
    lines = development.read_text().splitlines()
    kept = np.linspace(0, len(lines) - 1, _AUTO_DEVELOPMENT).round().astype(int)
    few = development.with_name("development-few.jsonl")
    few.write_text("".join(f"{lines[i]}\n" for i in kept))
    run = fasdk_run(
        *("build-engine", files["checkpoint"], "-o", out, "--model", "mmdg"),
        *("--precision", "auto", "--calibration", lists["calibration"]),
        *("--calibration-size", _AUTO_CALIBRATION, "--development", few),
        *("--backend", "onnxruntime"),
        ok_status=(0, 1),
    )
    out.unlink(missing_ok=True)
    yield Claim(
        "mmdg full, random weights: --precision auto, minutes",
        run.seconds / 60,
        "<=",
        15,
        f"{_AUTO_CALIBRATION} calibration and {_AUTO_DEVELOPMENT} development captures, "
        f"peak RSS {run.peak_bytes / 1e9:.1f} GB",
    )


def main() -> int:
    """Measure everything and return 1 on any miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".verify")
    parser.add_argument("--environment", type=Path, help="the rivals' virtual environment")
    parser.add_argument("--only", help="one group's name, or the beginning of several")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    environment = (arguments.environment or work / "rivals").absolute()
    groups: dict[str, Callable[[], Iterator[Claim]]] = {
        "lists": list_claims,
        "synthetic": synthetic_claims,
        "speed": partial(speed_claims, work),
    }
    for model in TRAINED:
        groups[f"int8 {model}"] = partial(int8_claims, work, model)
    groups["set mmdgpp"] = partial(calibration_set_claims, work, "mmdgpp")
    for model in (*TRAINED, *PUBLISHED):
        groups[f"rivals {model}"] = partial(rival_claims, work, environment, model)
    for model in FULL:
        groups[f"full {model}"] = partial(full_claims, work, model)
    for model in (*TRAINED, *PUBLISHED, *FULL):
        groups[f"plan {model}"] = partial(plan_claims, work, model)
    groups |= {"auto": partial(auto_claims, work), "suite": suite_claims}
    if arguments.only is not None:
        names = [name for name in groups if name.startswith(arguments.only)]
        if arguments.only in groups:  # "plan bigmoe" is not "plan bigmoe-full" too
            names = [arguments.only]
        chosen = {name: groups[name] for name in names}
        if not chosen:
            parser.error(f"no group begins with {arguments.only!r}: {', '.join(groups)}")
        groups = chosen
    return report(groups)


if __name__ == "__main__":
    sys.exit(main())
