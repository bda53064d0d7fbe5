"""Reference of the reason codes, generated from their enumeration."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from markup import GENERATED, first_sentence, table

from fasdk import Reason

_GUIDE = Path("docs") / "guide" / "integrate.md"
_ROW = re.compile(r"^\| `([\w-]+)` \| ([^|]+) \|", flags=re.MULTILINE)


def render(root: Path) -> str:
    """Return the page: every code with what the enumeration says of it and what it means."""
    # The words are the integration guide's, which says beside each what to show and who fixes it.
    section = (root / _GUIDE).read_text("utf-8").split("\n## Reasons\n")[1].split("\n## ")[0]
    meanings = dict(_ROW.findall(section))
    absent = [reason.value for reason in Reason if reason.value not in meanings]
    if absent:
        raise SystemExit(f"{_GUIDE}: no row for {', '.join(absent)}: add one under Reasons")
    asked = [name for name, value in vars(Reason).items() if _is_property(name, value)]
    rows = [
        (
            f"`{reason.value}`",
            f"`Reason.{reason.name}`",
            meanings[reason.value].strip(),
            *(_shown(getattr(reason, name)) for name in asked),
        )
        for reason in Reason
    ]
    parts = [
        GENERATED,
        "# Reason codes\n",
        "Why a decision is not a plain LIVE or SPOOF: `decision.codes` holds these, the most "
        "useful "
        "first. [The integration guide](../guide/integrate.md#reasons) says what to tell the "
        "person "
        "or whom to call.\n",
        table(("code", "in Python", "means", *(f"`{name}`" for name in asked)), rows),
    ]
    parts += [f"- `{name}`: {first_sentence(getattr(Reason, name).__doc__)}" for name in asked]
    return "\n".join(parts) + "\n"


def _is_property(name: str, value: object) -> bool:
    return isinstance(value, property) and not name.startswith("_") and name not in vars(Enum)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value.value if isinstance(value, Enum) else value)
