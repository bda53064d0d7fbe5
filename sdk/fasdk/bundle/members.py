"""Table of the members a bundle can hold, from which their names, order and checks derive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class MemberRule:
    """Names of one kind of member, and what holds for it.

    Attributes:
        prefix: Name of the member; or, with a suffix, the folder that holds any number of them.
        suffix: File extension in that folder, or None for one member of a fixed name.
        required: Whether every bundle holds one.
        digested: Whether the manifest lists its SHA-256; the manifest and its signature cannot be.
    """

    prefix: str
    suffix: str | None = None
    required: bool = False
    digested: bool = True

    def matches(self, name: str) -> bool:
        """Return whether a member of this name is of this kind."""
        if self.suffix is None:
            return name == self.prefix
        inner = len(name) - len(self.prefix) - len(self.suffix)
        return inner >= 0 and name.startswith(self.prefix) and name.endswith(self.suffix)


class MemberKind(Enum):
    """Kinds of members, in the order they stand in the file."""

    MANIFEST = MemberRule("manifest.json", required=True, digested=False)
    SIGNATURE = MemberRule("manifest.sig", digested=False)
    GRAPH = MemberRule("model.onnx", required=True)
    PLAN = MemberRule("plans/", ".plan")
    GOLDEN = MemberRule("golden/", ".npz")
    CALIBRATION = MemberRule("calibration.json")
    EVALUATION = MemberRule("evaluation.json")


MANIFEST = MemberKind.MANIFEST.value.prefix
SIGNATURE = MemberKind.SIGNATURE.value.prefix
GRAPH = MemberKind.GRAPH.value.prefix
CALIBRATION = MemberKind.CALIBRATION.value.prefix
EVALUATION = MemberKind.EVALUATION.value.prefix

_RANKS = {kind: rank for rank, kind in enumerate(MemberKind)}
_RULES = tuple((kind, kind.value) for kind in MemberKind)


def kind_of(name: str) -> MemberKind | None:
    """Return the kind of the member called `name`, or None where a bundle can hold no such one."""
    for kind, rule in _RULES:
        if rule.matches(name):
            return kind
    return None


def rank_of(name: str) -> tuple[int, str] | None:
    """Return what members are sorted by: the kind's place in the file, then the name."""
    kind = kind_of(name)
    return None if kind is None else (_RANKS[kind], name)


def is_digested(name: str) -> bool:
    """Return whether the manifest lists this member's SHA-256."""
    kind = kind_of(name)
    return kind is None or kind.value.digested


def missing_from(names: set[str]) -> list[str]:
    """Return the names of the required members that are not among `names`."""
    required = [kind.value.prefix for kind in MemberKind if kind.value.required]
    return [name for name in required if name not in names]
