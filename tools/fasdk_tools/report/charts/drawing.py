"""Shapes of a chart in user units of SVG, and the frame between two axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fasdk_tools.report.charts.axes import Scale

WIDTH, HEIGHT = 380.0, 304.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 20.0, 12.0, 48.0
LINE_STYLES = 7  # of the style sheet: a color and a dash each
TEXT_LINE = 15.0
_LETTER = 6.8  # of bold text, on the wide side


@dataclass(frozen=True)
class Stroke:
    """A line or an area.

    Attributes:
        style: Classes of the style sheet.
        d: The path, as SVG writes it.
        title: Words that appear under the pointer.
    """

    tag: ClassVar[str] = "path"
    style: str
    d: str
    title: str = ""


@dataclass(frozen=True)
class Dot:
    """A dot; attributes as of Stroke, and its center in user units."""

    tag: ClassVar[str] = "circle"
    style: str
    x: float
    y: float
    title: str = ""
    radius: float = 4.0


@dataclass(frozen=True)
class Label:
    """Words at a place.

    Attributes:
        style: Classes of the style sheet.
        x: Horizontal place in user units.
        y: Vertical place of the base line in user units.
        text: The words.
        anchor: Which part of the words stands at `x`: "start", "middle" or "end".
        is_centered: Whether `y` is the middle of the words' height.
        is_turned: Whether they read upwards.
    """

    tag: ClassVar[str] = "text"
    style: str
    x: float
    y: float
    text: str
    anchor: str = "start"
    is_centered: bool = False
    is_turned: bool = False


Shape = Stroke | Dot | Label


@dataclass(frozen=True)
class Drawing:
    """A chart.

    Attributes:
        key: Name unique on the page; the ids of title and description are made from it.
        title: Title of the chart.
        description: What it shows, for readers who do not see it.
        shapes: Drawn in this order.
        height: Height in user units.
        width: Width in user units.
    """

    key: str
    title: str
    description: str
    shapes: tuple[Shape, ...]
    height: float = HEIGHT
    width: float = WIDTH


Legend = list[tuple[str, str]]
"""Class of the style sheet and name of each kind of mark."""


@dataclass(frozen=True)
class Chart:
    """A drawing with its caption and legend, and a note below it where there is one."""

    caption: str
    drawing: Drawing
    legend: Legend
    note: str = ""


@dataclass(frozen=True)
class Frame:
    """The rectangle between two axes; turns values into user units.

    Attributes:
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis.
    """

    x: Scale
    y: Scale

    def left(self, value: float) -> float:
        """Return the horizontal place of a value, in user units."""
        return LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)

    def top(self, value: float) -> float:
        """Return the vertical place of a value, in user units."""
        return HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Return a polyline's `d`, leaving out points that would coincide."""
        kept: list[str] = []
        last: tuple[float, float] | None = None
        for index, (x, y) in enumerate(points):
            place = (self.left(x), self.top(y))
            near = last is not None and math.dist(place, last) < 0.25
            if near and index + 1 < len(points):
                continue
            kept.append(f"{'L' if kept else 'M'}{place[0]:.1f} {place[1]:.1f}")
            last = place
        return "".join(kept)

    def axes(self, x_title: str, y_title: str) -> list[Shape]:
        """Return grid, axes, ticks and titles."""
        shapes: list[Shape] = []
        for tick in self.x.ticks:
            at = self.left(tick.value)
            shapes += [
                Stroke("grid", f"M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"),
                Label("tick", at, HEIGHT - BOTTOM + 19, tick.text, "middle"),
            ]
        for tick in self.y.ticks:
            at = self.top(tick.value)
            shapes += [
                Stroke("grid", f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}"),
                Label("tick", LEFT - 5, at, tick.text, "end", is_centered=True),
            ]
        middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        shapes += [
            Stroke("axis", f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"),
            Label("label", middle_x, HEIGHT - 8, x_title, "middle"),
            Label("label", 12, middle_y, y_title, "middle", is_turned=True),
        ]
        return shapes


def curve(frame: Frame, style: int, points: Sequence[tuple[float, float]]) -> Stroke:
    """Return a curve in the color and dash of its number."""
    return Stroke(f"line {line_style(style)}", frame.path(points))


def dots(frame: Frame, points: Iterable[tuple[float, float]]) -> str:
    """Return the `d` of a dot at each point, for a stroke with round ends."""
    return "".join(f"M{frame.left(x):.1f} {frame.top(y):.1f}h0" for x, y in points)


def line_style(number: int) -> str:
    """Return the class of a curve's color and dash."""
    return f"line-{number % LINE_STYLES}"


def name_beside(
    name: str, left: float, top: float, taken: list[tuple[float, float, float]]
) -> list[Shape]:
    """Return a name beside a dot, moved down or up until it lies over none of those before."""
    width = _LETTER * len(name)
    onwards = left + 9 + width < WIDTH - RIGHT
    start = left + 9 if onwards else left - 9 - width
    for shift in (4.0, *(s * TEXT_LINE for n in range(1, 12) for s in (n + 0.3, -n))):
        base = top + shift
        inside = TOP + TEXT_LINE <= base <= HEIGHT - BOTTOM - 3
        if inside and not any(
            start < right and other < start + width and abs(base - level) < TEXT_LINE
            for other, right, level in taken
        ):
            taken.append((start, start + width, base))
            x, side = (start, "start") if onwards else (start + width, "end")
            return [Label("mark", x, base, name, side)]
    return []  # no room: the dot still has its title
