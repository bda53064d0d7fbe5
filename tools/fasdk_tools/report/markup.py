"""HTML elements with escaped text, accessible tables, and figures that name their source.

A figure on the page stands in a `<data>` element whose `data-path` is a JSON pointer (RFC 6901)
into the embedded document, so that what is read and what is machine-read cannot part ways unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import Any


class Form(Enum):
    """How a figure is written."""

    PERCENT = "per cent"
    WHOLE = "whole number"
    SCORE = "score"
    TEXT = "text"


@dataclass(frozen=True)
class Markup:
    """Finished HTML; any other text put on the page is escaped."""

    html: str

    def __add__(self, other: Markup) -> Markup:
        """Return both, one after the other."""
        return Markup(self.html + other.html)


ABSENT = Markup('<span class="quiet">none</span>')


def text(value: object) -> Markup:
    """Return anything as text."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def element(tag: str, *content: object, **attributes: str) -> Markup:
    """Return an element; attribute names lose a trailing underscore and turn `_` into `-`."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
    )
    if tag == "img":
        return Markup(f"<img{written}>")
    return Markup(f"<{tag}{written}>{''.join(text(part).html for part in content)}</{tag}>")


@dataclass(frozen=True)
class Figures:
    """Looks figures up in the record the page is about."""

    record: object

    def get(self, *path: str | int) -> Any:
        """Return what stands at a path of attribute names and indices."""
        found: Any = self.record
        for step in path:
            found = found[step] if isinstance(step, int) else getattr(found, step)
        return found

    def show(self, form: Form, *path: str | int) -> Markup:
        """Return the figure at a path as a person reads it; "none" where it is None."""
        value = self.get(*path)
        if value is None:
            return ABSENT
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
        return element("data", write(form, value), value=str(value), data_path=pointer)

    def rate(self, *path: str | int) -> Markup:
        """Return a rate in per cent with its two-sided bounds and its counts."""
        if self.get(*path) is None:
            return ABSENT
        bounds = element(
            "span",
            " [",
            self.show(Form.PERCENT, *path, "lower"),
            ", ",
            self.show(Form.PERCENT, *path, "upper"),
            "] ",
            self.show(Form.WHOLE, *path, "errors"),
            "/",
            self.show(Form.WHOLE, *path, "attempts"),
            class_="bounds",
        )
        return self.show(Form.PERCENT, *path, "rate") + bounds

    def estimate(self, *path: str | int) -> Markup:
        """Return an estimate in per cent with its two-sided bounds, where it has any."""
        if self.get(*path) is None:
            return ABSENT
        value = self.show(Form.PERCENT, *path, "value")
        if self.get(*path, "lower") is None:
            return value
        return value + element(
            "span",
            " [",
            self.show(Form.PERCENT, *path, "lower"),
            ", ",
            self.show(Form.PERCENT, *path, "upper"),
            "]",
            class_="bounds",
        )


def write(form: Form, value: Any) -> str:
    """Return a figure as the page writes it; no minus sign stands before nothing."""
    if form is Form.PERCENT:
        return f"{100 * value:.2f} %"
    if form is Form.WHOLE:
        return f"{value:,}"
    if form is Form.SCORE:
        return f"{value:.6f}"
    return str(value)


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes:
        title: Heading of the column.
        is_number: Whether its cells are aligned to the right.
    """

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class Cell:
    """A table's cell with a background as deep as `share`, in [0, 1], or none."""

    content: object
    share: float | None = None


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> Markup:
    """Return a table whose first column heads its rows, in a frame the keyboard can scroll."""
    head = element(
        "thead",
        element("tr", *(_head(column) for column in columns)),
    )
    body = element("tbody", *(_row(columns, row) for row in rows))
    whole = element("table", element("caption", element("span", caption)), head, body)
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _head(column: Column) -> Markup:
    if column.is_number:
        return element("th", column.title, scope="col", class_="number")
    return element("th", column.title, scope="col")


def _row(columns: Sequence[Column], row: Sequence[object]) -> Markup:
    cells = [element("th", row[0], scope="row")]
    for column, content in zip(columns[1:], row[1:], strict=True):
        cell = content if isinstance(content, Cell) else Cell(content)
        attributes = {"class_": "number"} if column.is_number else {}
        if cell.share is not None:
            attributes = {"class_": "number heat", "style": f"--share: {cell.share:.3f}"}
        cells.append(element("td", cell.content, **attributes))
    return element("tr", *cells)


def fields(rows: Sequence[tuple[str, object]]) -> Markup:
    """Return names and values as a description list."""
    return element(
        "dl",
        *(element("dt", name) + element("dd", value) for name, value in rows),
    )


def items(tag: str, contents: Sequence[object], **attributes: str) -> Markup:
    """Return a list, `ul` or `ol`."""
    return element(tag, *(element("li", content) for content in contents), **attributes)
