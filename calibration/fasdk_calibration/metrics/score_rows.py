"""A score file's rows before any column has a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fasdk.lists.class_words import says_bona_fide


@dataclass(frozen=True)
class Table:
    """Rows of equal length.

    Attributes:
        path: The file read.
        names: Names of the columns; None where the file names none.
        rows: Texts of each row, stripped.
        places: File and line, or entry, of each row, for messages.
        names_place: File and line of the names.
        notes: What was taken without being asked, one phrase each.
    """

    path: Path
    names: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]
    names_place: str
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names if self.names is not None else self.rows[0])

    def column(self, index: int) -> tuple[str, ...]:
        """Return a column's texts."""
        return tuple(row[index] for row in self.rows)

    def label_of(self, index: int) -> str:
        """Return how a message calls a column: by name, or by number from 1."""
        return str(index + 1) if self.names is None else repr(self.names[index])

    def with_notes(self, *notes: str) -> Table:
        """Return the table with further notes; empty ones are left out."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note)))


def rows_by_class(lists: Mapping[str, Sequence[str]], path: Path) -> Table | None:
    """Return the rows of two lists of scores, one for each class, such as genuine and impostor.

    Args:
        lists: Texts of each list, by name.
        path: File they stand in.

    Returns:
        None where they are no such lists: of equal length they may as well be two columns.
    """
    if len(lists) != 2 or {says_bona_fide(name) for name in lists} != {True, False}:
        return None
    if len({len(texts) for texts in lists.values()}) == 1:
        return None
    numbered = [
        (name, number, text)
        for name, texts in lists.items()
        for number, text in enumerate(texts, 1)
    ]
    return Table(
        path=path,
        names=("score", "label"),
        rows=tuple((text, name) for name, _, text in numbered),
        places=tuple(f"{path}: {name!r}, entry {number}" for name, number, _ in numbered),
        names_place=str(path),
        notes=("one list of scores for each class",),
    )
