"""Charts of a profile: latency over time, histogram, throughput, stages, machine readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.plain_text import plain
from fasdk_tools.report.charts.axes import Scale, fitting, linear, number, spanning
from fasdk_tools.report.charts.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LINE_STYLES,
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
    dots,
    line_style,
    name_beside,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILLS = 8  # of the style sheet, one a stage
MOST_POINTS = 2000  # drawn one by one; more calls are drawn as a band from least to largest
_COLUMNS, _BINS = 240, 48
_NAME_WIDTH, _TEXT_WIDTH, _ROW = 64.0, 72.0, 26.0


@dataclass(frozen=True)
class Calls:
    """Calls of a run in order of time.

    Attributes:
        at_s: When each was due, float64 [n], in seconds from the start.
        latency_ms: How long each took, float64 [n], in milliseconds; NaN where it was not decided.
        warmup: Number of leading calls that are not counted.
    """

    at_s: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    warmup: int

    @property
    def is_decided(self) -> NDArray[np.bool_]:
        """Which calls have a latency."""
        return np.isfinite(self.latency_ms)

    @property
    def are_many(self) -> bool:
        """Whether calls are drawn as a band."""
        return len(self.at_s) > MOST_POINTS


@dataclass(frozen=True)
class Percentile:
    """A percentile drawn into a histogram: its name and milliseconds."""

    name: str
    ms: float


@dataclass(frozen=True)
class LoadPoint:
    """A run in the throughput-latency chart.

    Attributes:
        name: Number of the run.
        group: Runs of one group lie on one curve.
        per_s: Captures decided a second.
        percentiles: Those the run has, in the order of the chart.
    """

    name: str
    group: str
    per_s: float
    percentiles: tuple[Percentile, ...]


@dataclass(frozen=True)
class Series:
    """Readings over time: a name, and (time, value) of each."""

    name: str
    points: tuple[tuple[float, float], ...]


def over_time(key: str, title: str, calls: Calls) -> Drawing:
    """Return every call's latency over its due time; the largest is always in sight."""
    decided = calls.is_decided
    times, latencies = calls.at_s[decided], calls.latency_ms[decided]
    start, end = float(min(calls.at_s.min(), 0.0)), float(calls.at_s.max())
    frame = Frame(spanning(start, end), fitting(latencies.tolist()))
    shapes = frame.axes("due, seconds from the start", f"latency, ms{_spacing(frame.y)}")
    warm = np.flatnonzero(decided) < calls.warmup
    if calls.are_many:
        shapes += _band(frame, times, latencies)
        if warm.any() and not warm.all():
            shapes += _end_of_warm_up(frame, float(times[~warm][0]))
    else:
        for style, which in (("points warm-up", warm), ("points call", ~warm)):
            if which.any():
                points = zip(times[which].tolist(), latencies[which].tolist(), strict=True)
                shapes.append(Stroke(style, dots(frame, points)))
    if not decided.all():
        lost = calls.at_s[~decided]
        places = "".join(f"M{frame.left(at):.1f} {TOP + 4}h0" for at in lost.tolist())
        shapes.append(Stroke("points lost", places))
    counted = latencies[~warm] if (~warm).any() else latencies
    description = (
        f"Latency of {len(latencies)} calls over {end - start:.1f} s: {counted.min():.3f} ms at "
        f"least, {counted.max():.3f} ms at most after {int(warm.sum())} calls of warm-up"
        f"{_lost(int((~decided).sum()))}."
    )
    return Drawing(key, title, description, tuple(shapes))


def _end_of_warm_up(frame: Frame, at_s: float) -> list[Shape]:
    left = frame.left(at_s)
    side, shift = ("end", -4) if left > WIDTH / 2 else ("start", 4)
    return [
        Stroke("threshold", f"M{left:.1f} {TOP}V{HEIGHT - BOTTOM}"),
        Label("mark", left + shift, TOP + 11, "end of warm-up", side),
    ]


def latency_histogram(
    key: str, title: str, latency_ms: NDArray[np.float64], percentiles: Sequence[Percentile]
) -> Drawing:
    """Return a histogram of latencies, none left out, with percentiles drawn in.

    Args:
        key: Name unique on the page.
        title: Title of the chart.
        latency_ms: Latencies that are counted, float64 [n], at least one, in milliseconds.
        percentiles: Percentiles to draw.
    """
    low, high = float(latency_ms.min()), float(latency_ms.max())
    scale = fitting([low, high])
    if scale.warp is float:  # a narrow distribution far from 0 would be a single bar
        scale = linear(low, high)
    places = np.array([scale.place(v) for v in latency_ms.tolist()])
    counts, _ = np.histogram(places, bins=_BINS, range=(0.0, 1.0))
    frame = Frame(scale, linear(0.0, float(counts.max())))
    shapes = frame.axes(f"latency, ms{_spacing(scale)}", "calls")
    width = (WIDTH - LEFT - RIGHT) / _BINS
    outline = f"M{LEFT} {HEIGHT - BOTTOM}"
    for index, count in enumerate(counts.tolist()):
        outline += f"V{frame.top(count):.1f}H{LEFT + (index + 1) * width:.1f}"
    shapes.append(Stroke("area call", f"{outline}V{HEIGHT - BOTTOM}Z"))
    for row, found in enumerate(percentiles):
        at = frame.left(found.ms)
        side, shift = ("end", -4) if at > WIDTH / 2 else ("start", 4)
        shapes += [
            Stroke("threshold", f"M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"),
            Label("mark", at + shift, TOP + 11 + TEXT_LINE * row, found.name, side),
        ]
    said = ", ".join(f"{p.name} at {p.ms:.3f} ms" for p in percentiles) or "no percentile"
    description = (
        f"Number of {len(latency_ms)} calls by latency, {low:.3f} to {high:.3f} ms; {said}."
    )
    return Drawing(key, title, description, tuple(shapes))


def throughput_latency(key: str, title: str, points: Sequence[LoadPoint]) -> Drawing:
    """Return percentiles of latency over throughput, one curve a percentile and group of runs."""
    rates = [point.per_s for point in points]
    latencies = [p.ms for point in points for p in point.percentiles]
    frame = Frame(spanning(0.0, 1.05 * max(rates)), fitting(latencies))
    shapes = frame.axes("captures decided a second", f"latency, ms{_spacing(frame.y)}")
    names = percentile_names(points)
    taken: list[tuple[float, float, float]] = []
    marks: list[Shape] = []
    for group in dict.fromkeys(point.group for point in points):
        chosen = sorted((p for p in points if p.group == group), key=lambda p: p.per_s)
        for style, name in enumerate(names):
            found = [(o, p.ms) for o in chosen for p in o.percentiles if p.name == name]
            if len(found) > 1:
                shapes.append(curve(frame, style, [(o.per_s, ms) for o, ms in found]))
            for point, ms in found:
                left, top = frame.left(point.per_s), frame.top(ms)
                said = f"{point.name}: {name} {ms:.3f} ms at {point.per_s:.1f}/s"
                marks.append(Dot(f"dot {line_style(style)}", left, top, said))
                if name == point.percentiles[-1].name:
                    marks += name_beside(point.name, left, top, taken)
    said = "; ".join(
        f"run {o.name}, {o.per_s:.1f} captures/s: "
        + ", ".join(f"{p.name} {p.ms:.3f} ms" for p in o.percentiles)
        for o in points
    )
    return Drawing(key, title, f"Latency over throughput: {said}.", (*shapes, *marks))


def percentile_names(points: Sequence[LoadPoint]) -> list[str]:
    """Return the percentiles of some runs, in the order of their styles."""
    return list(dict.fromkeys(p.name for point in points for p in point.percentiles))


def stage_bars(
    key: str,
    title: str,
    rows: Sequence[tuple[str, Mapping[str, float]]],
    names: Sequence[str],
    *,
    row: str = "run",
    unit: str = "mean of a call, ms",
) -> Drawing:
    """Return times by stage as stacked bars, one row a run or what else is compared.

    Args:
        key: Name unique on the page.
        title: Title of the chart.
        rows: Name of each row, and milliseconds by stage.
        names: All stages in the order of the stack.
        row: What a row is of, in the description.
        unit: Title of the horizontal axis.
    """
    left, right = _NAME_WIDTH, WIDTH - _TEXT_WIDTH
    totals = [sum(stages.values()) for _, stages in rows]
    scale = spanning(0.0, max(totals))
    bottom = TOP + _ROW * len(rows)
    shapes: list[Shape] = []
    for tick in scale.ticks:
        at = left + scale.place(tick.value) * (right - left)
        shapes += [
            Stroke("grid", f"M{at:.1f} {TOP}V{bottom}"),
            Label("tick", at, bottom + 14, tick.text, "middle"),
        ]
    for index, (name, stages) in enumerate(rows):
        middle = TOP + _ROW * (index + 0.5)
        shapes.append(Label("name", left - 6, middle, name, "end", is_centered=True))
        before = 0.0
        for number_of, stage in enumerate(names):
            taken = stages.get(stage, 0.0)
            begin, end = (left + scale.place(v) * (right - left) for v in (before, before + taken))
            shapes.append(
                Stroke(
                    f"stage fill-{number_of % FILLS}",
                    f"M{begin:.1f} {middle - 8}H{end:.1f}v16H{begin:.1f}Z",
                    f"{stage}: {taken:.3f} ms",
                )
            )
            before += taken
        total = f"{totals[index]:.2f} ms"
        shapes.append(Label("tick", WIDTH - 2, middle, total, "end", is_centered=True))
    shapes += [
        Stroke("axis", f"M{left} {TOP}V{bottom}H{right}"),
        Label("label", (left + right) / 2, bottom + 30, unit, "middle"),
    ]
    said = "; ".join(
        f"{row} {name}: " + ", ".join(f"{s} {ms:.3f} ms" for s, ms in stages.items())
        for name, stages in rows
    )
    return Drawing(key, title, f"{title}: {said}.", tuple(shapes), height=bottom + 36)


def readings_over_time(
    key: str, title: str, unit: str, series: Sequence[Series], *, time_unit: str = "seconds"
) -> Drawing:
    """Return what was read over time, a curve each.

    Args:
        key: Name unique on the page.
        title: Title of the chart.
        unit: Title of the vertical axis.
        series: At most as many as there are line styles, none empty.
        time_unit: Unit of the points' times.
    """
    times = [at for one in series for at, _ in one.points]
    values = [value for one in series for _, value in one.points]
    frame = Frame(spanning(0.0, max(times)), linear(min(0.0, *values), max(values)))
    shapes = frame.axes(f"{time_unit} from the start", unit)
    shapes += [curve(frame, style, one.points) for style, one in enumerate(series)]
    said = "; ".join(
        f"{plain(one.name)} {number(min(v for _, v in one.points))} to "
        f"{number(max(v for _, v in one.points))}"
        for one in series[:LINE_STYLES]
    )
    return Drawing(key, title, f"{unit} over {max(times):.0f} {time_unit}: {said}.", tuple(shapes))


def _band(frame: Frame, times: NDArray[np.float64], values: NDArray[np.float64]) -> list[Shape]:
    """Return a band from the least to the largest of each column, and the medians."""
    share = np.array([frame.x.place(at) for at in times.tolist()])
    column = np.minimum((share * _COLUMNS).astype(int), _COLUMNS - 1)
    upper, lower, medians = [], [], []
    width = (WIDTH - LEFT - RIGHT) / _COLUMNS
    for index in np.unique(column).tolist():
        inside = values[column == index]
        left = LEFT + index * width
        top, base = frame.top(float(inside.max())), frame.top(float(inside.min()))
        upper.append(f"{left:.1f} {top:.1f}H{left + width:.1f}")
        lower.append(f"{left + width:.1f} {base:.1f}H{left:.1f}")
        medians.append(f"{left + width / 2:.1f} {frame.top(float(np.median(inside))):.1f}")
    outline = "M" + "L".join(upper) + "L" + "L".join(reversed(lower)) + "Z"
    return [Stroke("area call", outline), Stroke("line line-1", "M" + "L".join(medians))]


def _spacing(scale: Scale) -> str:
    return "" if scale.warp is float else ", logarithmic"


def _lost(calls: int) -> str:
    return f"; {calls} were not decided" if calls else ""
