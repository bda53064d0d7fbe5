"""Findings of the doctor: one line a check, with how to fix what is not sound."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from fasdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Level(str, Enum):
    """What a check found.

    - OK: Sound.
    - WARN: Works, and may be slower, less private or less safe than it could be.
    - FAIL: A door does not work here, or must not be trusted, until it is fixed.
    - UNKNOWN: Cannot be known here, such as the power mode of what is no Jetson.
    """

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    UNKNOWN = "n/a"


class Group(str, Enum):
    """Groups of checks, in the order shown."""

    PACKAGES = "Python and packages"
    GPU = "GPU and TensorRT"
    MACHINE = "Machine"
    ACCOUNT = "Keys and state of this account"
    CAMERAS = "Cameras"
    BUNDLE = "Bundle"
    SELF_TEST = "Self-test"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        group: Group of the check.
        check: Name of the check, once in its group.
        level: What was found.
        found: What was found, in words.
        fix: How to fix it; "" where nothing is to be done.

    Raises:
        UsageError: It warns or fails and says no fix.
    """

    group: Group
    check: str
    level: Level
    found: str
    fix: str = ""

    def __post_init__(self) -> None:
        """Refuse a complaint that helps nobody."""
        if self.level in (Level.WARN, Level.FAIL) and not self.fix:
            raise UsageError(f"finding {self.check!r} has level {self.level.value} and no fix")

    @classmethod
    def of(cls, document: Mapping[str, str]) -> Finding:
        """Return a finding from its JSON form."""
        fields = {**document, "group": Group(document["group"]), "level": Level(document["level"])}
        return cls(**fields)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return asdict(self) | {"group": self.group.value, "level": self.level.value}


@dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        findings: One a check, in the order shown.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether no check failed."""
        return self.count(Level.FAIL) == 0

    def count(self, level: Level) -> int:
        """Return how many checks found this."""
        return Counter(each.level for each in self.findings)[level]

    def of_group(self, group: Group) -> tuple[Finding, ...]:
        """Return the findings of one group."""
        return tuple(each for each in self.findings if each.group is group)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of `fasdk doctor --json`."""
        return {
            "ok": self.is_sound,
            "failed": self.count(Level.FAIL),
            "warnings": self.count(Level.WARN),
            "seconds": self.seconds,
            "checks": [each.to_json() for each in self.findings],
        }


def worst(levels: Iterable[Level]) -> Level:
    """Return the gravest of several levels; OK for none."""
    order = (Level.UNKNOWN, Level.OK, Level.WARN, Level.FAIL)
    return max(levels, key=order.index, default=Level.OK)


def told_once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with one name each in their group: a second one gets a number."""
    seen: Counter[tuple[Group, str]] = Counter()
    told = []
    for each in findings:
        seen[each.group, each.check] += 1
        number = seen[each.group, each.check]
        told.append(each if number == 1 else replace(each, check=f"{each.check} {number}"))
    return tuple(told)
