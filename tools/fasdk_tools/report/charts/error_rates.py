"""Charts of an evaluation: ROC, DET, score histogram, error rates with bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fasdk.plain_text import plain
from fasdk_tools.report.charts.axes import (
    linear_percent,
    log_odds_scale,
    normal_deviate,
    share_percent,
)
from fasdk_tools.report.charts.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TEXT_LINE,
    TOP,
    WIDTH,
    Dot,
    Drawing,
    Frame,
    Label,
    Shape,
    Stroke,
    curve,
    line_style,
    name_beside,
)

_NAME_WIDTH, _TEXT_WIDTH, _ROW = 112.0, 86.0, 24.0
_LONGEST_NAME = 19


@dataclass(frozen=True)
class Mark:
    """An operating point on a curve.

    Attributes:
        name: Name written beside the point.
        accepted: Share of attacks accepted, in [0, 1].
        refused: Share of bona fide presentations refused, in [0, 1].
    """

    name: str
    accepted: float
    refused: float


@dataclass(frozen=True)
class Line:
    """One curve of error rates.

    Attributes:
        name: Name of the curve.
        points: (share of attacks accepted, share of bona fide refused), along the thresholds.
        marks: Operating points on it.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Threshold:
    """A threshold drawn into a histogram."""

    name: str
    value: float


@dataclass(frozen=True)
class Bar:
    """An error rate with its bounds, all in [0, 1], and what is written beside it."""

    name: str
    rate: float
    lower: float
    upper: float
    text: str
    is_bona_fide: bool


def roc(key: str, title: str, lines: Sequence[Line]) -> Drawing:
    """Return receiver operating characteristics: bona fide accepted over attacks accepted."""
    frame = Frame(linear_percent(), linear_percent())
    shapes = frame.axes("attacks accepted", "bona fide accepted")
    shapes.append(Stroke("chance", frame.path([(0, 0), (1, 1)])))
    for style, line in enumerate(lines):
        points = [(accepted, 1 - refused) for accepted, refused in line.points]
        shapes.append(curve(frame, style, points))
    shapes += _marks(frame, lines, lambda mark: (mark.accepted, 1 - mark.refused))
    description = f"{_of(lines)} Bona fide accepted against attacks accepted."
    return Drawing(key, title, description, tuple(shapes))


def det(key: str, title: str, lines: Sequence[Line]) -> Drawing:
    """Return detection error trade-offs on normal deviate scales."""
    rates = [rate for line in lines for point in line.points for rate in point if rate > 0]
    scale = normal_deviate(min(rates, default=0.5))
    frame = Frame(scale, scale)
    shapes = frame.axes("attacks accepted", "bona fide refused")
    shapes += [curve(frame, style, line.points) for style, line in enumerate(lines)]
    shapes += _marks(frame, lines, lambda mark: (mark.accepted, mark.refused))
    description = (
        f"{_of(lines)} Bona fide refused against attacks accepted, both on normal deviate scales "
        f"from {100 * scale.low:g} % to 60 %; what lies outside is drawn at the edge."
    )
    return Drawing(key, title, description, tuple(shapes))


def histogram(
    key: str,
    title: str,
    limit: float,
    bona_fide: Sequence[int],
    attacks: Sequence[int],
    thresholds: Sequence[Threshold],
) -> Drawing:
    """Return two histograms of scores over their log-odds, with thresholds drawn in.

    Args:
        key: Name unique on the page.
        title: Title of the drawing.
        limit: The bins run from -limit to limit, equally wide; the outer ones hold the rest.
        bona_fide: Number of bona fide presentations by bin.
        attacks: Number of attack presentations by bin.
        thresholds: Thresholds to draw, as scores.
    """
    shares = [[count / max(1, sum(counts)) for count in counts] for counts in (attacks, bona_fide)]
    frame = Frame(log_odds_scale(limit), share_percent(max(max(of_class) for of_class in shares)))
    shapes = frame.axes("score, spaced by log-odds", "share of the class")
    width = (WIDTH - LEFT - RIGHT) / len(bona_fide)
    for name, of_class in zip(("attack", "bona-fide"), shares, strict=True):
        outline = f"M{LEFT} {HEIGHT - BOTTOM}"
        for index, share in enumerate(of_class):
            outline += f"V{frame.top(share):.1f}H{LEFT + (index + 1) * width:.1f}"
        shapes.append(Stroke(f"area {name}", f"{outline}V{HEIGHT - BOTTOM}Z"))
    for row, threshold in enumerate(sorted(thresholds, key=lambda t: t.value)):
        at = frame.left(threshold.value)
        side, shift = ("end", -4) if at > WIDTH / 2 else ("start", 4)
        shapes += [
            Stroke("threshold", f"M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"),
            Label("mark", at + shift, TOP + 11 + TEXT_LINE * row, threshold.name, side),
        ]
    names = ", ".join(f"{t.name} at {t.value:.4f}" for t in thresholds) or "no threshold"
    description = (
        f"Share of {sum(bona_fide)} bona fide and {sum(attacks)} attack presentations by score; "
        f"{names}."
    )
    return Drawing(key, title, description, tuple(shapes))


def bars(key: str, title: str, rows: Sequence[Bar]) -> Drawing:
    """Return error rates as bars with their two-sided bounds as whiskers, one row each."""
    left, right = _NAME_WIDTH, WIDTH - _TEXT_WIDTH
    scale = share_percent(max((row.upper for row in rows), default=1.0))
    bottom = TOP + _ROW * len(rows)
    shapes: list[Shape] = []
    for tick in scale.ticks:
        at = left + scale.place(tick.value) * (right - left)
        shapes += [
            Stroke("grid", f"M{at:.1f} {TOP}V{bottom}"),
            Label("tick", at, bottom + 14, tick.text, "middle"),
        ]
    for index, row in enumerate(rows):
        middle = TOP + _ROW * (index + 0.5)
        rate, lower, upper = (
            left + scale.place(v) * (right - left) for v in (row.rate, row.lower, row.upper)
        )
        kind = "bona-fide" if row.is_bona_fide else "attack"
        name = plain(row.name)
        short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        whisker = (
            f"M{lower:.1f} {middle}H{upper:.1f}M{lower:.1f} {middle - 4}v8M{upper:.1f} "
            f"{middle - 4}v8"
        )
        shapes += [
            Label("name", left - 6, middle, short, "end", is_centered=True),
            Stroke(f"bar {kind}", f"M{left} {middle - 6}H{rate:.1f}v12H{left}Z"),
            Stroke("whisker", whisker),
            Label("tick", WIDTH - 2, middle, row.text, "end", is_centered=True),
        ]
    shapes.append(Stroke("axis", f"M{left} {TOP}V{bottom}H{right}"))
    rates = "; ".join(
        f"{r.name} {r.text}, {100 * r.lower:.1f} % to {100 * r.upper:.1f} %" for r in rows
    )
    description = f"Error rates with 95 % bounds: {rates}."
    return Drawing(key, title, description, tuple(shapes), height=bottom + 22)


def _marks(
    frame: Frame, lines: Sequence[Line], at: Callable[[Mark], tuple[float, float]]
) -> list[Shape]:
    """Return a dot for every operating point; those of the first curve have their names beside."""
    shapes: list[Shape] = []
    taken: list[tuple[float, float, float]] = []
    for style, line in enumerate(lines):
        for mark in line.marks:
            x, y = at(mark)
            left, top = frame.left(x), frame.top(y)
            title = f"{mark.name}, {line.name}"
            shapes.append(Dot(f"dot {line_style(style)}", left, top, title))
            if style == 0:
                shapes += name_beside(mark.name, left, top, taken)
    return shapes


def _of(lines: Sequence[Line]) -> str:
    return (
        f"{len(lines)} curve{'' if len(lines) == 1 else 's'}: {', '.join(x.name for x in lines)}."
    )
