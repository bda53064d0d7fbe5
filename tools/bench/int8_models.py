"""Captures, trained checkpoints and bundles for INT8 benchmarks, made once in a work folder.

Run from the project's root; prints one JSON line that names every file, for example

    python tools/bench/int8_models.py mmdg --work .verify

Tiny models are trained by `fasdk train` on synthetic captures, Silent-Face comes with its published
weights, full-size models have random weights: every figure of those must say so.
Captures and checkpoints are kept under the digest of what made them, bundles under the digest of
the whole source, so that a second run is quick and never stale.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"
COMPONENTS = ("sdk", "engines", "calibration", "tools/fasdk_tools")
SEED = 11


class Weights(str, Enum):
    """Where a model's weights come from."""

    TRAINED = "trained"
    PUBLISHED = "published"
    RANDOM = "random weights"


@dataclass(frozen=True)
class Subject:
    """A model that INT8 is measured on.

    Attributes:
        name: Name in the benchmarks.
        family: Model name of the command line.
        weights: Source of its weights.
        checkpoint: File name of published weights.
        training: Options of `fasdk train`.
    """

    name: str
    family: str
    weights: Weights
    checkpoint: str = ""
    training: tuple[str, ...] = ()


# One thread: a second one spins where other processes want the cores, and takes far longer then.
_COMMON = (
    *("--config", "tiny", "--method", "plain", "--threads", "1", "--batch", "32"),
    *("--epochs", "24", "--learning-rate"),
)
SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("mmdg", "mmdg", Weights.TRAINED, training=(*_COMMON, "2e-3")),
        Subject("mmdgpp", "mmdgpp", Weights.TRAINED, training=(*_COMMON, "2e-3")),
        Subject(
            "mmda", "mmda", Weights.TRAINED, training=(*_COMMON, "1e-3", "--method", "published")
        ),
        Subject(
            "bigmoe", "bigmoe", Weights.TRAINED, training=(*_COMMON, "1.5e-3", "--epochs", "32")
        ),
        Subject(
            "minifasnet-v2",
            "minifasnet-v2",
            Weights.PUBLISHED,
            "2.7_80x80_MiniFASNetV2.pth",
        ),
        Subject(
            "minifasnet-v1se",
            "minifasnet-v1se",
            Weights.PUBLISHED,
            "4_0_0_80x80_MiniFASNetV1SE.pth",
        ),
        *(
            Subject(f"{family}-full", family, Weights.RANDOM)
            for family in ("mmdg", "mmdgpp", "mmda", "bigmoe")
        ),
    )
}


@dataclass(frozen=True)
class CaptureLists:
    """Lists of synthetic captures, of different people except that `validation` is a part.

    Attributes:
        train: List to train on.
        validation: The first captures of `development`; they select the epoch whose weights are
            kept.
        calibration: List that calibration captures are chosen from.
        development: List that thresholds and float layers are chosen on.
        held_out: List that every figure is measured on.
    """

    train: str
    validation: str
    calibration: str
    development: str
    held_out: str


# 1,080 bona fide presentations to evaluate on: below 1,000, one decision already changes BPCER by
# more than the 0.1 percentage points that are allowed.
COUNTS = {"train": 1800, "calibration": 540, "development": 2160, "held-out": 2160}
VALIDATION = 1800


@dataclass(frozen=True)
class Prepared:
    """A model ready to be measured.

    Attributes:
        name: Name of the subject.
        weights: Source of its weights.
        lists: Lists of captures.
        checkpoint: File of its weights.
        float_bundle: FP32 bundle; its threshold is the frozen one.
        int8_bundle: INT8 bundle, TensorRT-RTX plan included.
        int8_report: JSON report of the build of the INT8 bundle.
        int8_seconds: Wall-clock time of that build.
    """

    name: str
    weights: str
    lists: CaptureLists
    checkpoint: str
    float_bundle: str
    int8_bundle: str
    int8_report: dict[str, Any] = field(repr=False)
    int8_seconds: float


def prepare(subject: Subject, work: Path) -> Prepared:
    """Make the files of a model that do not exist yet.

    Raises:
        RuntimeError: A command failed; the message holds it and the end of its stderr.
    """
    with _alone(work):
        lists = make_captures(work)
        checkpoint = make_checkpoint(subject, lists, work)
        floating, quantized = make_bundles(subject, checkpoint, lists, work)
    report = json.loads(quantized.with_suffix(".json").read_text())
    return Prepared(
        subject.name,
        subject.weights.value,
        lists,
        str(checkpoint),
        str(floating),
        str(quantized),
        report["document"],
        report["seconds"],
    )


def make_captures(work: Path) -> CaptureLists:
    """Write the four lists of captures, unless the same generator has."""
    from fasdk_calibration.datasets import write_captures
    from fasdk_calibration.synthetic import Split, generate_many

    digest = _digest_of_sources("calibration/fasdk_calibration/synthetic")
    folder = work / f"captures-{digest}-{'-'.join(map(str, COUNTS.values()))}"
    splits = {
        "train": (Split.TRAIN, SEED),
        "calibration": (Split.TRAIN, SEED + 1),  # another population
        "development": (Split.DEVELOPMENT, SEED),
        "held-out": (Split.HELD_OUT, SEED),
    }
    for name, (split, seed) in splits.items():
        if (folder / f"{name}.jsonl").is_file():
            continue
        start = time.perf_counter()
        write_captures(generate_many(seed, COUNTS[name], split), folder, name)
        _say(f"{COUNTS[name]} captures, {name}: {time.perf_counter() - start:.0f} s")
    validation = folder / "validation.jsonl"
    if not validation.is_file():
        lines = (folder / "development.jsonl").read_text().splitlines(keepends=True)
        validation.write_text("".join(lines[:VALIDATION]))
    names = ("train", "validation", "calibration", "development", "held-out")
    return CaptureLists(*(str(folder / f"{name}.jsonl") for name in names))


def make_checkpoint(subject: Subject, lists: CaptureLists, work: Path) -> Path:
    """Train a checkpoint, or write random weights, unless the same settings have."""
    if subject.weights is Weights.PUBLISHED:
        return REFERENCE / "silent-face" / subject.checkpoint
    if subject.weights is Weights.RANDOM:
        checkpoint = work / f"{subject.name}.pth"
        if not checkpoint.is_file():
            sys.path.insert(0, str(ROOT / "tools" / "verify"))
            from measuring import write_golden_checkpoint

            write_golden_checkpoint(subject.family, checkpoint)
        return checkpoint
    made_of = (Path(lists.train).parent.name, VALIDATION, *subject.training)
    key = hashlib.sha256(
        " ".join(map(str, made_of)).encode()
        + _digest_of_sources("engines/fasdk_engines/models").encode()
    ).hexdigest()[:8]
    checkpoint = work / f"{subject.name}-{key}.safetensors"
    if not checkpoint.is_file():
        words = ["train", lists.train, "-o", checkpoint, "--model", subject.family]
        words += ["--development", lists.validation, *subject.training]
        document, seconds = run_fasdk(*words)
        _say(
            f"{subject.name} trained in {seconds:.0f} s, "
            f"development AUC {document['development_auc']:.4f}"
        )
    return checkpoint


def make_bundles(
    subject: Subject, checkpoint: Path, lists: CaptureLists, work: Path
) -> tuple[Path, Path]:
    """Build the FP32 and the INT8 bundle, unless the same source has.

    Only trained models are held to the liveness budget. Decisions of random weights mean nothing,
    and published ones were trained on other captures than these.
    """
    digest = _digest_of_sources(*COMPONENTS)
    folder = work / f"bundles-{digest}"
    folder.mkdir(exist_ok=True)
    evaluated = ["--development", lists.development]
    plain = ["--precision", "fp32", "--backend", "onnxruntime"]
    plain += [] if subject.weights is Weights.RANDOM else evaluated
    int8 = ["--precision", "int8"]
    if subject.weights is Weights.TRAINED:
        int8 = ["--precision", "auto", *evaluated]
    if subject.weights is Weights.RANDOM:  # their decisions mean nothing: few captures are enough
        int8 += ["--calibration-size", "32"]
    if subject.weights is Weights.PUBLISHED:
        int8 += [*evaluated, "--max-flips", "0.9", "--max-drift", "0.9", "--max-rate-change", "0.9"]
    int8 += ["--calibration", lists.calibration, "--backend", "tensorrt-rtx"]
    options = {"fp32": plain, "int8": int8}
    bundles = []
    for name, words in options.items():
        out = folder / f"{checkpoint.stem}.{name}.fasb"
        bundles.append(out)
        if out.is_file() and out.with_suffix(".json").is_file():
            continue
        build = ("build-engine", checkpoint, "-o", out, "--model", subject.family)
        document, seconds = run_fasdk(*build, *words)
        _say(f"{subject.name} {name} built in {seconds:.0f} s")
        report = {"document": document, "seconds": round(seconds, 1)}
        out.with_suffix(".json").write_text(json.dumps(report))
    return bundles[0], bundles[1]


def make_float16_plan(prepared: Prepared, family: str, max_batch: int = 8) -> int:
    """Build the TensorRT-RTX plan of the FP16 graph and return its size in bytes."""
    from fasdk.backends.engine import Backend
    from fasdk.backends.tensorrt.plan import build_plan
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.manifest import Precision
    from fasdk_engines.build.resolved import DEFAULT_COMPUTE_CAPABILITIES
    from fasdk_engines.graph.fp16 import convert
    from fasdk_engines.graph.islands import islands_matching
    from fasdk_engines.models.registry import get_family

    kept = Path(prepared.float_bundle).with_suffix(".fp16-plan")
    if not kept.is_file():
        bundle = open_bundle(Path(prepared.float_bundle))
        graph = bytes(bundle.graph)
        islands = islands_matching(graph, get_family(family).float32_islands)
        plan = build_plan(
            convert(graph, Precision.FP16, islands),
            Backend.TENSORRT_RTX,
            shapes=bundle.manifest.input_shapes,
            max_batch=max_batch,
            compute_capabilities=DEFAULT_COMPUTE_CAPABILITIES,
        )
        kept.write_text(str(len(plan.data)))
    return int(kept.read_text())


def run_fasdk(*arguments: object) -> tuple[dict[str, Any], float]:
    """Run the command line in a process of its own; return its JSON document and seconds."""
    words = [sys.executable, "-m", "fasdk_tools.cli", *map(str, arguments), "--json"]
    start = time.perf_counter()
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    if ran.returncode != 0:
        raise RuntimeError(f"{' '.join(words[2:])} exited {ran.returncode}: {ran.stderr[-500:]}")
    return json.loads(ran.stdout), time.perf_counter() - start


def _digest_of_sources(*folders: str) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Let one process at a time make files in the folder."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Prepare one model and print where its files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=SUBJECTS)
    parser.add_argument("--work", type=Path, default=ROOT / ".verify")
    parser.add_argument("--float16-plan", action="store_true", help="build its FP16 plan too")
    parser.add_argument("--no-bundles", action="store_true", help="captures and weights only")
    arguments = parser.parse_args()
    subject = SUBJECTS[arguments.model]
    work = arguments.work.resolve()
    if arguments.no_bundles:
        with _alone(work):
            lists = make_captures(work)
            checkpoint = make_checkpoint(subject, lists, work)
        print(json.dumps({"lists": asdict(lists), "checkpoint": str(checkpoint)}))
        return 0
    prepared = prepare(subject, work)
    document = asdict(prepared)
    if arguments.float16_plan:
        document["plan_bytes"] = make_float16_plan(prepared, subject.family)
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
