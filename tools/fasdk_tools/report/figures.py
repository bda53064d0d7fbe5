"""Figures that name their source in the document a page embeds.

A figure on the page stands in a `<data>` element whose `data-path` is a JSON pointer (RFC 6901)
into the embedded document, so that what is read and what is machine-read cannot part ways unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Path = Sequence[str | int]


@dataclass(frozen=True)
class Figures:
    """Looks figures up in the record the page is about."""

    record: object

    def get(self, path: Path) -> Any:
        """Return what stands at a path of attribute names, keys and indices."""
        found: Any = self.record
        for step in path:
            if isinstance(step, int) or isinstance(found, dict):
                found = found[step]
            else:
                found = getattr(found, step)
        return found

    def pointer(self, path: Path) -> str:
        """Return a path as a JSON pointer."""
        return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def write(form: str, value: Any) -> str:
    """Return a figure as the page writes it.

    Args:
        form: "percent", "whole", "score", "thousandths", "rate" or "text".
        value: The figure.
    """
    if form == "percent":
        return f"{100 * value:.2f} %"
    if form == "whole":
        return f"{value:,}"
    if form == "score":
        return f"{value:.6f}"
    if form == "thousandths":
        return f"{value:,.3f}"
    if form == "rate":
        return f"{value:,.1f}"
    return str(value)
