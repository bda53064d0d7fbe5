"""Settings and results of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fasdk.backends.specs import MOST_THREADS
from fasdk.settings import as_choice
from fasdk_engines.models.base import PublishedModule
from fasdk_engines.training.initial import Initialized


class EpochChoice(str, Enum):
    """Figure on the development captures by which the best epoch is chosen.

    A verdict depends on the order of scores alone: thresholds are chosen on them, and `tune` fits
    their log-odds. Cross-entropy also grows where right scores become too sure of themselves, which
    they often do while their order still gets better; it decides between equal areas.
    """

    AUC = "auc"
    LOSS = "loss"


class Optimizer(str, Enum):
    """Rule by which a step follows its gradients."""

    ADAMW = "adamw"
    """Adam with weight decay apart from the gradients."""
    ADAM = "adam"
    """Adam with weight decay added to the gradients."""


class Schedule(str, Enum):
    """Course of the learning rate after its rise."""

    COSINE = "cosine"
    """It falls to zero along half a cosine."""
    CONSTANT = "constant"


class Freeze(str, Enum):
    """When what a paper keeps at pretrained weights is not trained."""

    PRETRAINED = "pretrained"
    """Where the training starts from pretrained weights."""
    ALWAYS = "always"
    NEVER = "never"


class Augmentation(str, Enum):
    """Random changes of the training captures; see `augmentation` and `loader_augmentation`."""

    FASDK = "fasdk"
    """Mirroring, shift, and brightness of RGB."""
    LOADERS = "loaders"
    """Mirroring, and offsets and contrast of RGB, depth and infrared, as MMDG's family's loader."""
    NOISY_LOADERS = "noisy-loaders"
    """The same after noise and a change of brightness, as MMDA's loader."""
    NONE = "none"


class TrainingSettings(BaseModel):
    """Settings of a training; the defaults suit the tiny MMDG on about a thousand captures.

    What a system was published with, and where that is stated: `published_training`.

    Attributes:
        epochs: Largest number of passes over the captures.
        batch: Captures per step.
        accumulate: Number of parts that a step's captures are run in, to need less memory; their
            gradients are added. At most one capture a part.
        optimizer: Rule by which a step follows its gradients.
        learning_rate: Learning rate after a linear rise over `warmup` of all steps.
        schedule: Course of the learning rate after that.
        warmup: Share of all steps, in [0, 1).
        weight_decay: Weight decay.
        decay_vectors: Whether weight decay also takes biases, norms and other vectors; otherwise
            matrices alone.
        clip_norm: Largest norm of a step's gradients, which are scaled down to it; None for any.
        modality_dropout: Probability that one modality, drawn at random, is absent from a capture.
        augmentation: Random changes of the training captures.
        brightness: Largest relative change of RGB brightness, for augmentation fasdk. IR keeps its
            level, which together with depth determines a surface's reflectance.
        shift: Largest displacement of the face to each side, as a share of the image, for
            augmentation fasdk.
        label_smoothing: Label smoothing in [0, 1), which keeps scores from saturating.
        choose_epoch_by: Figure by which the epoch whose weights are kept is chosen.
        patience: Number of epochs without a better one after which training ends; None for all.
        seed: Seed of initial weights, order and augmentation.
        threads: CPU threads; two runs are equal bit for bit only with the same number. A tiny
            model's steps are short: a second thread saves a third on idle cores, and costs far
            more on busy ones.
        device: Device torch trains on, such as "cpu" or "cuda". Runs are reproducible bit for bit
            on a CPU.
        mixed_precision: Half precision where it is safe, with scaled gradients; on a GPU only.
        save_every: Steps between two writes of the training state, where one is kept; it is also
            written after every epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=24, ge=1)
    batch: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float = Field(default=2e-3, gt=0.0)
    schedule: Schedule = Schedule.COSINE
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    decay_vectors: bool = False
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    modality_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    augmentation: Augmentation = Augmentation.FASDK
    brightness: float = Field(default=0.2, ge=0.0, lt=1.0)
    shift: float = Field(default=0.03, ge=0.0, lt=0.5)
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    choose_epoch_by: EpochChoice = EpochChoice.AUC
    patience: int | None = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)
    device: str = "cpu"
    mixed_precision: bool = False
    save_every: int = Field(default=200, ge=1)

    @property
    def part(self) -> int:
        """Largest number of captures that are run together."""
        return math.ceil(self.batch / self.accumulate)


@dataclass(frozen=True)
class Epoch:
    """One pass over the training captures.

    Attributes:
        number: Number of the epoch, from 1.
        of: Largest number of epochs.
        loss: Mean training loss, in nats: the sum of `losses`.
        development_loss: Cross-entropy on the development captures, in nats.
        development_accuracy: Share of the development captures whose larger logit is correct.
        development_auc: Area under the ROC curve of the development captures.
        losses: Mean of each part of the training loss, by name.
    """

    number: int
    of: int
    loss: float
    development_loss: float
    development_accuracy: float
    development_auc: float
    losses: Mapping[str, float] = field(default_factory=dict)

    def is_better_than(self, other: Epoch, choice: EpochChoice | str) -> bool:
        """Return whether its weights are kept rather than `other`'s; of equals the earlier wins.

        Raises:
            UsageError: There is no such choice.
        """
        choice = as_choice("choice", choice, EpochChoice)
        if choice is EpochChoice.LOSS or self.development_auc == other.development_auc:
            return self.development_loss < other.development_loss
        return self.development_auc > other.development_auc


@dataclass(frozen=True)
class Step:
    """Progress of a training.

    Attributes:
        epoch: Number of the current epoch, from 1.
        of: Largest number of epochs.
        done: Number of captures of this epoch trained on so far.
        captures: Number of captures per epoch.
        losses: Mean of each part of this epoch's training loss so far, by name.
    """

    epoch: int
    of: int
    done: int
    captures: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training.

    Attributes:
        module: Trained module in evaluation mode, with the weights of the best epoch.
        best: Best epoch, by the settings' `choose_epoch_by`.
        history: Every epoch, in order.
        research: Weights of the same epoch that only training needs, under the published names:
            learned prompts, text tower, further stages. Deployment drops them.
        frozen: Number of the module's parameters that were not trained.
        initialized: Result of the initialization from pretrained weights, or None.
    """

    module: PublishedModule
    best: Epoch
    history: tuple[Epoch, ...]
    research: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    frozen: int = 0
    initialized: Initialized | None = None
