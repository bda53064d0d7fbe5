"""Demonstration: training, build, verification and scoring of synthetic captures.

The figures show that the path works, not how the model does on real attacks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.engine import Backend
from fasdk.backends.registry import installed_backends
from fasdk.bundle.manifest import Precision
from fasdk.decision import Verdict
from fasdk_calibration.datasets import DatasetSource, LabeledCapture, load_list, write_captures
from fasdk_calibration.metrics import apcer_by_species, auc, bpcer
from fasdk_calibration.synthetic import Split, generate_many
from fasdk_engines.build.pipeline import build_bundle
from fasdk_engines.build.report import BuildReport
from fasdk_engines.build.request import BuildRequest
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import TrainingSettings, train_supervised
from fasdk_tools.profiling.load import LoadRequest
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.result import Run
from fasdk_tools.terminal.numbers import count_of, format_bytes, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_notes, print_rows
from fasdk_tools.terminal.profile import latency_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fasdk.decision import Decision
    from fasdk.session.session import Liveness
    from fasdk_tools.terminal.output import ProgressView


@dataclass(frozen=True)
class DemoSize:
    """Captures and training of the demo.

    Attributes:
        train: Number of training captures.
        development: Number of development captures. 360 are twenty attacks of each species, of
            which one may pass at an APCER of 5 %.
        held_out: Number of held-out captures.
        epochs: Maximum number of training epochs.
    """

    train: int = 1080
    development: int = 360
    held_out: int = 252
    epochs: int = 24


@dataclass(frozen=True)
class DemoReport:
    """Results of the demo.

    Attributes:
        bundle: The bundle it built.
        checkpoint: The checkpoint it trained.
        held_out: List of the held-out captures.
        captures: Number of held-out captures.
        subjects: Number of people in them; none was seen in training or when the threshold was
            chosen.
        train_seconds: Time for captures and training.
        build: The build's own report.
        backend: Backend that scored the held-out captures.
        golden_drift: Largest score drift on the golden captures.
        profile: Latency of single captures.
        decisions: Count of verdicts by species.
        errors: Number of held-out captures that ended in ERROR.
        auc: Area under the ROC curve on the held-out captures.
        apcer: Share of attacks decided LIVE, by species (ISO/IEC 30107-3).
        bpcer: Share of bona fide captures not decided LIVE (ISO/IEC 30107-3).
    """

    bundle: str
    checkpoint: str
    held_out: str
    captures: int
    subjects: int
    train_seconds: float
    build: BuildReport
    backend: str
    golden_drift: float
    profile: Run
    decisions: dict[str, dict[str, int]]
    errors: int
    auc: float
    apcer: dict[str, float]
    bpcer: float


def run_demo(out: Path, seed: int, view: ProgressView, size: DemoSize | None = None) -> DemoReport:
    """Run the whole path in `out`, by default at full size, and return what it found.

    Raises:
        FasdkError: Any step failed; the error says which and why.
    """
    from fasdk.session.opening import open as open_session

    size = size or DemoSize()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, bundle = out / "checkpoint.safetensors", out / "demo.fasb"
    start = time.perf_counter()
    train = _make(seed, Split.TRAIN, size.train, view)
    development = write_captures(
        _make(seed, Split.DEVELOPMENT, size.development, view), out / "development", "development"
    )
    held_out = write_captures(
        _make(seed, Split.HELD_OUT, size.held_out, view), out / "captures", Split.HELD_OUT.value
    )
    settings = TrainingSettings(seed=seed, threads=2, epochs=size.epochs)
    _train(checkpoint, train, load_list(development), settings, view)
    train_seconds = time.perf_counter() - start
    rtx = Backend.TENSORRT_RTX in installed_backends()
    request = BuildRequest(
        source=checkpoint,
        out=bundle,
        model="mmdg",
        precision=Precision.FP16,
        backend=Backend.TENSORRT_RTX if rtx else Backend.ONNXRUNTIME,
        development=DatasetSource.of(development),
        golden=DatasetSource.of(development),  # every capture of the demo is synthetic
    )
    build = build_bundle(request, view)
    view.phase("verify")
    with open_session(bundle, backend=Backend.ONNXRUNTIME) as liveness:
        drift = liveness.replay_golden()
        decided = _decide(liveness, load_list(held_out), view)
        view.phase("profile")
        golden = [item.capture for item in liveness.bundle.golden]
        timed = Run.of(measure(liveness, golden, LoadRequest()))
        backend = f"{liveness.engine.backend.value} {liveness.engine.version}"
        verdicts = _count(decided)
    scores = np.array([decision.score for _, decision in decided])
    labels = np.array([capture.is_bona_fide for capture, _ in decided])
    species = [capture.species for capture, _ in decided]
    threshold = next(iter(build.operating_points.values()))
    return DemoReport(
        bundle=str(bundle),
        checkpoint=str(checkpoint),
        held_out=str(held_out),
        captures=len(decided),
        subjects=len({capture.subject for capture, _ in decided}),
        train_seconds=round(train_seconds, 1),
        build=build,
        backend=backend,
        golden_drift=drift,
        profile=timed,
        decisions=verdicts,
        errors=sum(counts.get(Verdict.ERROR.value, 0) for counts in verdicts.values()),
        auc=auc(scores, labels),
        apcer={
            name: rate.errors / rate.total
            for name, rate in apcer_by_species(scores, labels, species, threshold).items()
        },
        bpcer=(missed := bpcer(scores, labels, threshold)).errors / missed.total,
    )


def print_report(report: DemoReport) -> None:
    """Print the error rates and tables of the demo on stdout."""
    build = report.build
    worst = max(report.apcer, key=lambda name: report.apcer[name])
    print_answer(
        f"APCER {format_share(report.apcer[worst])} (worst: {worst}), BPCER "
        f"{format_share(report.bpcer)} on {count_of(report.captures, 'capture')} of other people"
    )
    half = f"{format_share(build.half_drift_ratio or 0)} of the logits' standard deviation"
    print_fields(
        "",
        {
            "bundle": report.bundle,
            "backend": report.backend,
            "precision": build.precision,
            "size": format_bytes(build.size_bytes),
            "parity": f"{build.torch_parity or 0:.1e} published against deployed form, "
            f"{build.graph_parity:.1e} deployed form against graph",
            "half precision": f"drift {half}, largest activation "
            f"{build.half_max_activation or 0:.1f}",
            "golden captures": f"reproduced, largest score drift {report.golden_drift:.1e}",
            "plan": f"{build.plan} for compute capabilities {', '.join(build.plan_targets)}"
            if build.plan
            else "none: tensorrt-rtx is not installed",
            "latency": f"{latency_text(report.profile.end_to_end)}; stages: `fasdk profile`",
        },
    )
    names = [verdict.value for verdict in Verdict]
    print_rows(
        f"Verdicts on {report.captures} captures of {report.subjects} other people, AUC "
        f"{report.auc:.4f}",
        ("presentation", *(name.upper() for name in names), "error rate"),
        [
            (
                species,
                *(counts.get(name, 0) for name in names),
                f"APCER {format_share(report.apcer[species])}"
                if species in report.apcer
                else f"BPCER {format_share(report.bpcer)}",
            )
            for species, counts in report.decisions.items()
        ],
    )
    print_notes(["Synthetic captures: the rates say nothing about real attacks."])


def _make(seed: int, split: Split, count: int, view: ProgressView) -> list[LabeledCapture]:
    made = []
    for capture in generate_many(seed, count, split):
        made.append(capture)
        view.update(f"captures, {split.value}", len(made), count)
    return made


def _train(
    checkpoint: Path,
    train: Sequence[LabeledCapture],
    development: Sequence[LabeledCapture],
    settings: TrainingSettings,
    view: ProgressView,
) -> None:
    """Train the tiny MMDG and save its checkpoint."""
    from fasdk_engines.models.checkpoint import save_checkpoint

    family = get_family("mmdg")
    config = family.configs["tiny"]
    result = train_supervised(
        family,
        config,
        train,
        development,
        settings,
        on_epoch=lambda epoch: view.update("training", epoch.number, epoch.of),
    )
    save_checkpoint(checkpoint, result.module, family, config)


def _decide(
    liveness: Liveness, captures: Sequence[LabeledCapture], view: ProgressView
) -> list[tuple[LabeledCapture, Decision]]:
    decided = []
    for capture in captures:
        decided.append((capture, liveness.check(capture.capture)))
        view.update("held-out captures", len(decided), len(captures))
    return decided


def _count(decided: Sequence[tuple[LabeledCapture, Decision]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for capture, decision in decided:
        of_species = counts.setdefault(capture.species, {})
        verdict = decision.verdict.value
        of_species[verdict] = of_species.get(verdict, 0) + 1
    return counts
