"""Measured claims, one JSON line each, printed and recorded."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from recording import Recorder

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True)
class Claim:
    """One figure held against its limit.

    Attributes:
        claim: Text of the claim, with its unit.
        measured: Measured value; None when it could not be measured here.
        comparison: Comparison that must hold between `measured` and `limit`.
        limit: Bound on `measured`.
        note: Method of the measurement, or what is missing for it.
        skipped: Why the claim cannot be tried on this machine; it then neither holds nor is missed.
        figures: Further figures of the measurement by name, with the unit in the name.
    """

    claim: str
    measured: Any
    comparison: str
    limit: Any
    note: str = ""
    skipped: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool | None:
        """Whether the claim holds; what was not measured does not, None where it was not tried."""
        if self.skipped:
            return None
        if self.measured is None:
            return False
        return bool(_COMPARISONS[self.comparison](self.measured, self.limit))

    def to_json(self) -> str:
        """Return the claim as one JSON line."""
        line: dict[str, Any] = {
            "claim": self.claim,
            "measured": _short(self.measured),
            "limit": f"{self.comparison} {_short(self.limit)}",
            "ok": self.ok,
        }
        line |= {"note": self.note} if self.note else {}
        line |= {"skipped": self.skipped} if self.skipped else {}
        return json.dumps(line | {name: _short(value) for name, value in self.figures.items()})


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def report(groups: dict[str, Callable[[], Iterator[Claim]]]) -> int:
    """Print and record every claim of every group and return the exit status.

    A group that raises is a missed claim of its own, so that one fault hides nothing else.
    """
    recorder = Recorder.from_environment()
    missed = 0
    for name, measure in groups.items():
        lines = []
        for claim in _measured(name, measure):
            lines.append(claim.to_json())
            print(lines[-1], flush=True)
            missed += claim.ok is False
        recorder.replace(name, lines)
    return 1 if missed else 0


def _measured(name: str, measure: Callable[[], Iterator[Claim]]) -> Iterator[Claim]:
    try:
        yield from measure()
    except Exception as error:  # noqa: BLE001 - whatever broke, the claims were not shown
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        yield Claim(f"{name} could be measured", None, "==", True, reason)
