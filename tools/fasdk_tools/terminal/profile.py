"""Terminal output of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.door import Context, print_door
from fasdk_tools.terminal.numbers import count_of, format_ms, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_notes, print_rows
from fasdk_tools.terminal.run_fields import deadline_fields, warm_up_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_tools.profiling.layers import LayerProfile
    from fasdk_tools.profiling.result import LatencyFigures, ProfileDocument, Run

_LAYERS_SHOWN = 20  # of each graph; --json has all


def print_profile(document: ProfileDocument) -> None:
    """Print the figures of a profile on stdout."""
    first = document.runs[0]
    context = {
        "measured on": _measured_on(document),
        "trust": document.bundle_trust,
        "measurement": _measurement_text(document),
    }
    if first.is_of_door:
        print_door(first, context)
    else:
        _print_runs(document.runs, context)
    if document.layers is not None:
        _print_layers(document.layers)


def _measured_on(document: ProfileDocument) -> str:
    """Return backend, precision and, where it is not the host, what preprocesses."""
    text = f"{document.backend} {document.version}, {document.precision}"
    return text if document.preprocess == "host" else f"{text}, preprocessed on the GPU"


def _print_runs(runs: Sequence[Run], context: Context) -> None:
    first = runs[0]
    best = max(runs, key=lambda run: run.achieved_per_s or 0.0)
    print_answer(f"{latency_text(first.end_to_end)}, {_what(first)}")
    print_fields(
        "",
        {
            **{name: context[name] for name in ("measured on", "trust")},
            "highest throughput": f"{_rate(best)} with batch {best.batch}, lanes {best.lanes}",
            "cells +N": "so many more calls bound that percentile",
            "measurement": context["measurement"],
            "energy": _energy_text(first),
        },
    )
    for run in runs:
        _print_run(run)


def _rate(run: Run) -> str:
    return "-" if run.achieved_per_s is None else f"{run.achieved_per_s:.1f} captures/s"


def _print_layers(found: LayerProfile) -> None:
    shown = found.layers[:_LAYERS_SHOWN]
    rest = "" if len(shown) == len(found.layers) else f", the slowest {len(shown)}"
    print_rows(
        f"{count_of(len(found.layers), 'layer')}{rest}, batch {found.batch}: "
        f"{found.sum_ms:.3f} ms of {found.whole_ms:.3f} ms a call, "
        f"{format_share(found.reformat_share)} of it reformats",
        ("layer", "operator", "type", "ms", "share"),
        [
            (
                layer.name,
                f"{layer.operator}, reformat" if layer.is_reformat else layer.operator,
                layer.precision,
                f"{layer.ms:.3f}",
                format_share(layer.ms / found.sum_ms if found.sum_ms else 0.0),
            )
            for layer in shown
        ],
    )
    print_notes([f"Not told: {each}." for each in found.not_told])


def _bounds(figures: LatencyFigures) -> list[str]:
    """Return the upper bounds as text, empty where there is none."""
    return [
        "" if found is None else f"{found.upper_ms:.3f}" for found in figures.percentiles().values()
    ]


def latency_text(figures: LatencyFigures) -> str:
    """Return median and 99th percentile in words, or how many more calls they need."""
    return ", ".join(
        f"{name} after {count_of(figures.missing_calls[key], 'more call')}"
        if found is None
        else f"{format_ms(found.ms)} {name}"
        for key, name, found in (
            ("p50", "median", figures.p50),
            ("p99", "99th percentile", figures.p99),
        )
    )


def _measurement_text(document: ProfileDocument) -> str:
    """Return whether the figures can be trusted, why not, and what could not be read."""
    if document.trusted is None:
        return "the machine was not watched"
    missing = ", ".join(lack.partition(":")[0] for lack in document.not_read)
    verdict = "TRUSTED" if document.trusted else f"NOT TRUSTED: {'. '.join(document.reasons)}"
    return f"{verdict}. Not read: {missing}" if missing else verdict


def _energy_text(run: Run) -> str:
    """Return what a decision took from each power rail that could be read."""
    texts = []
    for energy in run.energy:
        if energy.per_decision_j is not None:
            text = f"{energy.rail} {energy.per_decision_j:.3g} J a decision"
            if energy.above_idle_per_decision_j is not None:
                text += (
                    f", {energy.above_idle_per_decision_j:.3g} J above idle "
                    f"({energy.idle_watts:.3g} W)"
                )
            texts.append(text)
    return "; ".join(texts) or "not measured: no power rail can be read"


def _print_run(run: Run) -> None:
    names = list(run.end_to_end.percentiles())
    print_rows(
        f"{run.load.value}, batch {run.batch}, lanes {run.lanes}: {_rate(run)}, "
        f"{count_of(run.calls, 'call')}; latency in ms",
        ("stage", "mean", *(name.replace("_", ".") for name in names), "max"),
        [
            (name, f"{figures.mean_ms:.3f}", *_cells(figures), f"{figures.max_ms:.3f}")
            for name, figures in {**run.stages, "end to end": run.end_to_end}.items()
        ]
        + [("at most", "", *_bounds(run.end_to_end), "")],
    )
    print_fields("Warm-up", warm_up_fields(run))
    if run.load.is_open:
        print_fields("Arrivals", _arrivals(run))
    elif run.goodput is not None:
        print_fields("Deadline", deadline_fields(run))


def _arrivals(run: Run) -> dict[str, object]:
    """Return what a run says of its arrivals, by name."""
    offered = "all at once" if run.offered_per_s is None else f"{run.offered_per_s:.1f} captures/s"
    fields: dict[str, object] = {
        "offered": offered,
        "decided": _rate(run),
    }
    if run.backlog_per_s is not None:
        fields["backlog"] = backlog_text(run.backlog_per_s)
    if run.held is not None:
        fields["rate held"] = _held(run)
    fields |= {"refused": run.refused, "failed": run.failed}
    return fields | deadline_fields(run)


def backlog_text(growth_per_s: float) -> str:
    """Return in words how a backlog moved, in captures a second."""
    shown = f"{abs(growth_per_s):.2f}"
    if float(shown) == 0.0:
        return "does not grow"
    return f"{'grows' if growth_per_s > 0.0 else 'shrinks'} by {shown} captures/s"


def _held(run: Run) -> str:
    answer = "yes" if run.held else "no"
    if run.highest_held_per_s is None:
        return answer if run.held else f"{answer}, and no lower one that was tried"
    return (
        f"{answer}; the highest held is {run.highest_held_per_s:.1f} captures/s, confirmed "
        f"{run.confirmations} times"
    )


def _cells(figures: LatencyFigures) -> list[str]:
    """Return the percentiles as text; where one is missing, how many more calls it needs."""
    return [
        f"+{figures.missing_calls[name]:,}" if found is None else f"{found.ms:.3f}"
        for name, found in figures.percentiles().items()
    ]


def _what(run: Run) -> str:
    if not run.load.is_open:
        return f"per call of {count_of(run.batch, 'capture')}"
    if run.offered_per_s is None:
        return "all due at once"
    return f"at {run.offered_per_s:.1f} captures/s"
