"""Training, bundle and tests of one cell of the published tables."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from fasdk import __version__
from fasdk.backends.engine import Backend
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.bundle.manifest import Precision
from fasdk.bundle.trust import TrustPolicy
from fasdk_calibration.benchmarks import (
    FIXED_THRESHOLD,
    LETTERS,
    ListPart,
    PlannedTest,
    PlannedTraining,
    PublishedThreshold,
)
from fasdk_calibration.error_rates import Unit
from fasdk_calibration.protocols import missing_name
from fasdk_engines.build import BuildRequest, build_bundle
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import Step, TrainingSettings, get_method
from fasdk_tools.evaluation import EvaluationRequest, evaluate_scored, score_request
from fasdk_tools.evaluation.joining import BundleTest, read_figures
from fasdk_tools.protocols.cell_folder import CellFolder, differing
from fasdk_tools.protocols.published_data import PublishedData
from fasdk_tools.terminal.output import json_text, progress_view
from fasdk_tools.training.train import TrainRequest, chosen_settings, run_training

# Where a training's files lie and how it is watched, not what comes out of it.
_NO_INPUT = {"captures", "development", "out", "options", "resume", "log", "tensorboard"}
_NO_SETTING = {"save_every", "threads", "device"}
_TRAINED, _JUDGED = "trained.json", "{}.judged.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class CellReport:
    """One training and its tests.

    Attributes:
        training: Letters of the data sets that were trained on.
        seed: Seed of weights, order and augmentation.
        folder: Folder of checkpoint, bundle and evaluations.
        epochs: Number of epochs trained; None where the process was killed before it was noted.
        best_epoch: Epoch whose weights were kept, or None likewise.
        development_auc: Area under the validation captures' ROC curve then, or None likewise.
        seconds: Wall-clock time of training, build and tests, or None likewise.
        fasdk: Version that trained it, or None likewise.
        tests: Figures of every test, by rows and by presentations.
    """

    training: str
    seed: int
    folder: str
    epochs: int | None
    best_epoch: int | None
    development_auc: float | None
    seconds: float | None
    fasdk: str | None
    tests: Mapping[str, tuple[BundleTest, ...]]


def inputs_of(
    training: PlannedTraining, request: TrainRequest, data: PublishedData
) -> dict[str, str]:
    """Return everything that a training depends on, by name.

    Args:
        training: Data sets that are trained on.
        request: The training.
        data: Lists of all data sets.
    """
    lists = data.chosen(training.sources, (ListPart.TRAIN, ListPart.DEVELOPMENT))
    inputs: dict[str, str] = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in _NO_INPUT or value is None:
            continue
        name = field.name.replace("_", " ")
        inputs[name] = _sha256(value) if isinstance(value, Path) else str(value)
    settings = settings_of(request).model_dump(mode="json", exclude=_NO_SETTING)
    return inputs | {"settings": json.dumps(settings)} | {each.name: each.digest for each in lists}


def settings_of(request: TrainRequest) -> TrainingSettings:
    """Return the settings of a training, those of its method and those that were given."""
    return chosen_settings(request).training


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def is_trained(folder: CellFolder, inputs: Mapping[str, str]) -> bool:
    """Return whether a folder holds the finished training of these inputs."""
    made_from = folder.read("inputs.json")
    return made_from is not None and not differing(made_from, inputs) and folder.checkpoint.exists()


def make_cell(
    folder: CellFolder,
    training: PlannedTraining,
    request: TrainRequest,
    inputs: Mapping[str, str],
    data: PublishedData,
    say: Say,
    on_step: Callable[[Step], None],
) -> CellReport:
    """Train, build and judge what is not there yet.

    Args:
        folder: Folder of the cell.
        training: Data sets that are trained on, and the tests.
        request: The training.
        inputs: Everything that it depends on, as `inputs_of` returns it.
        data: Lists of all data sets.
        say: Receiver of what is made anew and why.
        on_step: Callback after every training step.

    Raises:
        FasdkError: The training, the build or a test failed.
    """
    started = time.monotonic()
    anew = folder.claim(inputs)
    if anew is not None:
        say(f"{folder.path.name}: {anew}")
    _train(folder, request, on_step)
    bundle = _build(folder, request.model)
    tests = {
        test.target.name: _judge(folder, bundle, training, test, request, data, say)
        for test in training.tests
    }
    trained = folder.read(_TRAINED) or {}
    if "seconds" not in trained:
        trained |= {"seconds": round(time.monotonic() - started, 1), "fasdk": __version__}
        folder.write(_TRAINED, trained)
    return CellReport(
        training=training.name,
        seed=settings_of(request).seed,
        folder=str(folder.path),
        epochs=trained.get("epochs"),
        best_epoch=trained.get("best_epoch"),
        development_auc=trained.get("development_auc"),
        seconds=trained.get("seconds"),
        fasdk=trained.get("fasdk"),
        tests=tests,
    )


def _train(folder: CellFolder, request: TrainRequest, on_step: Callable[[Step], None]) -> None:
    """Train, or go on with a training that was cut short."""
    if folder.checkpoint.exists():  # it appears whole, when the training is over
        request.state.unlink(missing_ok=True)
        return
    report = run_training(replace(request, resume=request.state.exists()), on_step=on_step)
    folder.write(_TRAINED, asdict(report))


def _build(folder: CellFolder, model: str) -> Bundle:
    """Return the bundle of the checkpoint: FP32, no plan, no thresholds."""
    if folder.bundle.exists():
        bundle = open_bundle(folder.bundle, TrustPolicy.installed())
        if bundle.manifest.provenance.checkpoint_sha256 == _sha256(folder.checkpoint):
            return bundle
    with progress_view() as view:
        build_bundle(
            BuildRequest(
                source=folder.checkpoint,
                out=folder.bundle,
                model=model,
                precision=Precision.FP32,
                backend=Backend.ONNXRUNTIME,
            ),
            view,
        )
    return open_bundle(folder.bundle, TrustPolicy.installed())


def _judge(
    folder: CellFolder,
    bundle: Bundle,
    training: PlannedTraining,
    test: PlannedTest,
    request: TrainRequest,
    data: PublishedData,
    say: Say,
) -> tuple[BundleTest, ...]:
    """Return the figures of one test, evaluated unless they are there."""
    target = test.target
    used = [
        *data.chosen(target.letters, target.parts),
        *data.chosen(training.sources, (ListPart.DEVELOPMENT,)),
    ]
    made_from = {"bundle": bundle.id, **{each.name: each.digest for each in used}}
    wanted = [missing_name(missing) for missing in test.missing]
    judged = folder.read(_JUDGED.format(target.name))
    if judged is not None:
        changed = differing(judged["made_from"], made_from)
        if changed:
            say(f"{folder.path.name} -> {target.name}: {changed} changed: judged again")
        elif set(wanted) <= set(judged["missing"]):
            return _read(folder, target.name)
    method, seed = get_method(request.method, get_family(request.model)), settings_of(request).seed
    names = [f"{LETTERS[letter]} ({letter}-train)" for letter in training.sources]
    evaluation = EvaluationRequest(
        bundle=bundle,
        protocols=data.tests(target),
        missing=test.missing,
        development=data.source(training.sources, ListPart.DEVELOPMENT),
        fixed=(FIXED_THRESHOLD,) if target.threshold is PublishedThreshold.FIXED else (),
        source=f"{', '.join(names)} by {method.name}, seed {seed}",
        allow_overlap=True,  # what is not as published was refused before
    )
    with progress_view() as view:
        scored = score_request(evaluation, view)
        for unit in Unit:
            record = evaluate_scored(replace(evaluation, unit=unit), scored, view).record
            folder.write_text(f"{target.name}.{unit.value}.json", json_text(asdict(record)))
    folder.write(_JUDGED.format(target.name), {"made_from": made_from, "missing": wanted})
    return _read(folder, target.name)


def _read(folder: CellFolder, target: str) -> tuple[BundleTest, ...]:
    found: list[BundleTest] = []
    for unit in Unit:
        name = f"{target}.{unit.value}.json"
        found += read_figures(folder.read(name) or {}, str(folder.path / name))
    return tuple(found)


def work_of(
    folder: CellFolder,
    training: PlannedTraining,
    request: TrainRequest,
    inputs: Mapping[str, str],
    data: PublishedData,
) -> tuple[int, int]:
    """Return how many captures a training and its tests have still to train on and to score."""
    sources = data.chosen(training.sources, (ListPart.TRAIN,))
    development = _captures(data.chosen(training.sources, (ListPart.DEVELOPMENT,)))
    scored = sum(
        len(test.missing)
        * (_captures(data.chosen(test.target.letters, test.target.parts)) + development)
        for test in training.tests
    )
    if is_trained(folder, inputs):
        return 0, scored
    epochs = settings_of(request).epochs
    return epochs * _captures(sources), epochs * development + scored


def _captures(lists: Sequence[Any]) -> int:
    return sum(len(each.dataset.records) for each in lists)
