"""Markdown of a report: the same parts as its page, for a repository or a model hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasdk.plain_text import plain_line
from fasdk_tools.model_card.sections import SIGNATURE, bundle_sections, signing_parts
from fasdk_tools.report.figures import Figures, write
from fasdk_tools.report.parts import Absent, Facts, Figure, Heading, Notice, Sentences, Table

if TYPE_CHECKING:
    from fasdk_tools.report.parts import Cell, Part

# What Markdown or HTML inside it would act on, wherever it stands in a line.
_ACTS = re.compile(r"([\\`*_{}\[\]<>|#~&!])")


def model_card(document: Mapping[str, Any], title: str) -> str:
    """Return a report as one Markdown file.

    Args:
        document: Document of the report.
        title: First heading.
    """
    figures = Figures(document)
    lines = [f"# {_text(title)}", "", f"Made {document['made']} by {_text(document['tool'])}.", ""]
    for bundle in bundle_sections(document):
        lines += [f"## {_text(bundle.title)}", ""]
        for section in bundle.sections:
            lines += [f"### {_text(section.title)}", ""]
            lines += _parts(section.parts, figures, 4)
    lines += ["## To sign", "", *_parts(signing_parts(document), figures, 3)]
    lines += _table(["", ""], [[field, ""] for field in SIGNATURE], [False, False])
    return "\n".join(lines).rstrip() + "\n"


def _parts(parts: Sequence[Part], figures: Figures, level: int) -> Iterator[str]:
    for part in parts:
        match part:
            case Heading():
                yield f"{'#' * level} {_text(part.text)}"
                yield ""
            case Facts():
                for name, value in part.pairs:
                    yield f"- {_text(name)}: {_cell(value, figures)}"
                yield ""
            case Sentences():
                yield from (f"- {_text(text)}" for text in part.texts)
                yield ""
            case Notice():
                yield f"> **{_text(part.text)}**"
                yield ""
            case Absent():
                yield f"*Absent.* {_text(part.text)}"
                yield ""
            case Table():
                yield f"{_text(part.caption)}:"
                yield ""
                yield from _table(
                    [_text(column.title) for column in part.columns],
                    [[_cell(value, figures) for value in row] for row in part.rows],
                    [column.is_number for column in part.columns],
                )


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]
) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"| {' | '.join('---:' if is_number else '---' for is_number in numbers)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _cell(value: Cell, figures: Figures) -> str:
    if value is None:
        return "*absent*"
    if isinstance(value, Figure):
        found = figures.get(value.path)
        return "*absent*" if found is None else _text(write(value.form, found))
    return _text(value)


def _text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _ACTS.sub(r"\\\1", plain_line(text))
