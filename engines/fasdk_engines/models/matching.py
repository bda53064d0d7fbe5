"""Identification of the registered model and settings that a state dict fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from fasdk_engines.models.base import Family
from fasdk_engines.models.registry import family_names, get_family

_Shapes = Mapping[str, tuple[int, ...]]

# Shares of the names in either: equal shapes from which a state dict is taken for that model, and
# shared names from which it is called near. Fewer mean nothing: many networks have `conv1.weight`.
_SAME = 0.9
_NEAR = 0.5


@dataclass(frozen=True)
class ModelMatch:
    """Agreement of a state dict with one registered model and config.

    Attributes:
        model: Registered name of the model.
        config: Name of its config.
        tensors: Number of tensors of that model.
        names: Number of their names that the state dict has too.
        shapes: Number of those with equal shapes.
        all_names: Number of names in either.
    """

    model: str
    config: str
    tensors: int
    names: int
    shapes: int
    all_names: int

    @property
    def is_same(self) -> bool:
        """Whether nearly every tensor of either fits."""
        return self.shapes >= _SAME * self.all_names

    @property
    def is_near(self) -> bool:
        """Whether the names leave no doubt which model it is, though its settings differ."""
        return self.names >= _NEAR * self.all_names

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Sort key; the nearest model has the greatest."""
        return self.is_same, self.names / self.all_names, self.shapes

    def __str__(self) -> str:
        """Return it as an error's hint."""
        options = f"--model {self.model} --config {self.config}"
        if self.is_same:
            return f"it looks like {options}"
        return (
            f"nearest is {options}: {self.names} of {self.tensors} names, {self.shapes} shapes "
            "equal: give the settings it was trained with as --config FILE.json"
        )


def nearest_model(found: _Shapes, asked: nn.Module) -> ModelMatch | None:
    """Return the registered model a state dict is nearest to.

    Args:
        found: Shape by name, as in the checkpoint.
        asked: Module that the state dict did not fit; an equal config is left out.

    Returns:
        None where no registered model is near, or the nearest is the one asked for.
    """
    own = _shapes(asked)
    candidates = [(match, shapes == own) for match, shapes in _matches(found) if match.names]
    if not candidates:
        return None
    nearest, is_asked = max(candidates, key=lambda pair: pair[0].rank)
    return nearest if (nearest.is_same or nearest.is_near) and not is_asked else None


def fitting_settings(family: Family, found: _Shapes) -> str | None:
    """Return advice that names the settings of a family that give exactly these shapes.

    Args:
        family: Family that the weights did not fit with the settings asked for.
        found: Shape by the family's own name.

    Returns:
        None where the family reads no settings from shapes, or none fit.
    """
    read = None if family.settings_of is None else family.settings_of(found)
    if not read:
        return None
    told = {name: value for name, value in read.items() if value is not None}
    untold = [name for name in read if name not in told]
    with suppress(Exception):  # settings that no module has
        with torch.device("meta"):
            own = _shapes(family.build(family.config_type.model_construct(**told)))
        if own == dict(found):
            more = f", and {', '.join(untold)}, which weights do not tell" if untold else ""
            return (
                f"it fits with these settings: give --config FILE.json with {json.dumps(told)}"
                f"{more}; its input is taken as published unless the file states another "
                "(normalization, channel_order, crop_scale)"
            )
    return None


def _matches(found: _Shapes) -> Iterator[tuple[ModelMatch, _Shapes]]:
    for name in family_names():
        # Another's broken model must not hide what is wrong with this checkpoint.
        with suppress(Exception):
            family = get_family(name)
            given = _renamed(found, family)
            for label in family.configs:
                own = _registered_shapes(name, label)
                shared = own.keys() & given.keys()
                yield (
                    ModelMatch(
                        model=name,
                        config=label,
                        tensors=len(own),
                        names=len(shared),
                        shapes=sum(own[n] == given[n] for n in shared),
                        all_names=len(own.keys() | given.keys()),
                    ),
                    own,
                )


def _renamed(found: _Shapes, family: Family) -> _Shapes:
    """Return the shapes under a family's own names, without what it calls research-only."""
    renamed = {family.own_name(name): shape for name, shape in found.items()}
    return {n: shape for n, shape in renamed.items() if not family.is_research_only(n)}


@cache
def _registered_shapes(name: str, label: str) -> _Shapes:
    family = get_family(name)
    with torch.device("meta"):
        return _shapes(family.build(family.configs[label]))


def _shapes(module: nn.Module) -> _Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
