"""Charts of a door's figures on the page of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.profiling.door_figures import PARTS
from fasdk_tools.report.charts.door import first_decisions
from fasdk_tools.report.charts.drawing import Chart, Legend, line_style
from fasdk_tools.report.charts.latency import FILLS, Series, readings_over_time, stage_bars

if TYPE_CHECKING:
    from fasdk_tools.profiling.door_figures import ColdFigures, IdleFigures, SoakFigures
    from fasdk_tools.profiling.result import Run


def door_charts(number: int, run: Run) -> list[Chart]:
    """Return the charts of an idle or cold load or a long run; none of another run.

    Args:
        number: Number of the run on the page.
        run: Its figures.
    """
    charts = []
    if run.idle is not None:
        charts.append(_pauses(number, run.idle))
    if run.cold is not None:
        charts.append(_starts(number, run.cold))
    if run.soak is not None:
        charts += _minutes(number, run.soak)
    return charts


def _pauses(number: int, idle: IdleFigures) -> Chart:
    title = "First decisions by the pause before them"
    legend = [("points call", "decision"), (f"line {line_style(1)}", "median")]
    return Chart(title, first_decisions(f"run-{number}-pauses", title, idle.pauses), legend)


def _starts(number: int, cold: ColdFigures) -> Chart:
    starts = [("first", cold.first), *((str(n), s) for n, s in enumerate(cold.starts, start=2))]
    names = [part.replace("_", " ") for part in PARTS]
    rows = [
        (said, {name: getattr(each, f"{part}_ms") for name, part in zip(names, PARTS, strict=True)})
        for said, each in starts
    ]
    drawn = stage_bars(
        f"run-{number}-starts",
        "Time from the start of a process to its first decision",
        rows,
        names,
        row="start",
        unit="one start, ms",
    )
    legend = [(f"stage fill-{i % FILLS}", name) for i, name in enumerate(names)]
    return Chart("Cold starts, the first of which is not counted", drawn, legend)


def _minutes(number: int, soak: SoakFigures) -> list[Chart]:
    """Return latency, memory and temperature; a curve takes two minutes at least."""
    latency = {
        "median": [(m.minute, m.median_ms) for m in soak.minutes],
        "largest": [(m.minute, m.largest_ms) for m in soak.minutes],
    }
    memory = {"resident memory": [(m.minute, m.resident_mb) for m in soak.minutes]}
    temperature = {"highest sensor": [(m.minute, m.temperature_c) for m in soak.minutes]}
    charts = []
    for key, caption, unit, values in (
        ("latency", "Latency minute by minute", "latency, ms", latency),
        ("memory", "Memory minute by minute", "10^6 bytes", memory),
        ("temperature", "Temperature minute by minute", "degrees Celsius", temperature),
    ):
        series = [
            Series(name, tuple((float(minute), v) for minute, v in points if v is not None))
            for name, points in values.items()
        ]
        series = [one for one in series if len(one.points) > 1]
        if series:
            legend: Legend = [(f"line {line_style(i)}", one.name) for i, one in enumerate(series)]
            drawn = readings_over_time(
                f"run-{number}-minutes-{key}", caption, unit, series, time_unit="minutes"
            )
            charts.append(Chart(caption, drawn, legend))
    return charts
