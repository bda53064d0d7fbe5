"""Sets of weights in one checkpoint, such as averaged beside raw ones, and the choice of one."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from fasdk.errors import CheckpointError
from fasdk_engines.checkpoints.tensors import WRAPPER_PARTS, without_parts

AVERAGED, RAW = "ema", "raw"  # words that --weights takes beside the keys of a file
_AVERAGED = re.compile(
    r"(^|[._-])(ema|averaged?|avg|swa|shadow|polyak)\d*([._-]|$)"
    r"|(?-i:[a-z](EMA|Ema|SWA|Swa)([._A-Z]|$)|(^|[._])(ema|swa)[A-Z])",
    re.IGNORECASE,
)
_PARALLEL = "module"  # part of a name that DataParallel puts in; a network may have one of its own


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
class WeightSet:
    """Tensors under one prefix of the full names.

    Attributes:
        prefix: Start of the full names, "" or ending in a dot.
        tensors: Tensors by the network's own names.
    """

    prefix: str
    tensors: Mapping[str, Tensor]

    @property
    def key(self) -> str:
        """Name that --weights takes."""
        return self.prefix.rstrip(".")

    @property
    def is_averaged(self) -> bool:
        """Whether its key says that these are averages of weights over the training."""
        return _AVERAGED.search(self.key) is not None

    @property
    def place(self) -> str:
        """Where it stands in its file, for messages."""
        return f"under {self.key!r}" if self.key else "at the top of the file"


AnySet = TypeVar("AnySet", bound=WeightSet)


def spellings(
    given: NamedWeights, own: Iterable[str]
) -> Iterator[tuple[frozenset[str], NamedWeights]]:
    """Yield a checkpoint's tensors by their names, then by the names without what wrappers add.

    Args:
        given: Tensors of the checkpoint.
        own: Names of the network's tensors.

    Yields:
        The parts of names that were left out, and the tensors by the names without them.
    """
    yield frozenset(), given
    removable = [WRAPPER_PARTS]
    if not any(_PARALLEL in name.split(".") for name in own):
        removable.append(WRAPPER_PARTS | {_PARALLEL})
    for parts in removable:
        renamed = given.without(parts)
        if renamed is not None:
            yield parts, renamed


def is_wrapped(name: str) -> bool:
    """Whether a name has a part that wrappers of a module put into it."""
    return not (WRAPPER_PARTS | {_PARALLEL}).isdisjoint(name.split("."))


def distinct(sets: Iterable[AnySet]) -> list[AnySet]:
    """Return the sets without those whose tensors all equal an earlier one's."""
    kept: list[AnySet] = []
    for found in sets:
        if not any(_equal(found.tensors, other.tensors) for other in kept):
            kept.append(found)
    return kept


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        value is second[name] or (value.dtype == second[name].dtype and value.equal(second[name]))
        for name, value in first.items()
    )


def the_one(sets: Sequence[AnySet], wanted: str, path: Path) -> AnySet:
    """Return the only one of some sets.

    Args:
        sets: At least one set.
        wanted: What they are weights of, for messages, such as a model's name.
        path: Their file, for messages.

    Raises:
        CheckpointError: There are several; the message has the options that choose.
    """
    if len(sets) == 1:
        return sets[0]
    averaged = [found for found in sets if found.is_averaged]
    raw = [found for found in sets if not found.is_averaged]
    if len(averaged) == len(raw) == 1:
        raise CheckpointError(
            f"{path} holds averaged weights of {wanted} {averaged[0].place} and raw ones "
            f"{raw[0].place}, which differ: choose with --weights {AVERAGED} or --weights {RAW}"
        )
    keys = [found.key or RAW for found in sets]
    raise CheckpointError(
        f"{path} holds {len(sets)} sets of weights that fit {wanted}: {', '.join(keys)}; "
        f"choose one, such as --weights {shlex.quote(keys[0])}"
    )


def requested_sets(
    groups: Iterable[Sequence[AnySet]], requested: str, wanted: str, path: Path
) -> list[AnySet]:
    """Return the sets that --weights asks for, of the first group that has any.

    Args:
        groups: Groups of sets, such as those that fit and those that nearly do.
        requested: Key of the weights in the file, its start up to a dot, "ema" or "raw".
        wanted: What they are weights of, for messages.
        path: Their file, for messages.

    Raises:
        CheckpointError: No group has any; those that are there are named.
    """
    held: dict[str, None] = {}
    for among in groups:
        found = [each for each in among if each.key == requested]
        found = found or [each for each in among if each.key.startswith(f"{requested}.")]
        if not found and requested in (AVERAGED, RAW):
            found = [each for each in among if each.is_averaged == (requested == AVERAGED)]
        if found:
            return found
        held |= dict.fromkeys(each.key or "the top of the file" for each in among)
    raise CheckpointError(
        f"{path} holds no weights {requested!r} of {wanted}: it holds {', '.join(held)}; leave "
        "--weights out, or name one of them"
    )


def naming_notes(found: WeightSet, given: NamedWeights, removed: frozenset[str]) -> tuple[str, ...]:
    """Return under which prefix and spelling a set was found, a sentence each."""
    notes = []
    if found.prefix:
        notes.append(f"weights are those under {found.prefix!r}")
    parts = removed & {part for name in given.tensors for part in name.split(".")}
    if parts:
        listed = ", ".join(f"{part!r}" for part in sorted(parts))
        notes.append(f"names are read without {listed}, which wrappers put into them")
    return tuple(notes)
