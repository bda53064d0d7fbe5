"""Tables and wrapped text that break no word and cut no line at any terminal width.

A column is never narrower than its longest word. Columns for which that leaves no room, and columns
of long text, become lines below the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fasdk.plain_text import plain_line
from fasdk_tools.terminal.numbers import format_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

_GAP = 2  # spaces between two columns
_INDENT = 2
_NUMBER = re.compile(r"-|[-+]?[\d,.]+(e[-+]\d+)?( \S{1,6})?")
_SHORT = 16  # a cell of at most so many characters, such as "101 GFLOP", stays on one line


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Header of the column.
        wide: Whether it is shown with `--wide` alone.
        below: Whether its values are lines below the table, because they are long texts.
        label: Whether its value names the row in such lines.
    """

    name: str
    wide: bool = False
    below: bool = False
    label: bool = False


def wrap(text: str, width: int, *, indent: int = 0, hanging: int = 0) -> list[str]:
    """Return text in lines of at most `width` cells; a longer word gets a line of its own.

    Args:
        text: Text; a line feed in it is shown as an escape, so that no line is forged.
        width: Cells in a line, indentation included.
        indent: Spaces before the first line.
        hanging: Spaces before every other line.
    """
    lines: list[str] = []
    line = ""
    for word in plain_line(text).split():
        room = width - (hanging if lines else indent)
        if line and cell_len(line) + 1 + cell_len(word) > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    return [
        (" " * (hanging if number else indent) + line).rstrip() for number, line in enumerate(lines)
    ]


def field_lines(fields: Mapping[str, object], width: int) -> Iterator[RenderableType]:
    """Yield names and values as lines; a value that does not fit beside its name goes below it."""
    texts = {plain_line(name): format_value(value) for name, value in fields.items()}
    start = _INDENT + max(map(cell_len, texts), default=0) + _GAP
    for name, text in texts.items():
        title = Text(" " * _INDENT).append(name, style="bold")
        if start + _longest_word(text) <= width:
            first, *rest = wrap(text, width, indent=start, hanging=start)
            yield title.append(first[title.cell_len :])
        else:
            yield title
            rest = wrap(text, width, indent=2 * _INDENT, hanging=2 * _INDENT)
        yield from map(Text, rest)


def table_lines(
    columns: Sequence[str | Column], rows: Sequence[Sequence[object]], width: int, *, wide: bool
) -> Iterator[RenderableType]:
    """Yield a table of at most `width` cells and the lines below it.

    Args:
        columns: Columns, or their names; the first names its row unless others are labels.
        rows: Values of every row, one a column.
        width: Width of the terminal in character cells.
        wide: Whether columns marked `wide` are shown.
    """
    given = [each if isinstance(each, Column) else Column(each) for each in columns]
    chosen = [replace(each, name=plain_line(each.name)) for each in given]
    kept = [i for i, each in enumerate(chosen) if wide or not each.wide]
    cells = [[format_value(value) for value in row] for row in rows]
    least = {i: _least_width(chosen[i].name, [row[i] for row in cells]) for i in kept}
    shown = [i for i in kept if not chosen[i].below]
    labels = [i for i in shown if chosen[i].label] or shown[:1]
    room = width - _INDENT
    while len(shown) > len(labels) and _total(least[i] for i in shown) > room:
        shown.remove(max((i for i in shown if i not in labels), key=lambda i: (least[i], i)))
    natural = [max(map(cell_len, (chosen[i].name, *(r[i] for r in cells)))) for i in shown]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    widths = dict(zip(shown, _fit(natural, [least[i] for i in shown], room), strict=True))
    numeric = {i for i in shown if rows and all(_NUMBER.fullmatch(row[i]) for row in cells)}
    for i, column_width in widths.items():
        header = _cell(chosen[i].name, column_width, is_number=i in numeric)
        table.add_column(header, width=column_width, no_wrap=True, overflow="ignore")
    for row in cells:
        table.add_row(*(_cell(row[i], w, is_number=i in numeric) for i, w in widths.items()))
    yield Padding(table, (0, 0, 0, _INDENT), expand=False)
    for i in kept:
        if i not in shown:
            name = wrap(chosen[i].name, width, indent=_INDENT, hanging=_INDENT)
            yield from (Text(line, style="bold") for line in name)
            for value, names in _rows_by_value(cells, i, labels).items():
                text = f"{', '.join(names)}: {value}" if len(cells) > 1 else value
                yield from map(Text, wrap(text, width, indent=2 * _INDENT, hanging=3 * _INDENT))


def _cell(text: str, width: int, *, is_number: bool) -> Text:
    """Return text wrapped to a column; rich would break words of double-width characters."""
    lines = wrap(text, width)
    if is_number:
        lines = [" " * (width - cell_len(line)) + line for line in lines]
    return Text("\n".join(lines))


def _rows_by_value(
    cells: Sequence[Sequence[str]], index: int, labels: Sequence[int]
) -> dict[str, list[str]]:
    """Return the names of the rows that share each value of a column, in row order."""
    found: dict[str, list[str]] = {}
    for row in cells:
        found.setdefault(row[index], []).append(" ".join(row[i] for i in labels))
    return found


def _fit(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return column widths: as wide as the text, the widest made narrower until all fit."""
    widths = list(natural)
    while _total(widths) > room:
        narrowable = [i for i, width in enumerate(widths) if width > least[i]]
        if not narrowable:
            break
        widths[max(narrowable, key=widths.__getitem__)] -= 1
    return widths


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def _least_width(name: str, texts: Sequence[str]) -> int:
    short = (cell_len(text) for text in texts if cell_len(text) <= _SHORT)
    return max(_longest_word(name), max(short, default=0), *map(_longest_word, texts), 0)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)
