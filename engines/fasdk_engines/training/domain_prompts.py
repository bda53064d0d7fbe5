"""MMDG++'s training: asymmetric domain prompts (ADP) with ReGrad (TPAMI 2025).

Asymmetric: live is one class for all domains, and every domain's attacks are a class of their own.
A class has one text feature a modality, the mean over templates that end in placeholders, whose
places learned vectors take. The loss is the cross-entropy over logit_scale * cos(feature, text).
Domains are those of the captures, and an absent modality adds no loss. The templates are fasdk's
own, as many as published: 9 of live and 9 of attacks a modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk.capture import Modality
from fasdk_engines.training.data import Batch
from fasdk_engines.training.method import (
    CLASSIFICATION,
    BranchMethod,
    Scale,
    Task,
    held_by_modality,
)
from fasdk_engines.training.regrad import ReGrad
from fasdk_engines.training.sentences import SentenceFile, Sentences
from fasdk_engines.training.text import PLACEHOLDER, TextEncoder

PROMPTS = 5  # learned vectors a class
MOMENTUM = 0.5
_PLACE = "recorded at a place with " + " ".join([PLACEHOLDER] * PROMPTS)
_LIVE = (
    "a living person looks into the camera",
    "the skin of a person who stands here",
    "somebody in front of the sensor",
    "a face that moves and breathes",
    "the head of a person who is present",
    "a face with the relief of its own",
    "somebody who shows their own features",
    "a person without any disguise",
    "the true face of a visitor",
)
_ATTACK = (
    "somebody pretends to be another person",
    "a copy of a face is held up",
    "a mask or a picture hides the person",
    "a thing that imitates a face",
    "a print or a screen instead of a person",
    "paper or plastic takes the place of skin",
    "the face of somebody who is elsewhere",
    "a disguise made to deceive the sensor",
    "the lifeless likeness of a person",
)
_SEEN = {
    Modality.RGB: "in a color image",
    Modality.DEPTH: "in a map of distances",
    Modality.IR: "in infrared light",
}


def templates(modality: Modality, file: SentenceFile | None = None) -> Sentences:
    """Return the texts of live and of attacks for a modality, each ending in placeholders.

    Args:
        modality: Modality they describe; fasdk's own sentences name it.
        file: Sentences in place of fasdk's own.

    Raises:
        TrainingError: The file has none for the modality.
    """
    if file is None:
        seen = f"{_SEEN[modality]} {_PLACE}"
        found = Sentences(_LIVE, _ATTACK)
    else:
        seen, found = _PLACE, file.of(modality)
    return Sentences(
        tuple(f"{sentence} {seen}" for sentence in found.live),
        tuple(f"{sentence} {seen}" for sentence in found.attack),
    )


def prompt_loss(
    features: Tensor, present: Tensor, texts: Tensor, scale: Tensor, classes: Tensor
) -> Tensor:
    """Return the cross-entropy over scaled cosines to each class's text.

    Args:
        features: float [B, modalities, width], one feature per modality.
        present: float [B, modalities], 1 where present; an absent modality adds no loss.
        texts: float [modalities, classes, width], text feature of each class.
        scale: Factor on the cosines, a scalar.
        classes: int64 [B], class of each capture.

    Returns:
        [modalities], means over the captures that hold the modality, in nats; 0 without any.
    """
    held = present.T > 0
    # A zero feature has no direction; its gradient would not be a number.
    features = torch.where(present[:, :, None] > 0, features, 1.0)
    features = functional.normalize(features, dim=-1)
    cosines = torch.einsum("bmw,mcw->mbc", features, functional.normalize(texts, dim=-1))
    modalities, count, _ = cosines.shape
    each = functional.cross_entropy(
        scale * cosines.flatten(0, 1), classes.repeat(modalities), reduction="none"
    ).reshape(modalities, count)
    return torch.where(held, each, 0.0).sum(1) / held.sum(1).clamp(min=1)


class DomainPrompts(BranchMethod):
    """MMDG++'s whole training: cross-entropy, ADP, and ReGrad by running losses.

    Attributes:
        encoder: Text tower with its tokenizer.
    """

    name = "mmdgpp"
    families = ("mmdgpp",)
    reads_sentences = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._regrad = ReGrad(MOMENTUM)
        kinds = [templates(modality, task.sentences) for modality in task.family.modalities]
        texts = [text for kind in kinds for text in (*kind.live, *kind.attack)]
        width = int(task.module.get_parameter("visual_proj_1").shape[1])
        self.encoder = TextEncoder(texts, width, task.text_weights, task.vocabulary)
        self.encoder.requires_grad_(not task.text_weights)
        classes = 1 + len(task.domains)
        groups = [group for k in kinds for group in (k.live, *[k.attack] * (classes - 1))]
        self._counts = [len(group) for group in groups]
        self._tokens = self.encoder.tokens([text for group in groups for text in group])
        # The published names: prompts by modality, the tower beside the visual one.
        for index in range(len(kinds)):
            prompts = torch.randn(classes, PROMPTS, self.encoder.width)
            self.extra.register_parameter(f"prompts_{index + 1}", nn.Parameter(prompts))
        self.extra.add_module("model", self.encoder.tower)

    def frozen(self) -> tuple[str, ...]:
        """CLIP stays as pretrained, but for RGB's class token."""
        return (r"model\.(?!visual\.class_embedding$).*",)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Return how many captures hold each modality."""
        return held_by_modality(batch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and one ADP loss a modality."""
        logits, features, certainty = self.run(batch)
        self._regrad.observe(certainty, batch.present)
        each = prompt_loss(
            features,
            batch.present,
            self.class_features(list(self.extra.parameters(recurse=False))),
            self.encoder.tower.logit_scale.exp(),
            batch.classes,
        )
        names = [modality.value for modality in batch.inputs]
        parts = {CLASSIFICATION: self.classification(logits, batch)}
        return parts | dict(zip(names, each, strict=True))

    def class_features(self, prompts: Sequence[Tensor]) -> Tensor:
        """Return each class's text feature [modalities, classes, width]: the mean over templates.

        Args:
            prompts: [classes, `PROMPTS`, width] for each modality.
        """
        each = [
            prompt.expand(count, -1, -1)
            for prompt, count in zip(torch.cat(list(prompts)), self._counts, strict=True)
        ]
        found: Tensor = self.encoder(self._tokens, torch.cat(each))
        means = torch.stack([group.mean(0) for group in torch.split(found, self._counts)])
        return means.reshape(len(prompts), -1, found.shape[1])

    def backward(self, losses: Mapping[str, Tensor], scale: Scale) -> None:
        """Add the gradients of a part of a step's captures."""
        self._regrad.collect(self.task.module, self.extra, losses, scale)

    def end_step(self) -> None:
        """Add the rebalanced ADP gradients to the classifier's."""
        self._regrad.apply()

    def state(self) -> dict[str, Tensor]:
        """Return ReGrad's running losses."""
        return self._regrad.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore ReGrad's running losses."""
        self._regrad.restore(state)
