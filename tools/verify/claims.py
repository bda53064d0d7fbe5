"""Measured claims, one JSON line each, printed and recorded."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    """

    claim: str
    measured: Any
    comparison: str
    limit: Any
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the claim holds; what was not measured does not."""
        if self.measured is None:
            return False
        return bool(_COMPARISONS[self.comparison](self.measured, self.limit))

    def to_json(self) -> str:
        """Return the claim as one JSON line."""
        measured = self.measured
        if isinstance(measured, float):
            measured = float(f"{measured:.4g}")
        line = {
            "claim": self.claim,
            "measured": measured,
            "limit": f"{self.comparison} {self.limit}",
            "ok": self.ok,
        }
        return json.dumps(line | ({"note": self.note} if self.note else {}))


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
            missed += not claim.ok
        recorder.replace(name, lines)
    return 1 if missed else 0


def _measured(name: str, measure: Callable[[], Iterator[Claim]]) -> Iterator[Claim]:
    try:
        yield from measure()
    except Exception as error:  # noqa: BLE001 - whatever broke, the claims were not shown
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        yield Claim(f"{name} could be measured", None, "==", True, reason)
