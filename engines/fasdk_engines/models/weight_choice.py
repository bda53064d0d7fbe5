"""Choice of a checkpoint's weights that a module takes, by content: names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fasdk.errors import CheckpointError
from fasdk_engines.checkpoints.tensors import prefixes
from fasdk_engines.checkpoints.weight_sets import (
    RAW,
    NamedWeights,
    WeightSet,
    distinct,
    naming_notes,
    requested_sets,
    spellings,
    the_one,
)
from fasdk_engines.models.base import Family

_NEAR = 0.3  # share of a module's names from which a mapping is taken for a misfit of it
_BATCH_COUNT = "num_batches_tracked"  # counts training steps; no output depends on it


@dataclass(frozen=True)
class Fit(WeightSet):
    """Agreement of the tensors under one prefix with a module, by the module's own names.

    Attributes:
        missing: Names of the module that have no tensor.
        unknown: Tensors beside those whose names the module lacks.
        misshapen: Descriptions of tensors with another shape.
        research_only: Names that the family drops, with their tensors.
        siblings: Names beside the prefix, of other modules of the training, with their tensors.
        notes: What was filled in.
    """

    missing: tuple[str, ...]
    unknown: Mapping[str, Tensor]
    misshapen: tuple[str, ...]
    research_only: Mapping[str, Tensor]
    siblings: Mapping[str, Tensor]
    notes: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the module takes every tensor and lacks none."""
        return not (self.missing or self.unknown or self.misshapen)


@dataclass(frozen=True)
class Choice:
    """Weights chosen of a checkpoint.

    Attributes:
        fit: The chosen ones.
        others: Keys of others that fit as well and differ.
        notes: What was chosen and renamed, a sentence each.
    """

    fit: Fit
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose_weights(
    given: NamedWeights, own: Mapping[str, Tensor], family: Family, requested: str | None
) -> Choice:
    """Return the tensors of a checkpoint that a module takes.

    Args:
        given: Tensors of the checkpoint.
        own: State dict of the module.
        family: Family of the module.
        requested: Key of the weights in the file, "ema", "raw", or None to find them.

    Returns:
        The choice, whose fit is exact unless nothing in the file fits.

    Raises:
        CheckpointError: Several fit and none is asked for, or what is asked for is not there.
    """
    best: list[Fit] = []
    for parts, attempt in spellings(given, own):
        fits = _fits(attempt, own, family)
        exact = [fit for fit in fits if fit.is_exact]
        if exact:
            different = distinct(exact)
            chosen, notes = _chosen(different, fits, requested, family, given.path)
            others = tuple(fit.key or RAW for fit in different if fit is not chosen)
            return Choice(chosen, others, (*naming_notes(chosen, given, parts), *notes))
        best = best or fits
    if best:
        near = best
        if requested:
            near = requested_sets([best], requested, family.name, given.path)
        return Choice(max(near, key=lambda fit: len(fit.tensors) - len(fit.misshapen)))
    largest = NamedWeights(given.path, given.largest_mapping(), {}, {})
    return Choice(_fit(largest, "", own, family))


def _fits(given: NamedWeights, own: Mapping[str, Tensor], family: Family) -> list[Fit]:
    counts = prefixes(given.tensors, own.keys(), family.own_name)
    enough = [prefix for prefix, count in counts.items() if count >= _NEAR * len(own)]
    return [_fit(given, prefix, own, family) for prefix in enough]


def _fit(given: NamedWeights, prefix: str, own: Mapping[str, Tensor], family: Family) -> Fit:
    taken: dict[str, Tensor] = {}
    owners: set[str] = set()
    rest: dict[str, str] = {}
    for name, value in given.tensors.items():
        inner = family.own_name(name[len(prefix) :]) if name.startswith(prefix) else None
        if inner is None or inner not in own:
            rest[name] = inner or ""
            continue
        if inner in taken:
            raise CheckpointError(f"{given.path} holds {inner} twice, under two spellings")
        taken[inner] = value
        owners.add(given.owners.get(name, ""))
    # A state dict is one mapping, and what stands in others is none of its business. A tree of
    # mappings, such as a TorchScript archive, is the network with everything in it.
    is_flat = len(owners) == 1
    beside = {n: i for n, i in rest.items() if not is_flat or given.owners.get(n, "") in owners}
    inside = {n: inner for n, inner in beside.items() if n.startswith(prefix)}
    research = {i: given.tensors[n] for n, i in inside.items() if family.is_research_only(i)}
    notes, aliases = _fill(taken, given, prefix, own, family)
    used = {family.own_name(alias.removeprefix(prefix)) for alias in aliases}
    used |= {alias for _, alias in family.tied_names}
    return Fit(
        prefix=prefix,
        tensors=taken,
        missing=tuple(name for name in own if name not in taken),
        unknown={
            i: given.tensors[n] for n, i in inside.items() if i not in research and i not in used
        },
        misshapen=tuple(
            f"{name} is {list(value.shape)}, expected {list(own[name].shape)}"
            for name, value in taken.items()
            if value.shape != own[name].shape
        ),
        research_only={n: v for n, v in research.items() if n not in used},
        siblings={
            n.removeprefix(given.owners.get(n, "")).lstrip("."): given.tensors[n]
            for n in beside
            if n not in inside
        },
        notes=notes,
    )


def _fill(
    taken: dict[str, Tensor],
    given: NamedWeights,
    prefix: str,
    own: Mapping[str, Tensor],
    family: Family,
) -> tuple[tuple[str, ...], set[str]]:
    """Add what a file keeps under another name, and counts that no output depends on.

    Returns:
        Notes, and the full names of the tensors that were taken for another's.
    """
    notes = []
    aliases = set()
    tied = [(prefix + name, prefix + alias) for name, alias in family.tied_names]
    for name, alias in (*tied, *given.metadata.items()):
        inner = family.own_name(name.removeprefix(prefix))
        if inner in own and inner not in taken and alias in given.tensors:
            taken[inner] = given.tensors[alias]
            aliases.add(alias)
            notes.append(f"{inner} is taken from {alias}, its other name")
    counts = [name for name in own if name.endswith(_BATCH_COUNT) and name not in taken]
    if counts and taken:
        taken.update({name: torch.zeros_like(own[name], device="cpu") for name in counts})
        notes.append(f"{len(counts)} {_BATCH_COUNT}, which older torch did not save, are set to 0")
    return tuple(notes), aliases


def _chosen(
    exact: list[Fit], fits: list[Fit], requested: str | None, family: Family, path: Path
) -> tuple[Fit, tuple[str, ...]]:
    if requested is not None:
        found = requested_sets([exact, fits], requested, family.name, path)
        return the_one(found, family.name, path), ()
    chosen = the_one(exact, family.name, path)
    partial = [f for f in fits if not f.is_exact and f.is_averaged != chosen.is_averaged]
    notes = tuple(
        f"{fit.key or 'the rest of the file'} is left: it lacks {len(fit.missing)} of "
        f"{len(fit.missing) + len(fit.tensors)} tensors"
        for fit in partial
        if fit.missing
    )
    return chosen, notes
