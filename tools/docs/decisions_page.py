"""Index of the design decisions, generated from their headings."""

from __future__ import annotations

from pathlib import Path

from markup import GENERATED, table

FOLDER = Path("docs") / "design" / "decisions"


def render(root: Path) -> str:
    """Return the page: number, title and area of every decision in the folder."""
    areas: dict[str, list[tuple[str, str]]] = {}
    for page in sorted((root / FOLDER).glob("[0-9]*.md")):
        lines = page.read_text("utf-8").splitlines()
        title = lines[0].removeprefix("# ")
        area = lines[2].removeprefix("Area: ")
        areas.setdefault(area, []).append((page.stem[:4], f"[{title}]({page.name})"))
    parts = [
        GENERATED,
        "# Decisions\n",
        "What was decided and why, one page a decision. A decision that no longer holds stays, and "
        "says which one replaced it. To add one, take the next number and copy the form.\n",
    ]
    for area, rows in areas.items():
        parts += [f"## {area}\n", table(("", "decision"), rows)]
    parts.append("```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n")
    return "\n".join(parts)
