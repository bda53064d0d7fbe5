"""Terminal output of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_ms, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_rows

if TYPE_CHECKING:
    from fasdk_tools.profiling.layers import LayerProfile
    from fasdk_tools.profiling.result import LatencyFigures, ProfileDocument, Run

_LAYERS_SHOWN = 20  # of each graph; --json has all


def print_profile(document: ProfileDocument) -> None:
    """Print the figures of a profile on stdout."""
    first = document.runs[0]
    best = max(document.runs, key=lambda run: run.achieved_per_s)
    median, tail = (percentile_text(first.end_to_end, name) for name in ("p50", "p99"))
    print_answer(f"{median} median, {tail} at the 99th percentile, {_what(first)}")
    print_fields(
        "",
        {
            "measured on": f"{document.backend} {document.version}, {document.precision}",
            "trust": document.bundle_trust,
            "highest throughput": f"{best.achieved_per_s:.1f} captures/s with batch "
            f"{best.batch}, lanes {best.lanes}",
            "measurement": _measurement_text(document),
            "energy": _energy_text(first),
        },
    )
    for run in document.runs:
        _print_run(run)
    if document.layers is not None:
        _print_layers(document.layers)


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


def percentile_text(figures: LatencyFigures, name: str) -> str:
    """Return a percentile by its key, such as "p99", or how many more calls it needs."""
    found = figures.percentiles()[name]
    if found is None:
        return f"{count_of(figures.missing_calls[name], 'more call')} needed"
    return format_ms(found.ms)


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
    goodput = "" if run.goodput is None else f", goodput {format_share(run.goodput)}"
    names = list(run.end_to_end.percentiles())
    print_rows(
        f"{run.load.value}, batch {run.batch}, lanes {run.lanes}: {run.achieved_per_s:.1f} "
        f"captures/s, {count_of(run.calls, 'call')}{goodput}; latency in ms",
        ("stage", "mean", *(name.replace("_", ".") for name in names), "max"),
        [
            (name, f"{figures.mean_ms:.3f}", *_cells(figures), f"{figures.max_ms:.3f}")
            for name, figures in {**run.stages, "end to end": run.end_to_end}.items()
        ],
    )


def _cells(figures: LatencyFigures) -> list[str]:
    """Return the percentiles as text; where one is missing, how many more calls it needs."""
    return [
        f"+{figures.missing_calls[name]:,}" if found is None else f"{found.ms:.3f}"
        for name, found in figures.percentiles().items()
    ]


def _what(run: Run) -> str:
    if run.offered_per_s is None:
        return f"per call of {count_of(run.batch, 'capture')}"
    return f"at {run.offered_per_s:g} captures/s"
