"""Reproducible training of any registered family by any method, resumable after a kill."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fasdk.errors import TrainingError
from fasdk.settings import as_choice
from fasdk_calibration.metrics import auc
from fasdk_engines.models.base import Family, ModelConfig, PublishedModule
from fasdk_engines.training.augmentation import augment
from fasdk_engines.training.data import (
    CaptureTensors,
    TrainingCapture,
    domain_names,
    require_usable,
)
from fasdk_engines.training.initial import Initialized, InitialWeights, initialize
from fasdk_engines.training.log import write_csv
from fasdk_engines.training.method import Method, Task
from fasdk_engines.training.methods import get_method, require_sentences_read
from fasdk_engines.training.sentences import SentenceFile
from fasdk_engines.training.settings import (
    Epoch,
    Freeze,
    Step,
    TrainingResult,
    TrainingSettings,
)
from fasdk_engines.training.state import fingerprint, read_state, write_state
from fasdk_engines.training.steps import accumulate, learning_rate, make_optimizer

_EVALUATION_BATCH = 64


def train(
    family: Family,
    config: ModelConfig,
    method: str,
    captures: Sequence[TrainingCapture],
    development: Sequence[TrainingCapture],
    settings: TrainingSettings | None = None,
    *,
    initial: InitialWeights | None = None,
    frozen: Sequence[str] = (),
    sentences: SentenceFile | None = None,
    freeze: Freeze = Freeze.PRETRAINED,
    state: Path | None = None,
    resume: bool = False,
    log: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_read: Callable[[int, int], None] | None = None,
) -> TrainingResult:
    """Train a family.

    Two runs with the same arguments, thread count included, give the same weights on a CPU, also
    where one was killed and resumed.

    Args:
        family: Model family to train.
        config: Settings of the model.
        method: Name of the training method, one of `method_names()`, or "published".
        captures: Training captures; an absent modality is trained as absent.
        development: Captures that decide when to stop and which epoch is kept; no subject may be in
            both sets.
        settings: Settings of the training, or None for the defaults.
        initial: Pretrained weights to start from.
        frozen: Regular expressions of further parameters to keep as they are at the start, such as
            r"adapter_.*": MMDG without adapters, since a fresh one adds exactly nothing.
        sentences: Sentences in place of the method's own; None keeps them.
        freeze: Whether what the paper keeps frozen is.
        state: File to keep the training's state in; None keeps none.
        resume: Continue from that file.
        log: CSV file to write every epoch to (`write_csv`).
        on_epoch: Callback after every epoch, with its figures.
        on_step: Callback after every step, with the progress of the epoch.
        on_read: Callback with the number of captures read so far and in all, for each set in turn.

    Raises:
        DatasetError: A class is absent from either set, or a subject is in both.
        PreprocessError: A frame does not fit the family's preprocessing.
        TrainingError: The method does not fit, the device cannot do what is asked, there is
            nothing to resume, or the training diverged.
    """
    settings = settings or TrainingSettings()
    freeze = as_choice("freeze", freeze, Freeze)
    chosen = get_method(method, family)
    require_sentences_read(chosen, sentences)
    device = _device(settings)
    if resume and state is None:
        raise TrainingError("there is no state to resume from: name the file it is kept in")
    require_usable(captures, development)
    specs = family.preprocess(config)
    domains = domain_names(captures)
    start = initial.digest if initial else "random"
    said = sentences.digest if sentences else ""
    keep = freeze is Freeze.ALWAYS or (freeze is Freeze.PRETRAINED and initial is not None)
    prints = fingerprint(
        *(family, config, chosen.name, settings, captures, development, start),
        (*(["published"] if keep else []), *frozen),
        said,
    )
    resumed = read_state(state, prints) if resume and state is not None else None
    learned = CaptureTensors(family, specs, captures, domains, on_read)
    held = CaptureTensors(family, specs, development, domains, on_read)
    with _reproducible(settings, device):
        module = family.build(config)
        started = initialize(module, family, initial) if initial else None
        task = Task(
            family,
            module,
            specs,
            settings,
            domains,
            torch.Generator().manual_seed(settings.seed),
            text_weights=started.text if started else {},
            vocabulary=initial.vocabulary if initial else None,
            sentences=sentences,
        )
        trained = chosen(task)
        kept = _freeze(module, (*(trained.frozen() if keep else ()), *frozen))
        run = _Run(trained, learned, held, device)
        if resumed is not None:
            run.restore(resumed)

        def save() -> None:
            if state is not None:
                write_state(state, prints, run.state())

        def end_epoch(epoch: Epoch) -> None:
            save()
            if log is not None:
                write_csv(log, run.history)
            if on_epoch is not None:
                on_epoch(epoch)

        run.finish(save, end_epoch, on_step)
        return run.result(kept, started)


def train_supervised(
    family: Family,
    config: ModelConfig,
    captures: Sequence[TrainingCapture],
    development: Sequence[TrainingCapture],
    settings: TrainingSettings | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train a family from random weights by cross-entropy alone; see `train`."""
    return train(family, config, "plain", captures, development, settings, on_epoch=on_epoch)


def score_captures(
    module: PublishedModule,
    family: Family,
    config: ModelConfig,
    captures: Sequence[TrainingCapture],
) -> NDArray[np.float64]:
    """Return P(bona fide) of each capture, float64 [N], by the module as published."""
    tensors = CaptureTensors(family, family.preprocess(config), captures, domain_names(captures))
    logits = _logits(module.eval(), tensors, torch.device("cpu"))
    return np.asarray(logits.double().softmax(dim=1)[:, family.live_index].numpy(), np.float64)


class _Run:
    """State of a training that changes from step to step, and its steps."""

    def __init__(
        self, method: Method, learned: CaptureTensors, held: CaptureTensors, device: torch.device
    ) -> None:
        task = method.task
        self._method, self._learned, self._held, self._device = method, learned, held, device
        self._settings, self._specs, self._family = task.settings, task.specs, task.family
        dropout = 0.0 if method.module_drops else task.settings.modality_dropout
        self._augmented = task.settings.model_copy(update={"modality_dropout": dropout})
        self._module = task.module.to(device)
        method.extra.to(device)
        self._generator = task.generator
        self._optimizer = make_optimizer((self._module, method.extra), task.settings)
        self._scaler = torch.amp.GradScaler("cuda", enabled=task.settings.mixed_precision)
        self._steps = task.settings.epochs * math.ceil(len(learned) / task.settings.batch)
        self._step = 0
        self._order: Tensor | None = None  # of the current epoch
        self._done = 0
        self._sums: dict[str, float] = {}
        self.history: list[Epoch] = []
        self._best: Epoch | None = None
        self._best_weights: dict[str, Tensor] = {}
        self._best_extra: dict[str, Tensor] = {}

    def finish(
        self,
        save: Callable[[], None],
        on_epoch: Callable[[Epoch], None],
        on_step: Callable[[Step], None] | None,
    ) -> None:
        """Train to the end; `save` is called between steps."""
        while not self._ended():
            if self._order is None:
                self._begin_epoch()
            while self._order is not None and self._done < len(self._order):
                self._train_step(self._order[self._done : self._done + self._settings.batch])
                if self._step % self._settings.save_every == 0:
                    save()
                if on_step is not None:
                    on_step(self._progress())
            on_epoch(self._end_epoch())

    def result(self, frozen: int, started: Initialized | None) -> TrainingResult:
        """Return the weights of the best epoch."""
        if self._best is None:
            raise TrainingError("the training ended before its first epoch did")
        self._module.load_state_dict(self._best_weights)
        self._method.extra.load_state_dict(self._best_extra)
        research = {name: value.cpu() for name, value in self._method.research().items()}
        module = self._module.to("cpu").eval()
        return TrainingResult(module, self._best, tuple(self.history), research, frozen, started)

    def _ended(self) -> bool:
        if self._order is not None or self._best is None:
            return False
        last, patience = len(self.history), self._settings.patience
        if last >= self._settings.epochs:
            return True
        return patience is not None and last - self._best.number >= patience

    def _begin_epoch(self) -> None:
        self._method.begin_epoch(len(self.history) + 1, self._learned)
        self._order = torch.randperm(len(self._learned), generator=self._generator)
        self._done, self._sums = 0, {}

    def _train_step(self, rows: Tensor) -> None:
        self._module.train()
        self._method.extra.train()
        batch = augment(self._learned.batch(rows), self._specs, self._augmented, self._generator)
        rate = learning_rate(self._settings, self._step, self._steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        losses = accumulate(self._method, batch, self._settings, self._device, self._scaler.scale)
        self._scaler.unscale_(self._optimizer)
        if self._settings.clip_norm is not None:
            parameters = [*self._module.parameters(), *self._method.extra.parameters()]
            torch.nn.utils.clip_grad_norm_(parameters, self._settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"training diverged: {name} loss is {value} in epoch "
                    f"{len(self.history) + 1}: lower the learning rate"
                )
            self._sums[name] = self._sums.get(name, 0.0) + value * len(rows)
        self._step += 1
        self._done += len(rows)

    def _progress(self) -> Step:
        return Step(
            epoch=len(self.history) + 1,
            of=self._settings.epochs,
            done=self._done,
            captures=len(self._learned),
            losses=self._means(),
        )

    def _means(self) -> dict[str, float]:
        return {name: total / self._done for name, total in self._sums.items()}

    def _end_epoch(self) -> Epoch:
        logits = _logits(self._module.eval(), self._held, self._device)
        scores = logits.double().softmax(dim=1)[:, self._family.live_index].numpy()
        loss = float(functional.cross_entropy(logits, self._held.targets))
        if not math.isfinite(loss):
            raise TrainingError(
                f"training diverged: the development loss is {loss}: lower the learning rate"
            )
        losses = self._means()
        epoch = Epoch(
            number=len(self.history) + 1,
            of=self._settings.epochs,
            loss=sum(losses.values()),
            development_loss=loss,
            development_accuracy=float((logits.argmax(dim=1) == self._held.targets).float().mean()),
            development_auc=auc(scores, self._held.is_live.numpy()),
            losses=losses,
        )
        self.history.append(epoch)
        if self._best is None or epoch.is_better_than(self._best, self._settings.choose_epoch_by):
            self._best = epoch
            self._best_weights = _copied(self._module)
            self._best_extra = _copied(self._method.extra)
        self._order = None
        return epoch

    def state(self) -> dict[str, Any]:
        """Return everything that changes from step to step."""
        cuda = self._device.type == "cuda"
        return {
            "module": self._module.state_dict(),
            "extra": self._method.extra.state_dict(),
            "method": self._method.state(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "generator": self._generator.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self._device) if cuda else None,
            "step": self._step,
            "order": self._order,
            "done": self._done,
            "sums": self._sums,
            "history": [asdict(epoch) for epoch in self.history],
            "best": self._best.number if self._best else 0,
            "best_module": self._best_weights,
            "best_extra": self._best_extra,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`."""
        self._module.load_state_dict(state["module"])
        self._method.extra.load_state_dict(state["extra"])
        self._method.restore({k: v.to(self._device) for k, v in state["method"].items()})
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self._device)
        self._step, self._order, self._done = state["step"], state["order"], state["done"]
        self._sums = dict(state["sums"])
        self.history = [Epoch(**fields) for fields in state["history"]]
        self._best = self.history[state["best"] - 1] if state["best"] else None
        self._best_weights = dict(state["best_module"])
        self._best_extra = dict(state["best_extra"])


def _device(settings: TrainingSettings) -> torch.device:
    try:
        device = torch.device(settings.device)
    except RuntimeError as error:
        raise TrainingError(f"{settings.device!r} is no device: choose cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError("torch finds no CUDA device here: train on --device cpu")
    if settings.mixed_precision and device.type != "cuda":
        raise TrainingError(
            f"mixed precision needs a GPU, not {device.type}: leave out --amp, or give "
            "--device cuda where there is one"
        )
    return device


def _freeze(module: nn.Module, patterns: Sequence[str]) -> int:
    """Stop training the parameters that match; return their number of elements."""
    frozen = 0
    for pattern in patterns:
        found = [p for name, p in module.named_parameters() if re.fullmatch(pattern, name)]
        if not found:
            raise TrainingError(f"no parameter is called like {pattern!r}: nothing to freeze")
        for parameter in found:
            frozen += parameter.numel() if parameter.requires_grad else 0
            parameter.requires_grad_(False)
    return frozen


def _logits(module: PublishedModule, tensors: CaptureTensors, device: torch.device) -> Tensor:
    rows = torch.split(torch.arange(len(tensors)), _EVALUATION_BATCH)
    with torch.inference_mode():
        found = [module(*tensors.batch(part).to(device).arguments)[0] for part in rows]
    return torch.cat(found).float().cpu()


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@contextmanager
def _reproducible(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
    """Seed torch and fix its threads inside the block, and put both back after it."""
    threads_before = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        torch.set_num_threads(settings.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)
