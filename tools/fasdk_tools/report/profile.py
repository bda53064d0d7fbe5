"""HTML page of a profile: verdict, percentiles with bounds, charts of every run, machine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fasdk_tools.report.charts.drawing import LINE_STYLES, Chart, Legend, line_style
from fasdk_tools.report.charts.latency import (
    FILLS,
    Calls,
    LoadPoint,
    Percentile,
    Series,
    latency_histogram,
    over_time,
    percentile_names,
    readings_over_time,
    stage_bars,
    throughput_latency,
)
from fasdk_tools.report.door import door_charts
from fasdk_tools.report.environment import embedded_json, render, write_page
from fasdk_tools.report.figures import Figures, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.machine.readings import Reading
    from fasdk_tools.profiling.result import LatencyFigures, ProfileDocument, Run
    from fasdk_tools.profiling.samples import Samples

DATA_ID = "profile"


@dataclass(frozen=True)
class LayerTime:
    """Time of one layer of the engine.

    Attributes:
        name: Name that the backend gives it.
        precision: Precision it ran in, or an empty string.
        ms: Milliseconds in a call, a median.
        is_reformat: Whether it only changes the layout or the precision of a tensor.
    """

    name: str
    precision: str
    ms: float
    is_reformat: bool = False


@dataclass(frozen=True)
class LayerTimes:
    """Times of an engine's layers.

    Attributes:
        layers: In the order of the engine.
        whole_ms: Milliseconds of a whole call, a median, timed beside the layers.
        not_told: What the backend does not tell of them.
    """

    layers: tuple[LayerTime, ...]
    whole_ms: float
    not_told: tuple[str, ...] = ()

    @property
    def sum_ms(self) -> float:
        """Sum of all layers, in milliseconds."""
        return sum(layer.ms for layer in self.layers)

    def slowest(self, number: int = 20) -> list[LayerTime]:
        """Return the slowest layers, the slowest first."""
        return sorted(self.layers, key=lambda layer: -layer.ms)[:number]


@dataclass(frozen=True)
class _RunView:
    """One run on the page.

    Attributes:
        number: Number of the run, from 1 on.
        key: Id of its heading.
        name: What was measured, in words.
        path: Path of the run in the document.
        run: Its figures.
        charts: Its charts.
    """

    number: int
    key: str
    name: str
    path: list[str | int]
    run: Run
    charts: list[Chart]


def layers_of(document: ProfileDocument) -> LayerTimes | None:
    """Return the layers that a profile timed, or None where it timed none."""
    found = document.layers
    if found is None:
        return None
    return LayerTimes(
        tuple(
            LayerTime(layer.name, layer.precision, layer.ms, layer.is_reformat)
            for layer in found.layers
        ),
        found.whole_ms,
        found.not_told,
    )


def write_profile(
    path: Path,
    document: ProfileDocument,
    samples: Sequence[Samples | None],
    *,
    machine: MachineRecord | None = None,
    layers: LayerTimes | None = None,
) -> None:
    """Write a profile as one HTML file that only its owner may read.

    Args:
        path: File to write.
        document: The profile.
        samples: Every call of every run, in the document's order; None where a run has none.
        machine: What the machine did meanwhile, or None where it was not watched.
        layers: Times of the engine's layers, or None where they were not taken.

    Raises:
        FasdkError: The disk is full or the folder not writable.
    """
    write_page(path, profile_page(document, samples, machine=machine, layers=layers))


def profile_page(
    document: ProfileDocument,
    samples: Sequence[Samples | None],
    *,
    machine: MachineRecord | None = None,
    layers: LayerTimes | None = None,
) -> str:
    """Return the page; arguments as of `write_profile`."""
    runs = [
        _RunView(
            number=index + 1,
            key=f"run-{index + 1}",
            name=run_name(run),
            path=["runs", index],
            run=run,
            charts=[
                *door_charts(index + 1, run),
                *([] if calls is None else _run_charts(index + 1, run, calls)),
            ],
        )
        for index, (run, calls) in enumerate(zip(document.runs, samples, strict=True))
    ]
    stages = list(dict.fromkeys(name for run in document.runs for name in run.stages))
    sections = [
        ("in-short", "In short"),
        ("percentiles", "Latency"),
        ("stages", "Stages"),
        *((view.key, f"Run {view.number}") for view in runs),
        ("layers", "Layers"),
        ("machine", "The machine"),
        ("method", "How it was measured"),
    ]
    return render(
        "profile.html",
        title=f"Profile of {Path(document.bundle).name}",
        subtitle=f"{document.backend} {document.version}, {document.precision}; "
        f"{document.bundle_trust}",
        sections=sections,
        data_id=DATA_ID,
        document=embedded_json(document.model_dump(mode="json")),
        profile=document,
        figures=Figures(document),
        write=write,
        runs=runs,
        names=list(runs[0].run.end_to_end.percentiles()),
        curve=_curve(document.runs),
        stages=stages,
        stage_chart=_stage_chart(document.runs, stages),
        layers=layers,
        has_energy=any(run.energy for run in document.runs),
        machine=machine,
        machine_charts=[] if machine is None else _machine_charts(machine),
    )


def run_name(run: Run) -> str:
    """Return what a run measured, in words."""
    rate = "" if run.offered_per_s is None else f" at {run.offered_per_s:g} captures/s"
    lanes = "1 lane" if run.lanes == 1 else f"{run.lanes} lanes"
    if run.idle is not None:
        return "first decisions after pauses"
    if run.cold is not None:
        return "cold starts"
    length = "" if run.soak is None else f"{run.soak.measured_s / 60:.1f} minutes of "
    return f"{length}{run.load.value} load{rate}, batch {run.batch}, {lanes}"


def _percentiles(figures: LatencyFigures) -> tuple[Percentile, ...]:
    """Return the percentiles that have a bound."""
    return tuple(
        Percentile(name.replace("_", "."), found.ms)
        for name, found in figures.percentiles().items()
        if found is not None
    )


def _run_charts(number: int, run: Run, samples: Samples) -> list[Chart]:
    name = f"run {number}, {run_name(run)}"
    counted = samples.counted.latency_ms
    counted = counted[np.isfinite(counted)]
    calls = Calls(samples.due_ms / 1e3, samples.latency_ms, samples.warmup)
    shown = [p for p in _percentiles(run.end_to_end) if p.name in ("p50", "p99", "p99.9")]
    return [
        Chart(
            "Latency over time",
            over_time(f"run-{number}-time", f"Latency over time, {name}", calls),
            _time_legend(calls),
        ),
        Chart(
            "Distribution of latency, without the warm-up",
            latency_histogram(
                f"run-{number}-histogram", f"Distribution of latency, {name}", counted, shown
            ),
            [],
        ),
    ]


def _time_legend(calls: Calls) -> Legend:
    legend = [("area call", "least to largest"), ("line line-1", "median")]
    if not calls.are_many:
        legend = [("points call", "call")]
        if calls.warmup:
            legend.append(("points warm-up", "warm-up, not counted"))
    if not calls.is_decided.all():
        legend.append(("points lost", "refused or failed"))
    return legend


def _curve(runs: Sequence[Run]) -> Chart | None:
    """Return the throughput-latency chart; None where fewer than two runs have a throughput."""
    points = [
        LoadPoint(
            name=str(index + 1),
            group=f"{run.load.value} {run.batch} {run.lanes}" if run.offered_per_s else "closed",
            per_s=run.achieved_per_s,
            percentiles=tuple(p for p in _percentiles(run.end_to_end) if p.name in ("p50", "p99")),
        )
        for index, run in enumerate(runs)
        if run.achieved_per_s is not None
    ]
    points = [point for point in points if point.percentiles]
    if len(points) < 2:
        return None
    drawn = throughput_latency("curve", "Latency over throughput", points)
    legend = [(f"line {line_style(i)}", n) for i, n in enumerate(percentile_names(points))]
    return Chart("Latency over throughput, runs by number", drawn, legend)


def _stage_chart(runs: Sequence[Run], stages: Sequence[str]) -> Chart | None:
    rows = [
        (str(index + 1), {name: figures.mean_ms for name, figures in run.stages.items()})
        for index, run in enumerate(runs)
        if run.stages
    ]
    if not rows:
        return None
    drawn = stage_bars("stage-bars", "Mean time by stage", rows, stages)
    legend = [(f"stage fill-{i % FILLS}", name) for i, name in enumerate(stages)]
    return Chart("Mean time by stage, one bar a run", drawn, legend)


def _machine_charts(record: MachineRecord) -> list[Chart]:
    """Return clocks, temperatures, load and power over time, each where it was read."""
    shown: list[tuple[str, str, str, Callable[[Reading], dict[str, float | None]]]] = [
        ("clocks", "Clocks", "MHz", lambda r: {c.name: c.mhz for c in r.clocks}),
        (
            "temperatures",
            "Temperatures",
            "degrees Celsius",
            lambda r: {t.name: t.celsius for t in r.temperatures},
        ),
        ("power", "Power", "watts", lambda r: {rail.name: rail.watts for rail in r.rails}),
    ]
    found = [(key, caption, unit, _series(record, values)) for key, caption, unit, values in shown]
    found.append(("use", "Use of processors and GPU", "per cent", _use(record)))
    charts = []
    for key, caption, unit, series in found:
        for first in range(0, len(series), LINE_STYLES):
            part = series[first : first + LINE_STYLES]
            which = f"{key}-{first // LINE_STYLES}"
            legend = [(f"line {line_style(i)}", one.name) for i, one in enumerate(part)]
            drawn = readings_over_time(which, f"{caption} over time", unit, part)
            charts.append(Chart(f"{caption} over time", drawn, legend))
    return charts


def _use(record: MachineRecord) -> list[Series]:
    """Return how busy the processors, the GPU and the memory were, in per cent."""
    own, others = list[tuple[float, float]](), list[tuple[float, float]]()
    for before, after in itertools.pairwise(record.readings):
        if before.cpu is None or after.cpu is None or after.at_s <= before.at_s:
            continue
        whole_s = after.cpu.cores * (after.at_s - before.at_s)
        own_s = after.cpu.own_s - before.cpu.own_s
        other_s = max(0.0, after.cpu.busy_s - before.cpu.busy_s - own_s)
        at_s = after.at_s - record.readings[0].at_s
        own.append((at_s, 100 * own_s / whole_s))
        others.append((at_s, 100 * other_s / whole_s))
    processors = [("this process", own), ("other processes", others)]
    return [Series(n, tuple(points)) for n, points in processors if len(points) > 1] + _series(
        record,
        lambda r: {
            "GPU": None if r.gpu_load is None else 100 * r.gpu_load,
            "memory bandwidth": None if r.memory_load is None else 100 * r.memory_load,
        },
    )


def _series(
    record: MachineRecord, values: Callable[[Reading], dict[str, float | None]]
) -> list[Series]:
    """Return the readings by name; those with fewer than two moments draw no curve."""
    found: dict[str, list[tuple[float, float]]] = {}
    for reading in record.readings:
        at_s = reading.at_s - record.readings[0].at_s
        for name, value in values(reading).items():
            if value is not None:
                found.setdefault(name, []).append((at_s, value))
    return [Series(name, tuple(points)) for name, points in found.items() if len(points) > 1]
