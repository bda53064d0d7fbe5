"""Rows of cells of delimited text: separators, quotes, comments and the header's line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fasdk.errors import DatasetError
from fasdk.lists.options import LINE_MARK
from fasdk.lists.words import column_of, is_frame_path, is_label, is_number

_SPACES = " "  # separated by any number of spaces and tabs
_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", _SPACES: "spaces"}
_SEPARATOR_LINE = re.compile(r"sep=(?P<mark>[;,|\t])")  # which spreadsheets write
_COMMENT = "#"


@dataclass(frozen=True)
class CellRow:
    """Cells of one row.

    Attributes:
        line: Number of the line it begins in, from 1.
        cells: Text of each, without the spaces around unquoted ones.
    """

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """Rows of a delimited list.

    Attributes:
        header: Names of the columns, None where no line names them.
        rows: All other rows; each as long as the header, or all of one length.
        notes: What was decided about the form.
    """

    header: tuple[str, ...] | None
    rows: tuple[CellRow, ...]
    notes: tuple[str, ...]


def read_cells(text: str, path: Path) -> Cells:
    """Return the rows of a list whose columns are separated by a mark or by spaces.

    The separator is the one that makes the first line a header of known columns, else the one by
    which every row has the same number of cells and one of them names an image.

    Raises:
        DatasetError: A quote is not closed, rows have different numbers of cells, or no
            separator makes rows of one length.
    """
    lines = [line for line in text.split("\n") if line.strip() and not _is_comment(line)]
    if not lines:
        return Cells(None, (), ())
    told = _SEPARATOR_LINE.fullmatch(lines[0].strip())
    if told is not None:
        lines = lines[1:]
    if not lines:
        return Cells(None, (), ())
    candidates = [told["mark"]] if told is not None else list(_SEPARATORS)
    first_line = next(n for n, line in enumerate(text.split("\n"), 1) if line == lines[0])
    hidden = _commented_header(text, first_line, lines[0], candidates)
    if hidden is not None:
        mark, header = hidden
        rows = list(_rows(text, mark, path, told is not None))
        return Cells(header, _fitted(rows, header, path), _notes(mark, ("a # stands before it",)))
    for mark in _by_header(lines[0], candidates):
        header_row, *rows = _rows(text, mark, path, told is not None)
        header = header_row.cells
        repeated = len(rows)
        rows = [row for row in rows if row.cells != header]
        repeated -= len(rows)
        if len(header) > 1 and not header[-1]:
            header = header[:-1]
        more = ("it is repeated between rows",) if repeated else ()
        return Cells(header, _fitted(rows, header, path), _notes(mark, more))
    for mark in candidates:
        if len(_split(lines[0], mark)) < 2:
            continue
        even = _even_rows(text, mark, path, told is not None)
        if even is not None:
            return Cells(None, tuple(even), _notes(mark))
    rows = [CellRow(row.line, (" ".join(row.cells),)) for row in _rows(text, "\0", path, False)]
    if all(is_frame_path(row.cells[0]) for row in rows):
        return Cells(None, tuple(rows), ())
    raise _no_separator(text, candidates, path)


def _even_rows(text: str, mark: str, path: Path, has_separator_line: bool) -> list[CellRow] | None:
    """Return rows of one length with a column of frames, None where a mark does not give them."""
    try:
        rows = list(_rows(text, mark, path, has_separator_line))
    except DatasetError:  # a quote that is none by this mark
        return None
    if mark == _SPACES:
        rows = _with_spaces_in_paths(_with_bona_fide_joined(rows))
    rows = _without_last_empty(rows)
    widths = {len(row.cells) for row in rows}
    return rows if len(widths) == 1 and max(widths) > 1 and _names_frames(rows) else None


def _notes(mark: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    named = () if mark == "," else (f"columns are separated by {_SEPARATORS[mark]}",)
    return (*named, *(f"the header's line is read although {each}" for each in more))


def _by_header(line: str, candidates: Sequence[str]) -> Sequence[str]:
    """Return the separator by which a line is a header of known columns, or none."""
    best, known = "", 0
    for mark in candidates:
        count = _known_columns(_split(line, mark))
        if count > known:
            best, known = mark, count
    return [best] if known else []


def _known_columns(cells: Sequence[str]) -> int:
    """Return how many cells name a column; 0 for a line that is no header."""
    if any(is_frame_path(cell) or is_number(cell) for cell in cells):
        return 0
    return sum(column_of(cell) is not None for cell in cells)


def _commented_header(
    text: str, first_line: int, first: str, candidates: Sequence[str]
) -> tuple[str, tuple[str, ...]] | None:
    """Return a header that stands behind a # before the first row, which is none itself."""
    if _by_header(first, candidates):
        return None
    for line in text.split("\n")[: first_line - 1]:
        body = line.strip().removeprefix("#").strip()
        if line.strip().startswith("#") and not body.startswith(LINE_MARK):
            for mark in _by_header(body, candidates):
                header = _split(body, mark)
                if _known_columns(header) >= 2 and len(header) == len(_split(first, mark)):
                    return mark, header
    return None


def _split(line: str, mark: str) -> tuple[str, ...]:
    cells = line.split() if mark == _SPACES else line.split(mark)
    return tuple(cell.strip().strip("\"'").strip() for cell in cells)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_COMMENT)


def _rows(text: str, mark: str, path: Path, has_separator_line: bool) -> Iterator[CellRow]:
    """Yield every row but comments and empty ones."""
    lines = text.split("\n")
    index = 0
    skipped_separator = not has_separator_line
    while index < len(lines):
        line, number = lines[index], index + 1
        index += 1
        if not line.strip() or _is_comment(line):
            continue
        if not skipped_separator:
            skipped_separator = True
            continue
        if '"' not in line and "'" not in line:
            raw = line.split() if mark == _SPACES else line.split(mark)
            cells = [cell.strip() for cell in raw]
        else:
            cells, index = _quoted_cells(lines, index - 1, mark, path)
        if any(cells):
            yield CellRow(number, tuple(cells))


def _quoted_cells(lines: Sequence[str], at: int, mark: str, path: Path) -> tuple[list[str], int]:
    """Return the cells of a row with quotes, and the index of the line after it."""
    cells: list[str] = []
    line, number, position = lines[at], at + 1, 0
    while True:
        position = _skip_spaces(line, position, mark)
        quote = line[position : position + 1]
        end = _closing(line, position, quote, mark) if quote in ('"', "'") else None
        if quote == '"' and end is None:
            # A quoted cell may hold line ends.
            if at + 1 == len(lines):
                raise DatasetError(f"{path}:{number}: unexpected end of data: a quote stays open")
            at += 1
            line = f"{line}\n{lines[at]}"
            continue
        if end is None:
            stop = _next_mark(line, position, mark)
            cells.append(line[position:stop].strip())
        else:
            cells.append(line[position + 1 : end].replace(quote * 2, quote))
            stop = _skip_spaces(line, end + 1, mark, within=True)
            if stop < len(line) and not _is_mark(line[stop], mark):
                raise DatasetError(
                    f"{path}:{number}: text stands behind a closing quote: "
                    f"{line[position : stop + 8]!r}"
                )
        if stop >= len(line):
            return cells, at + 1
        position = stop + 1
        if mark == _SPACES and _skip_spaces(line, position, mark) >= len(line):
            return cells, at + 1


def _closing(line: str, start: int, quote: str, mark: str) -> int | None:
    """Return where a quote that opens a cell is closed, None where it is not.

    A single quote quotes only where a separator or the end stands behind the closing one.
    """
    at = start + 1
    while True:
        at = line.find(quote, at)
        if at < 0:
            return None
        if line[at + 1 : at + 2] == quote:
            at += 2
            continue
        behind = line[at + 1 :].lstrip(" ")
        if quote == '"' or not behind or _is_mark(line[at + 1], mark) or _is_mark(behind[0], mark):
            return at
        at += 1


def _is_mark(letter: str, mark: str) -> bool:
    return letter in " \t" if mark == _SPACES else letter == mark


def _next_mark(line: str, at: int, mark: str) -> int:
    while at < len(line) and not _is_mark(line[at], mark):
        at += 1
    return at


def _skip_spaces(line: str, at: int, mark: str, *, within: bool = False) -> int:
    while at < len(line) and line[at] in " \t" and line[at] != mark:
        if within and mark == _SPACES:
            break
        at += 1
    if mark == _SPACES and not within:
        while at < len(line) and line[at] in " \t":
            at += 1
    return at


def _fitted(rows: Sequence[CellRow], header: Sequence[str], path: Path) -> tuple[CellRow, ...]:
    """Return rows as long as the header; separators behind the last cell are dropped."""
    fitted: list[CellRow] = []
    faults: list[str] = []
    for row in rows:
        cells = row.cells
        while len(cells) > len(header) and not cells[-1]:
            cells = cells[:-1]
        if len(cells) != len(header):
            faults.append(f"{path}:{row.line}: has {len(cells)} cells, the header {len(header)}")
        fitted.append(CellRow(row.line, cells))
    if faults:
        raise DatasetError("; ".join(faults[:10]))
    return tuple(fitted)


def _without_last_empty(rows: Sequence[CellRow]) -> list[CellRow]:
    if all(len(row.cells) > 1 and not row.cells[-1] for row in rows):
        return [CellRow(row.line, row.cells[:-1]) for row in rows]
    return list(rows)


def _with_bona_fide_joined(rows: Sequence[CellRow]) -> list[CellRow]:
    """Join the two words of a label."""
    joined = []
    for row in rows:
        cells = list(row.cells)
        words = [cell.lower() for cell in cells]
        for at in range(len(words) - 1):
            if words[at : at + 2] == ["bona", "fide"]:
                cells[at : at + 2] = ["bona fide"]
                break
        joined.append(CellRow(row.line, tuple(cells)))
    return joined


def _with_spaces_in_paths(rows: Sequence[CellRow]) -> list[CellRow]:
    """Join words that are no number and no label with those behind them, up to an image's name."""
    if len({len(row.cells) for row in rows}) == 1:
        return list(rows)
    joined: list[CellRow] = []
    for row in rows:
        cells: list[str] = []
        pending: list[str] = []
        for cell in row.cells:
            pending.append(cell)
            alone = len(pending) == 1 and (is_number(cell) or is_label(cell))
            if is_frame_path(cell) or alone:
                cells.append(" ".join(pending))
                pending = []
        joined.append(CellRow(row.line, (*cells, *pending)))
    return joined


def _names_frames(rows: Sequence[CellRow]) -> bool:
    width = len(rows[0].cells)
    return any(all(is_frame_path(row.cells[i]) for row in rows) for i in range(width))


def _no_separator(text: str, candidates: Sequence[str], path: Path) -> DatasetError:
    for mark in candidates:
        rows = list(_rows(text, mark, path, False))
        if not rows:
            continue
        widths = Counter(len(row.cells) for row in rows)
        usual = widths.most_common(1)[0][0]
        if usual > 1 and any(map(is_frame_path, rows[0].cells)):
            row = next((r for r in rows if len(r.cells) != usual), rows[0])
            if len(row.cells) != usual:
                return DatasetError(
                    f"{path}:{row.line}: does not split as the other lines do: it has "
                    f"{len(row.cells)} cells by {_SEPARATORS[mark]}, most lines {usual}: put paths "
                    "with spaces into double quotes, and write every column in every line"
                )
    number = next(
        n for n, line in enumerate(text.split("\n"), 1) if line.strip() and not _is_comment(line)
    )
    body = text.split("\n")[number - 1]
    return DatasetError(
        f"{path}:{number}: {body[:200]!r} is neither a header of known columns nor a line that "
        "names an image: write a header such as `rgb,depth,ir,label` as the first line"
    )
