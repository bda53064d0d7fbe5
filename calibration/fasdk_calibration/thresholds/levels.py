"""Security levels: the APCER bound each is held to, and reasons why captures support none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fasdk.capture import Modality
from fasdk.errors import DatasetError

_SMALLEST_BOUND = 1e-6  # shown by three million attacks
_LEVEL_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class LevelTarget:
    """A security level and the APCER bound (ISO/IEC 30107-3) its threshold is held to.

    Attributes:
        level: Name of lower case letters, digits and hyphens, such as "standard".
        max_apcer: Largest one-sided 95 % upper bound of any PAI species' APCER, in [1e-6, 1).

    Raises:
        DatasetError: The name has other characters, or the bound is outside its range.
    """

    level: str
    max_apcer: float

    def __post_init__(self) -> None:
        """Check name and bound."""
        if not _LEVEL_NAME.fullmatch(self.level):
            raise DatasetError(f"level {self.level!r}: use lower case letters, digits and hyphens")
        if not _SMALLEST_BOUND <= self.max_apcer < 1.0:
            raise DatasetError(
                f"level {self.level}: APCER bound {self.max_apcer} is not in [{_SMALLEST_BOUND}, 1)"
            )


# The APCER at which BPCER10, BPCER20 and BPCER100 are customarily stated, asked of the bound and
# not of the rate. A species needs 29, 59 and 299 presentations at least, none of them accepted.
DEFAULT_TARGETS = (
    LevelTarget("convenience", 0.10),
    LevelTarget("standard", 0.05),
    LevelTarget("strict", 0.01),
)


@dataclass(frozen=True)
class Shortage:
    """A PAI species with too few presentations to support a bound.

    Attributes:
        species: Name of the species.
        attempts: Number of presentations there are.
        more: Number of further presentations needed if none of all is accepted.
    """

    species: str
    attempts: int
    more: int


@dataclass(frozen=True)
class Refusal:
    """A security level that the presentations do not support.

    Attributes:
        level: Name of the level.
        max_apcer: APCER bound that was asked for.
        modalities: Modalities of the captures, in model order.
        reason: Why, and what to do about it.
        shortages: Species with too few presentations; empty where that is not the reason.
    """

    level: str
    max_apcer: float
    modalities: tuple[Modality, ...]
    reason: str
    shortages: tuple[Shortage, ...] = ()

    @property
    def id(self) -> str:
        """Level and modalities, as an operating point is named."""
        return f"{self.level}/{_joined(self.modalities)}"

    @property
    def message(self) -> str:
        """One sentence with level, modalities and reason."""
        return refusal_messages([self])[0]


@dataclass(frozen=True)
class Shortfall:
    """Why presentations support no threshold, whatever the level is called.

    Attributes:
        reason: Why, and what to do about it.
        shortages: Species with too few presentations; empty where that is not the reason.
    """

    reason: str
    shortages: tuple[Shortage, ...] = ()

    @classmethod
    def too_few(
        cls, needed: int, attempts: dict[str, int], *, unit: str = "presentations"
    ) -> Shortfall:
        """Return the shortfall of species with too few presentations, as one sentence.

        Args:
            needed: Number of presentations each species needs if none of them is accepted.
            attempts: Number of presentations of each PAI species.
            unit: Name of what is counted, for the message.
        """
        short = {name: count for name, count in sorted(attempts.items()) if count < needed}
        if len(short) == len(attempts) and len(set(short.values())) == 1:
            held = f", has {next(iter(short.values()))}"
        else:
            of_count: dict[int, list[str]] = {}
            for name, count in short.items():
                of_count.setdefault(count, []).append(name)
            held = "; has " + ", ".join(
                f"{count} of {' and '.join(names)}" for count, names in sorted(of_count.items())
            )
        return cls(
            f"needs {needed} {unit} of every species{held}",
            tuple(Shortage(name, count, needed - count) for name, count in short.items()),
        )

    def of(self, target: LevelTarget, modalities: Sequence[Modality]) -> Refusal:
        """Return it as the refusal of one level."""
        return Refusal(
            target.level, target.max_apcer, tuple(modalities), self.reason, self.shortages
        )


def refusal_messages(refusals: Iterable[Refusal]) -> list[str]:
    """Return one sentence for all refusals that have the same reason.

    Such as "standard with rgb+depth+ir, rgb+ir needs 59 presentations of every species, has 20".
    """
    combinations: dict[tuple[str, str], list[str]] = {}  # by level and reason
    for refusal in refusals:
        reason = f"{' ' if refusal.shortages else ': '}{refusal.reason}"
        combinations.setdefault((refusal.level, reason), []).append(_joined(refusal.modalities))
    levels: dict[str, list[str]] = {}
    for (level, reason), held in combinations.items():
        levels.setdefault(f" with {', '.join(held)}{reason}", []).append(level)
    return [f"{', '.join(names)}{rest}" for rest, names in levels.items()]


def _joined(modalities: Sequence[Modality]) -> str:
    return "+".join(m.value for m in modalities)
