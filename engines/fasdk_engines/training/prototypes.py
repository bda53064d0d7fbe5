"""MMDG's training: single-side prototypical loss (SSP) with ReGrad (CVPR 2024).

Classes are live, one for all domains, and the attacks of each domain. Three faults of the published
code are corrected: domains are those of the captures, not four fixed ones; a class no capture was
drawn of keeps its prototype, where the published average pulls it to zero; an absent modality takes
part in neither prototypes nor loss.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from fasdk_engines.training.data import Batch, CaptureTensors
from fasdk_engines.training.method import (
    CLASSIFICATION,
    BranchMethod,
    Scale,
    Task,
    held_by_modality,
)
from fasdk_engines.training.regrad import ReGrad

WEIGHT = 0.3  # r_ssp
KEPT = 0.2  # share of an old prototype in the new one
DRAWN = 0.5  # share of the captures that an epoch's prototypes are computed from
_BATCH = 64


def class_means(features: Tensor, present: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return the mean feature of each class and modality.

    Args:
        features: float [B, modalities, width], one feature per modality.
        present: float [B, modalities], 1 where the modality is present.
        classes: int64 [B], class of each capture.
        count: Number of classes.

    Returns:
        [modalities, count, width]; NaN for a class without a feature.
    """
    chosen = functional.one_hot(classes, count).to(features.dtype)  # [B, count]
    weights = chosen[:, None, :] * present[:, :, None]
    # An absent modality's feature may be anything; zero times infinity would not be zero.
    features = torch.where(present[:, :, None] > 0, features, 0.0)
    return torch.einsum("bmc,bmw->mcw", weights, features) / weights.sum(0)[:, :, None]


def blend(old: Tensor | None, new: Tensor) -> Tensor:
    """Return `KEPT` of the old prototypes and the rest of the new ones; NaN in one is the other."""
    if old is None:
        return new
    mixed = (1.0 - KEPT) * new + KEPT * old
    return torch.where(new.isnan(), old, torch.where(old.isnan(), new, mixed))


def prototype_loss(
    features: Tensor, present: Tensor, prototypes: Tensor, classes: Tensor
) -> Tensor:
    """Return the cross-entropy over minus the distance to each prototype.

    Args:
        features: float [B, modalities, width], one feature per modality.
        present: float [B, modalities], 1 where present; an absent modality adds no loss.
        prototypes: float [modalities, classes, width]; NaN for a class without one, which cannot
            be chosen.
        classes: int64 [B], class of each capture.

    Returns:
        [modalities], means over the captures that hold the modality, in nats; 0 without any.
    """
    known = ~prototypes.isnan().any(dim=2)
    targets = torch.where(known[:, :, None], prototypes, 0.0)
    precise = torch.promote_types(features.dtype, torch.float32)  # not the half of --amp
    # The squared-sum form loses digits where feature and prototype are close.
    distance = torch.cdist(
        features.transpose(0, 1).to(precise),
        targets.to(precise),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    logits = torch.where(known[:, None, :], -distance, float("-inf"))
    modalities, count, _ = logits.shape
    each = functional.cross_entropy(
        logits.flatten(0, 1), classes.repeat(modalities), reduction="none"
    ).reshape(modalities, count)
    counts = (present.T > 0) & known.gather(1, classes.expand(modalities, -1))
    return torch.where(counts, each, 0.0).sum(1) / counts.sum(1).clamp(min=1)


class Prototypes(BranchMethod):
    """Cross-entropy and SSP, their gradients added."""

    name = "mmdg-ssp"
    families = ("mmdg",)

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.prototypes: Tensor | None = None

    def frozen(self) -> tuple[str, ...]:
        """Patch embeddings and all blocks but the last stay as pretrained."""
        # Blocks count from 1 and the final norm follows them.
        last = len(list(self.task.module.get_submodule("ViT_Encoder").children())) - 2
        blocks = "|".join(str(index) for index in range(1, last))
        return (r"conv_proj\d\..*", *((rf"ViT_Encoder\.(?:{blocks})\..*",) if last > 1 else ()))

    def begin_epoch(self, number: int, captures: CaptureTensors) -> None:
        """Move the prototypes to the features of a random part of the captures."""
        rows = torch.randperm(len(captures), generator=self.task.generator)
        if number > 1:
            rows = rows[: max(1, round(DRAWN * len(rows)))]
        module = self.task.module.eval()
        device = next(module.parameters()).device
        features, present, classes = [], [], []
        with torch.no_grad():
            for part in torch.split(rows.sort().values, _BATCH):
                batch = captures.batch(part).to(device)
                features.append(self.run(batch)[1].float())
                present.append(batch.present)
                classes.append(batch.classes)
        new = class_means(
            torch.cat(features),
            torch.cat(present),
            torch.cat(classes),
            1 + len(captures.domains),
        )
        self.prototypes = blend(self.prototypes, new)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Return how many captures hold each modality."""
        return held_by_modality(batch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and one SSP loss a modality."""
        logits, features, certainty = self.run(batch)
        if self.prototypes is None:
            raise RuntimeError("begin_epoch was not called")
        self.observe(certainty, batch)
        each = WEIGHT * prototype_loss(features, batch.present, self.prototypes, batch.classes)
        names = [modality.value for modality in batch.inputs]
        parts = {CLASSIFICATION: self.classification(logits, batch)}
        return parts | dict(zip(names, each, strict=True))

    def observe(self, certainty: Tensor, batch: Batch) -> None:
        """Take the certainty of each modality's class token [B, modalities]; not used here."""

    def state(self) -> dict[str, Tensor]:
        """Return the prototypes."""
        return {} if self.prototypes is None else {"prototypes": self.prototypes}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the prototypes."""
        self.prototypes = state.get("prototypes")


class PrototypesRebalanced(Prototypes):
    """MMDG's whole training: SSP whose gradients ReGrad rebalances.

    Attributes:
        certainty: Mean certainty of each modality's class token in the last batch [modalities].
    """

    name = "mmdg"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._regrad = ReGrad(momentum=0.0)

    def observe(self, certainty: Tensor, batch: Batch) -> None:
        """Take the certainty of each modality's class token [B, modalities]."""
        self._regrad.observe(certainty, batch.present)

    def backward(self, losses: Mapping[str, Tensor], scale: Scale) -> None:
        """Add the gradients of a part of a step's captures."""
        self._regrad.collect(self.task.module, self.extra, losses, scale)

    def end_step(self) -> None:
        """Add the rebalanced SSP gradients to the classifier's."""
        self._regrad.apply()

    def state(self) -> dict[str, Tensor]:
        """Return the prototypes and ReGrad's averages."""
        return super().state() | self._regrad.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the prototypes and ReGrad's averages."""
        super().restore(state)
        self._regrad.restore(state)
