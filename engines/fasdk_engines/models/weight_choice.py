"""Choice of a checkpoint's weights that a module takes, by content: names and shapes."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fasdk.errors import CheckpointError
from fasdk_engines.checkpoints.tensors import WRAPPER_PARTS, prefixes, without_parts
from fasdk_engines.models.base import Family

AVERAGED, RAW = "ema", "raw"  # words that --weights takes beside the keys of a file
_AVERAGED = re.compile(
    r"(^|[._-])(ema|averaged?|avg|swa|shadow|polyak)\d*([._-]|$)"
    r"|(?-i:[a-z](EMA|Ema|SWA|Swa)([._A-Z]|$)|(^|[._])(ema|swa)[A-Z])",
    re.IGNORECASE,
)
_NEAR = 0.3  # share of a module's names from which a mapping is taken for a misfit of it
_BATCH_COUNT = "num_batches_tracked"  # counts training steps; no output depends on it


@dataclass(frozen=True)
class NamedWeights:
    """Tensors of a checkpoint by full name.

    Attributes:
        path: File they were read from.
        tensors: Tensors by full name, the keys of nested mappings joined by dots.
        owners: Full name of the mapping that each stands in; a name without an entry is at the top.
        metadata: Metadata of a safetensors file.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    owners: Mapping[str, str]
    metadata: Mapping[str, str]

    def without(self, parts: frozenset[str]) -> NamedWeights | None:
        """Return them with parts removed from the names; None where nothing or too much changes."""
        renamed = {name: without_parts(name, parts) for name in self.tensors}
        if len(set(renamed.values())) < len(renamed) or all(a == b for a, b in renamed.items()):
            return None
        return NamedWeights(
            self.path,
            {renamed[name]: value for name, value in self.tensors.items()},
            {renamed[name]: without_parts(o, parts) for name, o in self.owners.items()},
            {without_parts(a, parts): without_parts(b, parts) for a, b in self.metadata.items()},
        )

    def largest_mapping(self) -> dict[str, Tensor]:
        """Return the tensors of the mapping that holds most of them, by the names in it."""
        counts = Counter(self.owners.get(name, "") for name in self.tensors)
        owner = max(counts, key=lambda key: counts[key])
        start = len(owner) + 1 if owner else 0
        return {n[start:]: v for n, v in self.tensors.items() if self.owners.get(n, "") == owner}


@dataclass(frozen=True)
class Fit:
    """Agreement of the tensors under one prefix with a module.

    Attributes:
        prefix: Start of the full names, "" or ending in a dot.
        tensors: Tensors by the module's own names.
        missing: Names of the module that have no tensor.
        unknown: Tensors beside those whose names the module lacks.
        misshapen: Descriptions of tensors with another shape.
        research_only: Names that the family drops, with their tensors.
        siblings: Names beside the prefix, of other modules of the training, with their tensors.
        notes: What was filled in.
    """

    prefix: str
    tensors: Mapping[str, Tensor]
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

    @property
    def key(self) -> str:
        """Name that --weights takes."""
        return self.prefix.rstrip(".")

    @property
    def is_averaged(self) -> bool:
        """Whether its key says that these are averages of weights over the training."""
        return _AVERAGED.search(self.key) is not None


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
    removable = [frozenset[str](), WRAPPER_PARTS]
    if not any("module" in name.split(".") for name in own):
        removable.append(WRAPPER_PARTS | {"module"})
    best: list[Fit] = []
    for parts in removable:
        attempt = given.without(parts) if parts else given
        if attempt is None:
            continue
        fits = _fits(attempt, own, family)
        exact = [fit for fit in fits if fit.is_exact]
        if exact:
            distinct = _distinct(exact)
            chosen, notes = _chosen(distinct, fits, requested, family, given.path)
            others = tuple(fit.key or RAW for fit in distinct if fit is not chosen)
            return Choice(chosen, others, (*_renaming(chosen, given, parts), *notes))
        best = best or fits
    if best:
        near = _requested(best, requested, family, given.path) if requested else best
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


def _distinct(fits: Iterable[Fit]) -> list[Fit]:
    """Return the fits without those whose tensors all equal an earlier one's."""
    kept: list[Fit] = []
    for fit in fits:
        if not any(_equal(fit.tensors, other.tensors) for other in kept):
            kept.append(fit)
    return kept


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(
        value is second[name] or (value.dtype == second[name].dtype and value.equal(second[name]))
        for name, value in first.items()
    )


def _chosen(
    exact: list[Fit], fits: list[Fit], requested: str | None, family: Family, path: Path
) -> tuple[Fit, tuple[str, ...]]:
    if requested is not None:
        found = _requested(exact, requested, family, path, fits)
        if len(found) > 1:
            raise CheckpointError(_ask(found, family, path))
        return found[0], ()
    if len(exact) == 1:
        partial = [f for f in fits if not f.is_exact and f.is_averaged != exact[0].is_averaged]
        notes = tuple(
            f"{fit.key or 'the rest of the file'} is left: it lacks {len(fit.missing)} of "
            f"{len(fit.missing) + len(fit.tensors)} tensors"
            for fit in partial
            if fit.missing
        )
        return exact[0], notes
    averaged = [fit for fit in exact if fit.is_averaged]
    raw = [fit for fit in exact if not fit.is_averaged]
    if len(averaged) != 1 or len(raw) != 1:
        raise CheckpointError(_ask(exact, family, path))
    note = (
        f"takes the averaged weights under {averaged[0].key!r} and leaves the raw ones "
        f"{_place(raw[0])}: --weights raw takes those"
    )
    return averaged[0], (note,)


def _requested(
    fits: list[Fit],
    requested: str,
    family: Family,
    path: Path,
    near: list[Fit] | None = None,
) -> list[Fit]:
    """Return the fits that --weights asks for."""
    for among in (fits, near or []):
        found = [fit for fit in among if fit.key == requested]
        found = found or [fit for fit in among if fit.key.startswith(f"{requested}.")]
        if not found and requested in (AVERAGED, RAW):
            found = [fit for fit in among if fit.is_averaged == (requested == AVERAGED)]
        if found:
            return found
    held = ", ".join(fit.key or "the top of the file" for fit in fits)
    raise CheckpointError(
        f"{path} holds no weights {requested!r} for {family.name}: it holds {held}; leave "
        "--weights out, or name one of them"
    )


def _ask(fits: list[Fit], family: Family, path: Path) -> str:
    keys = [fit.key or RAW for fit in fits]
    return (
        f"{path} holds {len(fits)} sets of weights that fit {family.name}: {', '.join(keys)}; "
        f"choose one, such as --weights {shlex.quote(keys[0])}"
    )


def _renaming(fit: Fit, given: NamedWeights, removed: frozenset[str]) -> tuple[str, ...]:
    notes = []
    if fit.prefix:
        notes.append(f"weights are those under {fit.prefix!r}")
    parts = removed & {part for name in given.tensors for part in name.split(".")}
    if parts:
        listed = ", ".join(f"{part!r}" for part in sorted(parts))
        notes.append(f"names are read without {listed}, which wrappers put into them")
    return tuple(notes)


def _place(fit: Fit) -> str:
    return f"under {fit.key!r}" if fit.key else "at the top of the file"
