"""Comparison of bundles of the demo checkpoint, built by this source and an earlier revision."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from claims import Claim
from graph_equality import first_difference, measure_size
from revision import RevisionError, SourceTree, current_tree, extract_revision

BASELINE = "6072c10"
"""Revision whose behavior this source keeps."""

_CALIBRATION_SEED, _CALIBRATION_CAPTURES, _CALIBRATION_SIZE = 101, 128, 32
# Wide enough that the eight-bit build is not refused: what is compared is what was built.
_WIDE_BUDGET = ("--max-flips", 0.05, "--max-drift", 0.05, "--max-rate-change", 0.05)


@dataclass(frozen=True)
class BuildCase:
    """One way to build a bundle from the demo checkpoint.

    Attributes:
        name: Name of the case in claims, and of the bundle's file.
        options: Options of `fasdk build-engine`.
        calibrated: Whether it takes calibration captures.
    """

    name: str
    options: tuple[object, ...]
    calibrated: bool


CASES = (
    BuildCase("fp16", ("--precision", "fp16"), calibrated=False),
    BuildCase("int8", ("--precision", "int8", *_WIDE_BUDGET), calibrated=True),
    BuildCase("int8-fp32", ("--precision", "int8-fp32", *_WIDE_BUDGET), calibrated=True),
    BuildCase("auto", ("--precision", "auto"), calibrated=True),
)


@dataclass(frozen=True)
class DemoFiles:
    """What both revisions build from and judge.

    Attributes:
        checkpoint: The checkpoint that `fasdk demo` trained.
        development: List of the demo's development captures.
        held_out: List of the demo's held-out captures.
        calibration: List of calibration captures of other subjects.
    """

    checkpoint: Path
    development: Path
    held_out: Path
    calibration: Path


@dataclass(frozen=True)
class Outcome:
    """A bundle and what it says of the held-out captures.

    Attributes:
        bundle: The bundle file.
        decisions: Verdict and score of each held-out capture, in order.
    """

    bundle: Path
    decisions: list[tuple[str, float]]


def behavior_claims(work: Path) -> Iterator[Claim]:
    """Graphs, golden captures and decisions of the demo checkpoint against the baseline revision.

    Args:
        work: Existing empty folder for everything that is made.
    """
    claim = f"revision {BASELINE} is in this clone"
    try:
        old = extract_revision(BASELINE, work)
    except RevisionError as error:
        yield Claim(claim, None, "==", True, str(error))
        return
    yield Claim(claim, True, "==", True)
    new = current_tree(work)
    files = make_demo_files(new, work)
    for case in CASES:
        with ThreadPoolExecutor(2) as pool:
            before = pool.submit(_build_and_judge, old, work / f"{case.name}.old", case, files)
            after = pool.submit(_build_and_judge, new, work / f"{case.name}.new", case, files)
        yield from compare(case.name, before.result(), after.result())


def make_demo_files(tree: SourceTree, work: Path) -> DemoFiles:
    """Run the demo once and write calibration captures.

    Raises:
        RevisionError: A command failed.
    """
    demo = work / "demo"
    tree.fasdk_json("demo", "--out", demo)
    made = tree.fasdk_json(
        "synth",
        work / "calibration",
        *("--captures", _CALIBRATION_CAPTURES, "--seed", _CALIBRATION_SEED),
    )
    return DemoFiles(
        checkpoint=demo / "checkpoint.safetensors",
        development=demo / "development" / "development.jsonl",
        held_out=demo / "captures" / "held-out.jsonl",
        calibration=Path(made["lists"]["train"]),
    )


def compare(name: str, old: Outcome, new: Outcome) -> Iterator[Claim]:
    """Compare the graphs, golden captures and decisions of two builds of one checkpoint."""
    yield _graph_claim(name, old.bundle, new.bundle)
    yield _golden_claim(name, old.bundle, new.bundle)
    verdicts = Counter(verdict for verdict, _ in old.decisions)
    yield Claim(
        f"demo checkpoint, {name}: held-out verdicts or scores that differ from {BASELINE}",
        _count_differing(old.decisions, new.decisions),
        "==",
        0,
        ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())),
    )


def _graph_claim(name: str, old: Path, new: Path) -> Claim:
    graphs = [_members(bundle)["model.onnx"] for bundle in (old, new)]
    difference = first_difference(*graphs)
    size = measure_size(graphs[0])
    return Claim(
        f"demo checkpoint, {name}: operators and weights equal those of {BASELINE}",
        difference is None,
        "==",
        True,
        difference
        or f"{size.operators} operators, {size.weights} weights of {size.weight_bytes} bytes",
    )


def _golden_claim(name: str, old: Path, new: Path) -> Claim:
    before, after = _golden_arrays(old), _golden_arrays(new)
    return Claim(
        f"demo checkpoint, {name}: golden captures or logits that differ in a bit from {BASELINE}",
        _count_differing(before, after),
        "==",
        0,
        f"{len(before)} golden captures of {sum(map(len, before))} arrays",
    )


def _count_differing(old: Sequence[object], new: Sequence[object]) -> int | None:
    """Return in how many places two sequences differ; None where there is nothing to compare."""
    if not old:
        return None
    return sum(one != other for one, other in zip_longest(old, new))


def _build_and_judge(tree: SourceTree, stem: Path, case: BuildCase, files: DemoFiles) -> Outcome:
    bundle = stem.with_name(f"{stem.name}.fasb")
    _build(tree, bundle, case, files)
    return Outcome(bundle, _judge(tree, bundle, files))


def _build(tree: SourceTree, out: Path, case: BuildCase, files: DemoFiles) -> None:
    calibration = (
        ("--calibration", files.calibration, "--calibration-size", _CALIBRATION_SIZE)
        if case.calibrated
        else ()
    )
    tree.fasdk(
        *("build-engine", files.checkpoint, "-o", out, "--model", "mmdg"),
        # ONNX Runtime needs no plan, whose bytes are not reproducible.
        *("--backend", "onnxruntime", "--development", files.development),
        *case.options,
        *calibration,
    )


def _judge(tree: SourceTree, bundle: Path, files: DemoFiles) -> list[tuple[str, float]]:
    lines = tree.fasdk(
        *("run", bundle, "--camera", f"replay:{files.held_out}"),
        *("--each-frame", "--no-gates", "--backend", "onnxruntime"),
    ).splitlines()
    decisions = [json.loads(line) for line in lines]
    return [(decision["verdict"], decision["score"]) for decision in decisions]


def _members(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _golden_arrays(bundle: Path) -> list[list[tuple[str, tuple[int, ...], bytes]]]:
    """Return each golden capture's arrays as sorted (dtype, shape, bytes)."""
    found = []
    for name, content in sorted(_members(bundle).items()):
        if name.startswith("golden/"):
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                values = [arrays[key] for key in arrays.files]
            found.append(sorted((str(v.dtype), v.shape, v.tobytes()) for v in values))
    return found
