"""Chart of first decisions after pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.report.charts.axes import Scale, Tick, fitting
from fasdk_tools.report.charts.drawing import Drawing, Frame, Shape, Stroke, curve, dots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_tools.profiling.door_figures import PauseFigures


def first_decisions(key: str, title: str, pauses: Sequence[PauseFigures]) -> Drawing:
    """Return the latency of every first decision by the length of the pause before it.

    Args:
        key: Name unique on the page.
        title: Title of the chart.
        pauses: Figures by length of the pause; at least one. Lengths are evenly spaced.
    """
    ordered = sorted(pauses, key=lambda each: each.pause_s)
    places = Scale(
        -0.5,
        len(ordered) - 0.5,
        tuple(Tick(float(at), f"{each.pause_s:g}") for at, each in enumerate(ordered)),
    )
    every = [ms for each in ordered for ms in each.latencies_ms]
    frame = Frame(places, fitting(every))
    spacing = "" if frame.y.warp is float else ", logarithmic"
    shapes: list[Shape] = frame.axes("pause before the decision, s", f"latency, ms{spacing}")
    medians = [(float(at), each.median_ms) for at, each in enumerate(ordered)]
    shapes.append(curve(frame, 1, medians))
    points = [(float(at), ms) for at, each in enumerate(ordered) for ms in each.latencies_ms]
    shapes.append(Stroke("points call", dots(frame, points)))
    said = "; ".join(
        f"after {each.pause_s:g} s median {each.median_ms:.3f} ms, at most {each.largest_ms:.3f} ms"
        for each in ordered
    )
    return Drawing(key, title, f"Latency of {len(every)} first decisions: {said}.", tuple(shapes))
