"""Model families: published module, deployed form, settings and preprocessing of a model."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fasdk.capture import Modality
from fasdk.preprocess import PRESENCE, PreprocessSpec, input_shapes
from fasdk.settings import take_choices


class ModelConfig(BaseModel):
    """Settings of one model; subclasses add theirs, each with the published value as default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedModule(nn.Module, abc.ABC):
    """A model whose `state_dict` has exactly the published keys and shapes.

    `forward` is the plain reading of the published evaluation (sampling replaced by its exact
    expectation); `deployed` is the same function rearranged for speed. Parity between the two is
    checked at every build.
    """

    @abc.abstractmethod
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the model.

        Args:
            inputs: float32 [B, 3, H, W] per modality, in model order, normalized; then, where the
                family takes presence, float32 [B, modalities] of ones and zeros in model order.

        Returns:
            logits [B, classes] and, where the family has it, certainty [B, modalities] in [0, 1].
        """

    @abc.abstractmethod
    def deployed(self) -> nn.Module:
        """Return a module of the same signature that computes the same function faster.

        Constants are folded, and what only training needs is gone.
        """


@dataclass(frozen=True)
class Family:
    """A model that a bundle can be built from.

    Attributes:
        name: Name that `--model` takes.
        published_in: Paper or project that defines the model.
        modalities: Modalities in the argument order of `forward`.
        required: Modalities without which the model gives no meaningful score.
        labels: Class names in logit order.
        live_index: Index of the bona fide logit.
        has_certainty: Whether `forward` returns a second output.
        takes_presence: Whether `forward` takes one more input that marks which modalities are
            present; then an absent one's pixels do not matter. Otherwise an absent modality is
            filled with its `missing_value`.
        config_type: Class of the model's settings.
        configs: Settings by name; the first is the published one and the default.
        build: Returns the published module for given settings, weights not loaded.
        preprocess: Returns the preprocessing by modality for given settings.
        research_only: Regular expressions of published keys that deployment drops.
        older_names: (regular expression, replacement) pairs that turn other spellings of the
            published keys into the module's own.
        tied_names: (name, alias) pairs of one tensor under two published keys; a file may hold the
            alias alone.
        classes: Returns the class names in logit order and the index of the bona fide logit for
            given settings; None where no setting changes `labels` and `live_index`.
        settings_of: Returns the settings that shapes by name tell, None for those of them that
            shapes do not tell; None where the family reads none.
        float32_islands: Regular expressions found in the names of the graph's nodes that stay
            float32 in a half-precision graph; node names follow the deployed form's module names.
    """

    name: str
    published_in: str
    modalities: tuple[Modality, ...]
    labels: tuple[str, ...]
    live_index: int
    has_certainty: bool
    config_type: type[ModelConfig]
    configs: Mapping[str, ModelConfig]
    build: Callable[[Any], PublishedModule]
    preprocess: Callable[[Any], dict[Modality, PreprocessSpec]]
    research_only: tuple[str, ...] = ()
    older_names: tuple[tuple[str, str], ...] = ()
    required: tuple[Modality, ...] = ()
    takes_presence: bool = False
    float32_islands: tuple[str, ...] = ()
    tied_names: tuple[tuple[str, str], ...] = ()
    classes: Callable[[Any], tuple[tuple[str, ...], int]] | None = None
    settings_of: Callable[[Mapping[str, tuple[int, ...]]], Mapping[str, Any] | None] | None = None

    def configured(self, config: ModelConfig) -> Family:
        """Return the family with the classes that its settings state."""
        if self.classes is None:
            return self
        labels, live_index = self.classes(config)
        return replace(self, labels=labels, live_index=live_index)

    def __post_init__(self) -> None:
        """Take the modalities as their members."""
        take_choices(self, modalities=(Modality,), required=(Modality,))

    def own_name(self, name: str) -> str:
        """Return the module's name of a tensor that a checkpoint may name in an older way."""
        for pattern, replacement in self.older_names:
            name = re.sub(pattern, replacement, name)
        return name

    def is_research_only(self, name: str) -> bool:
        """Whether deployment drops the tensor of this name (see `own_name`)."""
        return any(re.fullmatch(pattern, name) for pattern in self.research_only)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of `forward`'s inputs and of the graph's, in order."""
        names = tuple(modality.value for modality in self.modalities)
        return (*names, PRESENCE) if self.takes_presence else names

    @property
    def default_config(self) -> ModelConfig:
        """The published settings."""
        return next(iter(self.configs.values()))

    @property
    def presence_order(self) -> tuple[Modality, ...] | None:
        """Column order of the presence input, or None where the family takes none."""
        return self.modalities if self.takes_presence else None

    def input_shapes(self, config: ModelConfig) -> dict[str, tuple[int, ...]]:
        """Return the shape of each graph input by name, without the batch axis."""
        return input_shapes(self.preprocess(config), self.presence_order)

    def example_inputs(self, config: ModelConfig, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Return smooth random images over the full 8-bit range, normalized as the model's own are.

        float32 [batch, 3, H, W] per modality, in model order; then, where the family takes it,
        presence [batch, modalities]: all present in the first capture, then one absent in turn.
        """
        specs = self.preprocess(config)
        generator = torch.Generator().manual_seed(seed)
        tensors = []
        for modality in self.modalities:
            spec = specs[modality]
            coarse = torch.randn(batch, 3, 8, 8, generator=generator)
            field = nn.functional.interpolate(coarse, (spec.height, spec.width), mode="nearest")
            noise = torch.randn(batch, 3, spec.height, spec.width, generator=generator)
            levels = 127.5 * (1.0 + torch.tanh(field + 0.25 * noise))
            mean = torch.tensor(spec.mean)[:, None, None]
            tensors.append((levels - mean) / torch.tensor(spec.std)[:, None, None])
        if self.takes_presence:
            present = torch.ones(batch, len(self.modalities))
            for index in range(1, batch):
                present[index, index % len(self.modalities)] = 0.0
            tensors.append(present)
        return tuple(tensors)
