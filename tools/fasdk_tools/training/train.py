"""Training of a checkpoint from lists of labeled captures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fasdk.bounded_file import is_folder
from fasdk.errors import UsageError
from fasdk.settings import as_choice
from fasdk_calibration.datasets import DatasetSource
from fasdk_engines.models.checkpoint import find_config, save_checkpoint
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import (
    PUBLISHED,
    ChosenSetting,
    ChosenSettings,
    Epoch,
    Freeze,
    InitialWeights,
    SentenceFile,
    SetBy,
    Step,
    captures_of,
    choose_settings,
    get_method,
    require_sentences_read,
    train,
)
from fasdk_engines.training.log import TensorBoardLog
from fasdk_tools.outputs import files_of, require_outputs
from fasdk_tools.terminal.output import STDERR


@dataclass(frozen=True)
class TrainRequest:
    """Request for a training.

    Attributes:
        captures: Training captures.
        development: Captures that decide when to stop.
        out: Checkpoint to write, .safetensors.
        model: Registered name of the model.
        config: Named settings or a JSON file; None for the published ones.
        method: Training method, or "published".
        options: Fields of `TrainingSettings` that the user chose; None takes what the method
            brings, and 0 stands for None in `clip_norm` and `patience`.
        frozen: Regular expressions of further parameters that stay as they start.
        freeze: Whether what the paper keeps frozen is; see `Freeze`.
        resume: Continue a training of the same `out` that was cut short.
        initial: Checkpoint to start from.
        weights: Which of several sets of weights of that checkpoint; see `load_checkpoint`.
        vocabulary: Byte-pair merges of CLIP's text tower.
        texts: File of sentences in place of the method's own.
        log: Folder of the CSV log; None for the checkpoint's.
        tensorboard: Whether TensorBoard events are written beside the CSV log.
    """

    captures: DatasetSource
    development: DatasetSource
    out: Path
    model: str
    config: str | None = None
    method: str = "plain"
    options: Mapping[str, object] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    freeze: Freeze | str = Freeze.PRETRAINED
    resume: bool = False
    initial: Path | None = None
    weights: str | None = None
    vocabulary: Path | None = None
    texts: Path | None = None
    log: Path | None = None
    tensorboard: bool = False

    @property
    def log_file(self) -> Path:
        """The CSV log."""
        return (self.log or self.out.parent) / f"{self.out.stem}.csv"

    @property
    def state(self) -> Path:
        """The file a cut-short training is continued from."""
        return self.out.with_name(f"{self.out.name}.training")


@dataclass(frozen=True)
class TrainReport:
    """Report on a training.

    Attributes:
        checkpoint: The checkpoint, for `fasdk build-engine`.
        log: The CSV log.
        model: Registered name of the model.
        method: Name of the training method.
        captures: Number of training captures.
        domains: Names of the domains of the training captures.
        epochs: Number of epochs trained.
        best_epoch: Number of the epoch whose weights are kept.
        development_loss: Loss on the development captures after that epoch, in nats.
        development_auc: Area under the ROC curve on the development captures after that epoch.
        settings: Every setting, with what it comes from.
        summary: Which published settings were replaced, in one line; empty for other methods.
        frozen_parameters: Number of parameters that kept their initial values.
        initialized: Tensors set from pretrained weights.
        unused_initial: Pretrained tensors without a place in the model, by name.
        initial_notes: Which weights of that file were taken, a sentence each.
    """

    checkpoint: str
    log: str
    model: str
    method: str
    captures: int
    domains: tuple[str, ...]
    epochs: int
    best_epoch: int
    development_loss: float
    development_auc: float
    settings: tuple[ChosenSetting, ...]
    summary: str
    frozen_parameters: int
    initialized: int
    unused_initial: tuple[str, ...]
    initial_notes: tuple[str, ...]


def chosen_settings(request: TrainRequest) -> ChosenSettings:
    """Return the settings of a training, each with what it comes from.

    Raises:
        UsageError: An option's value is out of its range; it is named.
        FasdkError: There is no such model, configuration or method.
    """
    family = get_family(request.model)
    get_method(request.method, family)
    config = find_config(family, request.config) if request.config else family.default_config
    options = {
        name: None if name in _ZERO_IS_NONE and value == 0 else value
        for name, value in request.options.items()
        if value is not None
    }
    freeze = as_choice("--freeze", request.freeze, Freeze)
    chosen = choose_settings(
        family,
        config,
        options,
        published=request.method == PUBLISHED,
        others=_others(request, freeze),
    )
    try:
        _ = chosen.training
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = option_of(str(first["loc"][0]))
        raise UsageError(f"{option} {first['input']}: {first['msg']}") from None
    return chosen


_ZERO_IS_NONE = ("clip_norm", "patience")
_OPTIONS = {"augmentation": "augment", "mixed_precision": "amp"}


def option_of(setting: str) -> str:
    """Return the command line's option of a field of `TrainingSettings`."""
    return f"--{_OPTIONS.get(setting, setting).replace('_', '-')}"


def _others(request: TrainRequest, freeze: Freeze) -> list[ChosenSetting]:
    """Return what replaces published matters that are no settings."""
    other = {"texts": ("as many, in fasdk's words", SetBy.DEFAULT)}
    if request.texts is not None:
        other["texts"] = (f"those of {request.texts}", SetBy.OPTION)
    if request.initial is None:
        other["initial values"] = ("random", SetBy.RANDOM)
        if freeze is Freeze.PRETRAINED:
            other["frozen"] = ("nothing", SetBy.RANDOM)
    if freeze is Freeze.NEVER:
        other["frozen"] = ("nothing", SetBy.OPTION)
    if request.frozen:
        also = "" if "frozen" in other else " and what is published"
        other["frozen"] = (" ".join(request.frozen) + also, SetBy.OPTION)
    return [ChosenSetting(name, value, by) for name, (value, by) in other.items()]


def run_training(
    request: TrainRequest, *, on_step: Callable[[Step], None] | None = None
) -> TrainReport:
    """Train and write the checkpoint; the state file goes when it is written.

    Args:
        request: The training.
        on_step: Callback after every step, besides what is shown.

    Raises:
        FasdkError: A list, the settings, the method or the pretrained weights do not fit, or the
            training diverged.
    """
    # What can be refused is refused before hours of reading frames.
    family = get_family(request.model)
    method = get_method(request.method, family)
    sentences = SentenceFile.load(request.texts) if request.texts else None
    require_sentences_read(method, sentences)
    chosen = chosen_settings(request)
    config = find_config(family, request.config) if request.config else family.default_config
    family = family.configured(config)
    _require_fitting(request)
    log = request.log_file
    initial = None
    if request.initial is not None:
        initial = InitialWeights.load(request.initial, request.vocabulary, request.weights)
    specs = family.preprocess(config)
    captures = captures_of(request.captures, specs)
    development = captures_of(request.development, specs)
    if chosen.summary:
        STDERR.print(chosen.summary, soft_wrap=True)
    coupled = method.coupled
    if coupled and chosen.training.accumulate > 1:
        STDERR.print(f"a step runs in parts: {coupled}", soft_wrap=True)
    log.parent.mkdir(exist_ok=True)
    with ExitStack() as stack:
        board = None
        if request.tensorboard:
            board = TensorBoardLog(log.parent)
            stack.callback(board.close)
        view = stack.enter_context(_training_view())

        def on_epoch(epoch: Epoch) -> None:
            view.epoch(epoch)
            if board is not None:
                board.write(epoch)

        def show_step(step: Step) -> None:
            view.step(step)
            if on_step is not None:
                on_step(step)

        result = train(
            family,
            config,
            method.name,
            captures,
            development,
            chosen.training,
            initial=initial,
            sentences=sentences,
            frozen=request.frozen,
            freeze=as_choice("--freeze", request.freeze, Freeze),
            state=request.state,
            resume=request.resume,
            log=log,
            on_epoch=on_epoch,
            on_step=show_step,
            on_read=view.read,
        )
    save_checkpoint(request.out, result.module, family, config, result.research)
    request.state.unlink(missing_ok=True)
    started = result.initialized
    return TrainReport(
        checkpoint=str(request.out),
        log=str(log),
        model=family.name,
        method=method.name,
        captures=len(captures),
        domains=tuple(sorted({item.domain for item in captures})),
        epochs=len(result.history),
        best_epoch=result.best.number,
        development_loss=result.best.development_loss,
        development_auc=result.best.development_auc,
        settings=chosen.rows,
        summary=chosen.summary,
        frozen_parameters=result.frozen,
        initialized=len(started.loaded) if started else 0,
        unused_initial=started.unused if started else (),
        initial_notes=started.notes if started else (),
    )


def _require_fitting(request: TrainRequest) -> None:
    if request.out.suffix != ".safetensors":
        raise UsageError(f"-o {request.out} is not called like a checkpoint: end it .safetensors")
    folder = request.log_file.parent
    if os.path.lexists(folder) and not is_folder(folder):
        raise UsageError(f"--log {folder} is no folder: name another")
    require_outputs(
        {
            "-o": request.out,
            "the state of -o": request.state,
            "--log": request.log_file if is_folder(folder) else folder,
        },
        {
            **files_of("LIST", request.captures),
            **files_of("--development", request.development),
            "--init-from": request.initial,
            "--clip-vocabulary": request.vocabulary,
            "--texts": request.texts,
        },
    )
    if request.vocabulary is not None and request.initial is None:
        raise UsageError("--clip-vocabulary goes with --init-from and CLIP weights")
    if request.weights is not None and request.initial is None:
        raise UsageError("--weights goes with --init-from, whose file it chooses from")
    if request.state.exists() and not request.resume:
        raise UsageError(
            f"{request.state} is of a training that was cut short: continue it with --resume, or "
            "delete it"
        )


class _TrainingView:
    """A bar for the epoch under way with its losses, and a line for the last whole one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("reading", total=None, losses="")

    def read(self, done: int, of: int) -> None:
        """Show how many captures were read."""
        self._progress.update(self._bar, description="reading captures", completed=done, total=of)

    def step(self, step: Step) -> None:
        """Move the bar."""
        self._progress.update(
            self._bar,
            description=f"epoch {step.epoch} of {step.of}",
            completed=step.done,
            total=step.captures,
            losses=_listed(step.losses),
        )

    def epoch(self, epoch: Epoch) -> None:
        """Print an epoch's line above the bar."""
        self._progress.console.print(
            f"epoch {epoch.number}: {_listed(epoch.losses)}; development "
            f"{epoch.development_loss:.4f}, AUC {epoch.development_auc:.4f}",
            soft_wrap=True,
        )


def _listed(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())


@contextmanager
def _training_view() -> Iterator[_TrainingView]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[losses]}", markup=False),
    )
    with Progress(*columns, console=STDERR) as progress:
        yield _TrainingView(progress)
