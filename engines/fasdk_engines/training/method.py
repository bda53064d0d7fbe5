"""Interface of training methods, and plain cross-entropy training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk.errors import TrainingError
from fasdk_engines.models.base import Family, PublishedModule
from fasdk_engines.training.augmentation import Specs
from fasdk_engines.training.data import Batch, CaptureTensors
from fasdk_engines.training.sentences import SentenceFile
from fasdk_engines.training.settings import TrainingSettings

Scale = Callable[[Tensor], Tensor]
CLASSIFICATION = "classification"


@dataclass(frozen=True)
class Task:
    """Model and settings of one training.

    Attributes:
        family: Family of the model.
        module: Model to train, initial weights in place.
        specs: Preprocessing by modality.
        settings: Settings of the training.
        domains: Names of the training domains, in index order.
        generator: Random number generator of the method, on the CPU.
        text_weights: Weights of CLIP's text tower under OpenAI's names; empty trains a small tower.
        vocabulary: File of OpenAI's byte-pair merges, for those weights.
        sentences: Sentences in place of the method's own, or None.
    """

    family: Family
    module: PublishedModule
    specs: Specs
    settings: TrainingSettings
    domains: tuple[str, ...]
    generator: torch.Generator
    text_weights: Mapping[str, Tensor] = field(default_factory=dict)
    vocabulary: Path | None = None
    sentences: SentenceFile | None = None


class Method:
    """A training method; this base class is plain cross-entropy training.

    Args:
        task: Model and settings.

    Attributes:
        extra: Parameters that are trained too and not deployed, such as prompts; empty by default.
    """

    name = "plain"
    families: tuple[str, ...] = ()  # families it was published for; empty: any
    module_drops = False  # whether the model drops modalities itself in training
    reads_sentences = False  # whether it trains against sentences about both classes
    coupled = ""  # parts of the loss that also depend on which captures are run together

    def __init__(self, task: Task) -> None:
        self.task = task
        self.extra = nn.Module()

    def frozen(self) -> tuple[str, ...]:
        """Return regular expressions of parameters the paper keeps at pretrained weights."""
        return ()

    def begin_epoch(self, number: int, captures: CaptureTensors) -> None:
        """Prepare for epoch `number`, from 1."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the training loss by name, in nats; their sum is minimized."""
        return {CLASSIFICATION: self.classification(self.task.module(*batch.arguments)[0], batch)}

    def classification(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of logits [B, 2]."""
        return functional.cross_entropy(
            logits, batch.targets, label_smoothing=self.task.settings.label_smoothing
        )

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Return over how many captures losses are means, by name; all, where not named."""
        return {CLASSIFICATION: len(batch)}

    def backward(self, losses: Mapping[str, Tensor], scale: Scale) -> None:
        """Add the gradients of a part of a step's captures.

        Args:
            losses: The part's losses, each weighted by the part's share of the step's mean.
            scale: Loss scaling of mixed precision.
        """
        torch.autograd.backward(scale(torch.stack(list(losses.values())).sum()))

    def end_step(self) -> None:
        """Leave the step's gradients in `.grad`; called after `backward` of its last part."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a resumed training needs besides weights."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`."""

    def research(self) -> dict[str, Tensor]:
        """Return `extra`'s weights under the published names."""
        return dict(self.extra.state_dict())


def held_by_modality(batch: Batch) -> dict[str, int]:
    """Return how many captures of a batch hold each modality, by its name."""
    held = batch.present.sum(0).tolist()
    return {modality.value: int(n) for modality, n in zip(batch.inputs, held, strict=True)}


class BranchMethod(Method):
    """A method for models that give one feature a modality and join them in one linear layer."""

    def run(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Run the model.

        Returns:
            Logits [B, 2], features [B, modalities, width], and the certainty of each modality's
            class token [B, modalities].
        """
        module = self.task.module
        features_of, classifier = getattr(module, "features", None), getattr(module, "fc_all", None)
        if features_of is None or classifier is None:
            raise TrainingError(
                f"method {self.name!r} needs one feature a modality, which "
                f"{self.task.family.name!r} does not give: choose --method plain"
            )
        features, certainty = features_of(*batch.arguments)
        return classifier(features.flatten(1)), features, certainty
