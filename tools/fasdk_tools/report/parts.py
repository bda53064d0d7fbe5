"""Parts of a page that are also parts of a Markdown file: facts, tables, sentences, notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Figure:
    """A figure of the document that a page embeds.

    Attributes:
        form: How it is written; see `figures.write`.
        path: Where it stands in the document.
    """

    form: str
    path: tuple[str | int, ...]


Cell = str | Figure | None
"""Words, a figure, or None for what is absent."""


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, Cell]]


@dataclass(frozen=True)
class Column:
    """Title of a column, and whether it holds numbers."""

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row names it.

    Attributes:
        caption: What the table holds; unique on the page.
        columns: One a cell.
        rows: At least one.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Sentences:
    """Sentences, each an entry of a list."""

    kind: ClassVar[str] = "sentences"
    texts: Sequence[str]


@dataclass(frozen=True)
class Notice:
    """What a reader must not miss.

    Attributes:
        tone: "warning", "good" or "note".
        text: The words.
    """

    kind: ClassVar[str] = "notice"
    tone: str
    text: str


@dataclass(frozen=True)
class Absent:
    """What is not there, and how to get it."""

    kind: ClassVar[str] = "absent"
    text: str


Part = Heading | Facts | Table | Sentences | Notice | Absent


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        key: Id of the heading, unique on the page.
        title: The heading.
        parts: What stands below it.
    """

    key: str
    title: str
    parts: Sequence[Part]


def words(*titles: str) -> list[Column]:
    """Return columns of words."""
    return [Column(title) for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(title, is_number=True) for title in titles]
