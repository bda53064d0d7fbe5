"""Score files of delimited text: the separator, comments and the first row."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk_calibration.metrics.score_columns import is_index, names_a_role
from fasdk_calibration.metrics.score_labels import is_label
from fasdk_calibration.metrics.score_numbers import is_number
from fasdk_calibration.metrics.score_rows import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "spaces"}
_COMMENT = re.compile(r"[#%]|//\s")  # a path may begin with //
_RULE = re.compile(r"[\s|:+=-]*-[\s|:+=-]*")  # below the header of a Markdown table
_SAMPLE = 1000  # rows that are looked at to choose the separator


@dataclass(frozen=True)
class _Line:
    number: int
    text: str


@dataclass(frozen=True)
class _Row:
    number: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class _Split:
    """A text split by one separator.

    Attributes:
        separator: The separator.
        rows: Its rows; of a text that does not split, those before `error`.
        error: The line that does not split, and why.
    """

    separator: str
    rows: tuple[_Row, ...]
    error: str = ""

    @property
    def even(self) -> bool:
        """Whether every row has as many fields as the first, at least two."""
        widths = {len(row.fields) for row in self.rows}
        return not self.error and len(widths) == 1 and widths.pop() > 1

    def plausible_columns(self) -> int:
        """Return 2 where a column of scores and one of labels stand apart, 1 for scores alone."""
        body = self.rows[1:_SAMPLE] or self.rows
        columns = list(zip(*(row.fields for row in body), strict=True))
        numbers = {i for i, texts in enumerate(columns) if _mostly(is_number, texts)}
        labels = {i for i, texts in enumerate(columns) if _mostly(is_label, texts)}
        if any(labels - {score} for score in numbers):
            return 2
        return 1 if numbers else 0

    def has_decimal_commas(self) -> bool:
        """Return whether a column of numbers has commas in them."""
        body = self.rows[1:_SAMPLE] or self.rows
        columns = zip(*(row.fields for row in body), strict=True)
        return any(
            all(map(is_number, texts)) and any("," in text for text in texts) for texts in columns
        )


def read_delimited(text: str, path: Path) -> Table:
    """Split a text into rows by the separator that leaves scores and labels in columns.

    Blank lines are left out, and lines that begin with `#`, `%` or `//`; a comment directly above
    the rows that names columns is their header.

    Raises:
        DatasetError: The text is empty, or a row does not split into the columns of the first.
    """
    lines, comments = _lines(text)
    if not lines:
        raise DatasetError(f"{path} is empty: a first row with score, label, species is expected")
    said = re.fullmatch(r"sep=(.)\s*", lines[0].text, re.IGNORECASE)
    separators = list(_SEPARATORS)
    if said is not None:
        separators, lines = [said[1]], lines[1:]
        if not lines:
            raise DatasetError(f"{path} is empty below its line {said[0].strip()!r}")
    sampled = [_split(lines[:_SAMPLE], separator) for separator in separators]
    chosen = _split(lines, _chosen(sampled).separator)
    notes = []
    chosen, note = _without_row_names(_without_last_separators(chosen))
    rows = _of_one_width(chosen, path)
    above = [line for line in comments if line.number < rows[0].number]
    names_row = _commented_names(above, rows, chosen.separator)
    if len(comments) > (names_row is not None):
        notes.append(f"{len(comments) - (names_row is not None)} comments left out")
    if note:
        notes.append(note)
    if names_row is not None:
        notes.append("column names taken from the comment above the rows")
    elif _is_header(rows):
        names_row, rows = rows[0], rows[1:]
    if names_row is None and chosen.separator == ",":
        _require_no_split_numbers(rows, path)
    width = len(names_row.fields if names_row else rows[0].fields)
    if width > 1 and chosen.separator != ",":
        notes.append(f"separated by {_SEPARATORS.get(chosen.separator, repr(chosen.separator))}")
    return Table(
        path=path,
        names=None if names_row is None else names_row.fields,
        rows=tuple(row.fields for row in rows),
        places=tuple(f"{path}:{row.number}" for row in rows),
        names_place=f"{path}:{rows[0].number if names_row is None else names_row.number}",
        notes=tuple(notes),
    )


def _lines(text: str) -> tuple[list[_Line], list[_Line]]:
    """Return the lines that hold rows, and the comments."""
    lines: list[_Line] = []
    comments: list[_Line] = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        stripped = line.strip("\r\n \ufeff")
        if not stripped.strip():
            continue
        if _COMMENT.match(stripped):
            comments.append(_Line(number, stripped.lstrip("#%/ ")))
        elif not (lines and _RULE.fullmatch(stripped)):
            lines.append(_Line(number, stripped))
    return lines, comments


def _split(lines: Sequence[_Line], separator: str) -> _Split:
    rows: list[_Row] = []
    source = _Source(lines, separator)
    reader = csv.reader(
        source, delimiter=separator, strict=True, skipinitialspace=separator != "\t"
    )
    try:
        for fields in reader:
            stripped = tuple(text.strip() for text in fields)
            if any(stripped):
                rows.append(_Row(source.number, stripped))  # before a fault, hence one by one
    except csv.Error as error:
        return _Split(separator, tuple(rows), f"{source.number}: does not split as CSV: {error}")
    return _Split(separator, tuple(rows))


class _Source:
    """Lines for `csv.reader`, with the number of the last one it took."""

    def __init__(self, lines: Sequence[_Line], separator: str) -> None:
        self._lines = lines
        self._separator = separator
        self._has_outer_bars = separator == "|" and all(
            line.text.startswith("|") and line.text.endswith("|") for line in lines
        )
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number = line.number
            text = line.text
            if self._separator == " ":
                text = re.sub(r"\s+", " ", text)
            elif self._has_outer_bars:
                text = text[1:-1]
            else:
                text = re.sub(rf" +{re.escape(self._separator)}", self._separator, text)
            yield text + "\n"


def _chosen(splits: Sequence[_Split]) -> _Split:
    even = [split for split in splits if split.even]
    if even:
        most = max(map(_Split.plausible_columns, even))
        best = [split for split in even if split.plausible_columns() == most]
        # What splits 0,93|live into numbers with decimal commas comes before the comma.
        return next((split for split in best if split.has_decimal_commas()), best[0])
    return max(splits, key=lambda split: len(split.rows[0].fields) if split.rows else 0)


def _without_last_separators(split: _Split) -> _Split:
    """Return a split without the empty field that a separator at the end of each row leaves."""
    header, body = split.rows[:1], split.rows[1:]
    widths = {len(row.fields) for row in body}
    ends = all(len(row.fields) > 1 and not row.fields[-1] for row in body)
    if not (header and body and ends and widths == {len(header[0].fields) + 1}):
        return split
    cut = (_Row(row.number, row.fields[:-1]) for row in body)
    return replace(split, rows=(*header, *cut))


def _without_row_names(split: _Split) -> tuple[_Split, str]:
    """Return a split whose header also names the column of row names, as R leaves it unnamed.

    R separates by spaces or tabs. Between commas, one field too many is a decimal comma's.
    """
    header, body = split.rows[:1], split.rows[1:]
    widths = {len(row.fields) for row in body}
    fits = header and body and widths == {len(header[0].fields) + 1}
    if not fits or split.separator not in " \t":
        return split, ""
    first = [row.fields[0] for row in body]
    counted = first == [str(number) for number in range(1, len(first) + 1)] and len(first) > 2
    named = len(set(first)) == len(first) and not any(map(is_number, first))
    if not (counted or named) or not any(map(names_a_role, header[0].fields)):
        return split, ""
    named_header = _Row(header[0].number, ("", *header[0].fields))
    return replace(split, rows=(named_header, *body)), "first column taken as row names"


def _of_one_width(split: _Split, path: Path) -> list[_Row]:
    width = len(split.rows[0].fields) if split.rows else 0
    for row in split.rows:
        if len(row.fields) != width:
            hint = ""
            if split.separator == " ":
                hint = ": separate columns by tabs where a path holds spaces"
            elif split.separator == "," and len(row.fields) == width + 1:
                hint = ": where a comma is the decimal sign, separate columns by semicolons"
            raise DatasetError(
                f"{path}:{row.number}: {len(row.fields)} fields, expected {width} as in the "
                f"first row{hint}"
            )
    if split.error:
        raise DatasetError(f"{path}:{split.error}")
    return list(split.rows)


def _require_no_split_numbers(rows: Sequence[_Row], path: Path) -> None:
    """Refuse columns of whole numbers that may be the halves of numbers with a decimal comma."""
    columns = list(zip(*(row.fields for row in rows), strict=True))
    if len(columns) < 3 or any(is_number(text) and "." in text for text in rows[0].fields):
        return
    for index, (whole, part) in enumerate(itertools.pairwise(columns)):
        halves = all(re.fullmatch(r"[+-]?\d+", text) for text in whole) and all(
            re.fullmatch(r"\d+", text) for text in part
        )
        if halves and not is_index(whole) and any(len(text) > 1 for text in part):
            raise DatasetError(
                f"{path}:{rows[0].number}: columns {index + 1} and {index + 2} may be one number "
                "with a decimal comma: separate columns by semicolons, or name them in the first "
                "row"
            )


def _commented_names(
    comments: Sequence[_Line], rows: Sequence[_Row], separator: str
) -> _Row | None:
    if not comments or _is_header(rows):
        return None
    for row in _split(comments[-1:], separator).rows:
        if len(row.fields) == len(rows[0].fields) and any(map(names_a_role, row.fields)):
            return row
    return None


def _is_header(rows: Sequence[_Row]) -> bool:
    """Return whether the first row names columns: by its words, or as the one without numbers."""
    first, body = rows[0].fields, rows[1:_SAMPLE]
    if any(map(names_a_role, first)):
        return True
    columns = zip(*(row.fields for row in body), strict=True)
    return any(
        not is_number(name) and _mostly(is_number, texts)
        for name, texts in zip(first, columns, strict=False)
    )


def _mostly(check: Callable[[str], bool], texts: Sequence[str]) -> bool:
    return 2 * sum(map(check, texts)) > len(texts)
