"""Plain supervised training of any registered family: cross-entropy on labelled captures."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.preprocess import PreprocessSpec, to_batch
from fasdk_calibration.datasets import LabelledCapture
from fasdk_calibration.metrics import auc
from fasdk_engines.models.base import Family, ModelConfig, PublishedModule

_EVALUATION_BATCH = 64


class TrainingSettings(BaseModel):
    """How to train; the defaults suit the tiny MMDG on about a thousand captures.

    Attributes:
        epochs: Largest number of passes over the captures.
        batch: Captures a step.
        learning_rate: Of AdamW after a linear rise over `warmup` of all steps; then a half cosine
            down to zero.
        warmup: Share of all steps, in [0, 1).
        weight_decay: Of AdamW, on matrices alone.
        modality_dropout: Probability that one modality, drawn at random, is absent from a capture.
        brightness: Largest relative change of RGB brightness. IR keeps its level, which together
            with depth tells a surface's reflectance.
        shift: Largest displacement of the face to each side, as a share of the image.
        label_smoothing: In [0, 1); keeps scores from saturating.
        patience: Epochs without a lower development loss before training ends.
        seed: Of initial weights, order and augmentation.
        threads: CPU threads; part of what makes two runs equal to the bit. A tiny model's steps
            are short: a second thread saves a third on idle cores, and costs far more on busy ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=24, ge=1)
    batch: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0.0)
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    modality_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    brightness: float = Field(default=0.2, ge=0.0, lt=1.0)
    shift: float = Field(default=0.03, ge=0.0, lt=0.5)
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    patience: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class Epoch:
    """One pass over the training captures.

    Attributes:
        number: From 1.
        of: Largest number of epochs.
        loss: Mean training loss, in nats.
        development_loss: Cross-entropy on the development captures, in nats.
        development_accuracy: Share of them whose larger logit is right.
        development_auc: Area under their ROC curve.
    """

    number: int
    of: int
    loss: float
    development_loss: float
    development_accuracy: float
    development_auc: float


@dataclass(frozen=True)
class TrainingResult:
    """A trained module.

    Attributes:
        module: In evaluation mode, with the weights of the best epoch.
        best: The epoch with the lowest development loss.
        history: Every epoch, in order.
    """

    module: PublishedModule
    best: Epoch
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class _Tensors:
    """A set of captures as the model sees it: [N, 3, H, W] a modality, class indices [N]."""

    inputs: dict[Modality, Tensor]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def train_supervised(
    family: Family,
    config: ModelConfig,
    captures: Sequence[LabelledCapture],
    development: Sequence[LabelledCapture],
    settings: TrainingSettings | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train a family from random weights.

    Two runs with the same arguments, thread count included, give the same weights.

    Args:
        family: Which model.
        config: Its settings.
        captures: What it learns from; an absent modality is trained as absent.
        development: What decides when to stop; no subject may be in both.
        settings: How to train.
        on_epoch: Called after every epoch.

    Raises:
        DatasetError: A class is absent from either set, or a subject is in both.
        PreprocessError: A frame does not fit the family's preprocessing.
    """
    settings = settings or TrainingSettings()
    _require_usable(captures, development)
    specs = family.preprocess(config)
    train, held = (_to_tensors(family, specs, part) for part in (captures, development))
    with _reproducible(settings.seed, settings.threads):
        module = family.build(config)
        generator = torch.Generator().manual_seed(settings.seed)
        optimizer = _optimizer(module, settings)
        steps = settings.epochs * math.ceil(len(train) / settings.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(settings, steps))
        history: list[Epoch] = []
        best: Epoch | None = None
        weights: dict[str, Tensor] = {}
        for number in range(1, settings.epochs + 1):
            loss = _run_epoch(
                module, family, specs, train, settings, optimizer, schedule, generator
            )
            epoch = _evaluate(module, family, held, number, settings.epochs, loss)
            history.append(epoch)
            if on_epoch is not None:
                on_epoch(epoch)
            if best is None or epoch.development_loss < best.development_loss:
                best, weights = epoch, copy.deepcopy(module.state_dict())
            elif number - best.number >= settings.patience:
                break
        if best is None or not math.isfinite(best.development_loss):
            raise DatasetError("training diverged: the development loss is not a number")
        module.load_state_dict(weights)
    return TrainingResult(module.eval(), best, tuple(history))


def score_captures(
    module: PublishedModule,
    family: Family,
    config: ModelConfig,
    captures: Sequence[LabelledCapture],
) -> NDArray[np.float64]:
    """Return P(bona fide) of each capture, float64 [N], by the module as published."""
    tensors = _to_tensors(family, family.preprocess(config), captures)
    logits = _logits(module.eval(), family, tensors)
    return np.asarray(logits.double().softmax(dim=1)[:, family.live_index].numpy(), np.float64)


def _require_usable(
    captures: Sequence[LabelledCapture], development: Sequence[LabelledCapture]
) -> None:
    for name, part in (("training", captures), ("development", development)):
        kinds = {item.label for item in part}
        if len(kinds) < 2:
            found = ", ".join(kind.value for kind in kinds) or "no capture"
            raise DatasetError(f"the {name} captures hold {found} alone: both classes are needed")
    shared = {(c.domain, c.subject) for c in captures} & {
        (d.domain, d.subject) for d in development
    }
    if shared:
        domain, subject = min(shared)
        raise DatasetError(
            f"subject {subject!r} of {domain!r} is in training and development captures "
            f"({len(shared)} such): split by subject"
        )


def _to_tensors(
    family: Family, specs: Mapping[Modality, PreprocessSpec], captures: Sequence[LabelledCapture]
) -> _Tensors:
    batch = to_batch([item.capture for item in captures], specs)
    attack_index = next(i for i in range(len(family.labels)) if i != family.live_index)
    targets = [family.live_index if item.is_bona_fide else attack_index for item in captures]
    inputs = {m: torch.from_numpy(batch[m.value]) for m in family.modalities}
    return _Tensors(inputs, torch.tensor(targets))


def _optimizer(module: PublishedModule, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _schedule(settings: TrainingSettings, steps: int) -> Callable[[int], float]:
    rise = max(1, round(settings.warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return factor


def _run_epoch(
    module: PublishedModule,
    family: Family,
    specs: Mapping[Modality, PreprocessSpec],
    train: _Tensors,
    settings: TrainingSettings,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    generator: torch.Generator,
) -> float:
    module.train()
    total = 0.0
    order = torch.randperm(len(train), generator=generator)
    for rows in torch.split(order, settings.batch):
        inputs = {m: x[rows] for m, x in train.inputs.items()}
        inputs = augment(inputs, specs, settings, generator)
        logits = module(*(inputs[m] for m in family.modalities))[0]
        loss = functional.cross_entropy(
            logits, train.targets[rows], label_smoothing=settings.label_smoothing
        )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(rows)
    return total / len(train)


def augment(
    inputs: Mapping[Modality, Tensor],
    specs: Mapping[Modality, PreprocessSpec],
    settings: TrainingSettings,
    generator: torch.Generator,
) -> dict[Modality, Tensor]:
    """Return a batch mirrored, shifted, brightened and with modalities left out, each at random.

    Args:
        inputs: float32 [B, 3, H, W] by modality, normalised.
        specs: How they were normalised; brightness is changed in 8-bit units and clipped there.
        settings: How strongly.
        generator: Where all randomness comes from.
    """
    count = len(next(iter(inputs.values())))

    def draw() -> Tensor:
        return torch.rand(count, generator=generator)

    mirrored, moved_x, moved_y, gain = draw(), draw(), draw(), draw()
    # One modality at most is left out, so that none is ever judged on nothing.
    dropped = draw() < settings.modality_dropout
    which = torch.randint(len(inputs), (count,), generator=generator)
    result: dict[Modality, Tensor] = {}
    for index, (modality, tensor) in enumerate(inputs.items()):
        spec = specs[modality]
        changed = torch.where(_each(mirrored < 0.5), tensor.flip(3), tensor)
        changed = _shifted(
            changed, settings.shift * (2 * moved_x - 1), settings.shift * (2 * moved_y - 1)
        )
        if modality is Modality.RGB and settings.brightness > 0:
            mean, std = (torch.tensor(v)[None, :, None, None] for v in (spec.mean, spec.std))
            factor = 1.0 + settings.brightness * (2 * gain - 1)
            levels = ((changed * std + mean) * _each(factor)).clamp(0.0, 255.0)
            absent = (tensor == spec.missing_value).flatten(1).all(dim=1)
            changed = torch.where(_each(absent), changed, (levels - mean) / std)
        if len(inputs) > 1:
            missing = torch.full_like(changed, spec.missing_value)
            changed = torch.where(_each(dropped & (which == index)), missing, changed)
        result[modality] = changed
    return result


def _each(values: Tensor) -> Tensor:
    """Shape one value a capture so that it meets [B, 3, H, W]."""
    return values[:, None, None, None]


def _shifted(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Move each image by shares of its size, in whole pixels; the edge is repeated."""
    count, _, height, width = images.shape
    rows = torch.arange(height) + torch.round(down * height).long()[:, None]
    columns = torch.arange(width) + torch.round(across * width).long()[:, None]
    captures = torch.arange(count)[:, None, None]
    found = images.permute(0, 2, 3, 1)[
        captures, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return found.permute(0, 3, 1, 2).contiguous()


def _evaluate(
    module: PublishedModule, family: Family, held: _Tensors, number: int, of: int, loss: float
) -> Epoch:
    logits = _logits(module.eval(), family, held)
    scores = logits.double().softmax(dim=1)[:, family.live_index].numpy()
    is_bona_fide = (held.targets == family.live_index).numpy()
    finite = bool(np.isfinite(scores).all())
    return Epoch(
        number=number,
        of=of,
        loss=loss,
        development_loss=float(functional.cross_entropy(logits, held.targets)),
        development_accuracy=float((logits.argmax(dim=1) == held.targets).float().mean()),
        development_auc=auc(scores, is_bona_fide) if finite else float("nan"),
    )


def _logits(module: PublishedModule, family: Family, tensors: _Tensors) -> Tensor:
    rows = torch.split(torch.arange(len(tensors)), _EVALUATION_BATCH)
    with torch.inference_mode():
        return torch.cat(
            [module(*(tensors.inputs[m][r] for m in family.modalities))[0] for r in rows]
        )


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed torch and fix its threads inside the block, and put both back after it."""
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)
