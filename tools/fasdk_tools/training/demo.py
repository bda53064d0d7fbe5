"""Demonstration: a checkpoint's bundles in FP16 and INT8, tuned and judged on unseen people.

Captures are synthetic: the figures show that the path works, not how the model does on real
attacks.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.backends.engine import Backend
from fasdk.backends.registry import installed_backends
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import Precision
from fasdk.errors import OperatingPointError
from fasdk_calibration.datasets import (
    DatasetSource,
    LabeledCapture,
    load_list,
    write_captures,
)
from fasdk_calibration.synthetic import (
    ATTACKS,
    SceneSettings,
    Species,
    Split,
    generate_many,
    worker_processes,
)
from fasdk_calibration.thresholds.levels import LevelTarget
from fasdk_engines.build.pipeline import build_bundle
from fasdk_engines.build.report import BuildReport
from fasdk_engines.build.request import BuildRequest
from fasdk_engines.models.registry import get_family
from fasdk_engines.quantization.mixed_precision.request import Int8Request
from fasdk_engines.training import TrainingSettings, train_supervised
from fasdk_tools.evaluation import EvaluationRequest, run_evaluation
from fasdk_tools.report.evaluation import write_report
from fasdk_tools.terminal.numbers import count_of, format_bytes, format_interval, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_notes, print_rows
from fasdk_tools.training.packaged import SCENE, copy_checkpoint
from fasdk_tools.tuning.report import LevelReport
from fasdk_tools.tuning.tune import TuneRequest, tune

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from fasdk_calibration.error_rates import Estimate, Rate, RatesAtThreshold
    from fasdk_tools.terminal.output import ProgressView

MODEL = "mmdg"
LEVEL = LevelTarget("standard", 0.05)
_WORTH_PROCESSES = 400  # captures; fewer are made before two processes have started
# A bona fide presentation before every three attacks: bounds of APCER take many attacks.
_MOSTLY_ATTACKS = replace(
    SCENE,
    turns=tuple(
        kind
        for number, attack in enumerate(ATTACKS)
        for kind in ((attack,) if number % 3 else (Species.BONA_FIDE, attack))
    ),
)


@dataclass(frozen=True)
class DemoSize:
    """Captures and training of the demo.

    Attributes:
        calibration: Number of captures that INT8 ranges are measured on.
        development: Number of captures that thresholds are tuned on, three quarters of them
            attacks: 93 of each species, of which `LEVEL` lets one be accepted.
        held_out: Number of held-out captures, half of them attacks.
        train: Number of training captures, of `--train` alone.
        epochs: Maximum number of training epochs, of `--train` alone.
    """

    calibration: int = 126
    development: int = 1116
    held_out: int = 1008
    train: int = 1080
    epochs: int = 24


@dataclass(frozen=True)
class DemoBundle:
    """A bundle of the demo, from its build to its error rates.

    Attributes:
        bundle: The tuned bundle.
        build: Report of the build that tuning started from.
        level: Threshold and error rates on the development captures, with their bounds.
        report: HTML page of the evaluation.
        backend: Runtime that scored the held-out captures.
        auc: Area under the ROC curve on them, subjects resampled for its bounds.
        rates: APCER by species and BPCER on them, with bounds (ISO/IEC 30107-3).
        non_responses: Number of them without a score.
    """

    bundle: str
    build: BuildReport
    level: LevelReport
    report: str
    backend: str
    auc: Estimate
    rates: RatesAtThreshold
    non_responses: int


@dataclass(frozen=True)
class DemoReport:
    """Results of the demo.

    Attributes:
        checkpoint: The checkpoint that was built from.
        trained: Whether the demo trained it, as with `--train`.
        held_out: List of the held-out captures.
        captures: Number of held-out captures.
        subjects: Number of people in them; none was seen in training, calibration or tuning.
        fp16: Bundle in FP16.
        auto: Bundle of `--precision auto`: INT8 where that holds its liveness budget and gains
            something. It carries no plan: a plan of so small a network is larger in INT8, so auto
            would take FP16 again.
        seconds: Duration by step.
    """

    checkpoint: str
    trained: bool
    held_out: str
    captures: int
    subjects: int
    fp16: DemoBundle
    auto: DemoBundle
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Lists:
    """Capture lists of the demo; no person is in two."""

    calibration: Path
    development: Path
    held_out: Path


class _Clock:
    """Duration of each step in seconds, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)


def run_demo(
    out: Path,
    seed: int,
    view: ProgressView,
    size: DemoSize | None = None,
    *,
    training: bool = False,
) -> DemoReport:
    """Run the whole path in `out` and return what it found.

    Args:
        out: Folder for checkpoint, captures, bundles and reports.
        seed: Seed of the captures, and of a training.
        view: Receiver of the progress.
        size: Numbers of captures; None for the full size.
        training: Train a checkpoint first instead of taking the packaged one.

    Raises:
        FasdkError: Any step failed; the error says which and why.
    """
    size = size or DemoSize()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.safetensors"
    clock = _Clock()
    with clock.step("captures"):
        lists = _write_lists(out, seed, size, view)
    with clock.step("checkpoint"):
        if training:
            _train(checkpoint, seed, size, lists, view)
        else:
            copy_checkpoint(checkpoint)
    deployment = _Deployment(out, checkpoint, lists, view, clock)
    fp16 = deployment.make("demo", "fp16", None)
    auto = deployment.make(
        "demo-auto", "auto", Int8Request(DatasetSource.of(lists.calibration), search=True)
    )
    held_out = DatasetSource.of(lists.held_out).open()
    return DemoReport(
        checkpoint=str(checkpoint),
        trained=training,
        held_out=str(lists.held_out),
        captures=len(held_out.records),
        subjects=len(held_out.subjects),
        fp16=fp16,
        auto=auto,
        seconds=clock.seconds,
    )


@dataclass(frozen=True)
class _Deployment:
    """What every bundle of the demo is made from.

    Attributes:
        out: Folder of the demo.
        checkpoint: Checkpoint to build from.
        lists: Capture lists.
        view: Receiver of the progress.
        clock: Durations of the steps.
    """

    out: Path
    checkpoint: Path
    lists: _Lists
    view: ProgressView
    clock: _Clock

    def make(self, name: str, step: str, int8: Int8Request | None) -> DemoBundle:
        """Build, tune and evaluate a bundle; `int8` asks for `--precision auto`."""
        built, tuned = self.out / f"{name}-untuned.fasb", self.out / f"{name}.fasb"
        with self.clock.step(f"build {step}"):
            build = build_bundle(self._request(built, int8), self.view)
        with self.clock.step(f"tune {step}"):
            self.view.phase(f"tune {step}")
            level = self._tune(built, tuned)
        with self.clock.step(f"evaluate {step}"):
            self.view.phase(f"evaluate {step}")
            request = EvaluationRequest(
                bundle=open_bundle(tuned),
                protocols=(DatasetSource.of(self.lists.held_out),),
                source="synthetic captures of other people",
            )
            run = run_evaluation(request, self.view)
            report = self.out / f"{name}.html"
            write_report(report, run, request.bundle)
        figures = run.record.cases[0].figures
        separation, at = figures.separation, figures.thresholds[0]
        assert separation is not None  # noqa: S101  # the captures are of both classes
        return DemoBundle(
            bundle=str(tuned),
            build=build,
            level=level,
            report=str(report),
            backend=run.record.backend,
            auc=separation.auc,
            rates=at.overall,
            non_responses=figures.non_responses.frames,
        )

    def _request(self, out: Path, int8: Int8Request | None) -> BuildRequest:
        with_plan = int8 is None and Backend.TENSORRT_RTX in installed_backends()
        development = DatasetSource.of(self.lists.development)
        return BuildRequest(
            source=self.checkpoint,
            out=out,
            model=MODEL,
            precision=Precision.FP16 if int8 is None else Precision.INT8,
            backend=Backend.TENSORRT_RTX if with_plan else Backend.ONNXRUNTIME,
            development=development,
            golden=development,  # every capture of the demo is synthetic
            int8=int8,
        )

    def _tune(self, built: Path, out: Path) -> LevelReport:
        request = TuneRequest(
            built, out, DatasetSource.of(self.lists.development), targets=(LEVEL,)
        )
        report = tune(request, self.view)
        if not report.written:
            raise OperatingPointError(
                f"{built} supports no threshold at {LEVEL.level}: {'; '.join(report.refusals)}"
            )
        return report.subsets[0].levels[0]


def _write_lists(out: Path, seed: int, size: DemoSize, view: ProgressView) -> _Lists:
    with ExitStack() as stack:
        workers: Executor | None = None
        if size.calibration + size.development + size.held_out > _WORTH_PROCESSES:
            workers = stack.enter_context(worker_processes(2))

        def write(folder: str, name: str, split: Split, count: int, scene: SceneSettings) -> Path:
            captures = generate_many(seed, count, split, settings=scene, workers=workers)
            shown = _shown(captures, f"captures, {name}", count, view)
            return write_captures(shown, out / folder, name)

        development = (size.development, _MOSTLY_ATTACKS)
        return _Lists(
            write("calibration", "calibration", Split.TRAIN, size.calibration, SCENE),
            write("development", "development", Split.DEVELOPMENT, *development),
            write("captures", "held-out", Split.HELD_OUT, size.held_out, SCENE),
        )


def _shown(
    captures: Iterable[LabeledCapture], task: str, count: int, view: ProgressView
) -> Iterator[LabeledCapture]:
    """Yield captures, and show how many there are."""
    for number, capture in enumerate(captures, 1):
        yield capture
        view.update(task, number, count)


def _train(checkpoint: Path, seed: int, size: DemoSize, lists: _Lists, view: ProgressView) -> None:
    """Train the tiny MMDG and save its checkpoint."""
    from fasdk_engines.models.checkpoint import save_checkpoint

    family = get_family(MODEL)
    config = family.configs["tiny"]
    made = generate_many(seed, size.train, Split.TRAIN, settings=SCENE)
    result = train_supervised(
        family,
        config,
        list(_shown(made, "captures, training", size.train, view)),
        load_list(lists.development),
        TrainingSettings(seed=seed, threads=2, epochs=size.epochs),
        on_epoch=lambda epoch: view.update("training", epoch.number, epoch.of),
    )
    save_checkpoint(checkpoint, result.module, family, config)


def print_report(report: DemoReport) -> None:
    """Print what was built, and the error rates of both bundles with their bounds."""
    fp16, auto = report.fp16, report.auto
    print_answer(
        f"APCER {_share(fp16.rates.worst_apcer)} (worst: {fp16.rates.worst_species}), BPCER "
        f"{_share(fp16.rates.bpcer)} on {count_of(report.captures, 'capture')} of people never seen"
    )
    origin = "trained here" if report.trained else "part of fasdk"
    print_fields(
        "",
        {
            "checkpoint": f"{report.checkpoint}, {origin}",
            "backend": fp16.backend,
            "seconds": ", ".join(f"{step} {took:.0f}" for step, took in report.seconds.items()),
        },
    )
    for title, found in (("FP16", fp16), ("Auto", auto)):
        print_fields(title, _fields(found))
    print_rows(
        f"Error rates on {report.captures} captures of {report.subjects} people "
        "(bounds: Clopper-Pearson, 95 %)",
        ("presentations", "fp16", "bounds", "auto", "bounds"),
        [
            ("BPCER", *_bounded(fp16.rates.bpcer), *_bounded(auto.rates.bpcer)),
            *(
                (f"APCER {of_fp16.species}", *_bounded(of_fp16), *_bounded(of_auto))
                for of_fp16, of_auto in zip(fp16.rates.apcer, auto.rates.apcer, strict=True)
            ),
        ],
    )
    print_notes(["Synthetic captures: the rates say nothing about real attacks."])


def _fields(found: DemoBundle) -> dict[str, object]:
    build, level = found.build, found.level
    fields: dict[str, object] = {
        "bundle": f"{found.bundle}, {build.precision}, {format_bytes(build.size_bytes)}"
    }
    if build.plan:
        targets = ", ".join(build.plan_targets)
        fields["plan"] = f"{build.plan} for compute capabilities {targets}"
    if build.int8 is not None:
        fields["in INT8"] = (
            f"{format_share(build.int8.int8_share)} of the multiply-accumulates, "
            f"{build.int8.budget_note}"
        )
    if build.comparison is not None:
        fields["compared"] = build.comparison.finding
    fields["threshold"] = (
        f"{level.threshold:.4f}: APCER at most {format_share(level.apcer_upper)} (worst: "
        f"{level.worst_species}) with 95 % confidence, BPCER {format_share(level.bpcer.rate)} on "
        "development captures"
    )
    return fields | {"AUC": f"{found.auc.value:.4f}", "report": found.report}


def _share(rate: Rate | None) -> str:
    return format_share(None if rate is None else rate.rate)


def _bounded(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "-", "-"
    return format_share(rate.rate), format_interval(rate.lower, rate.upper)
