"""Terminal output of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_ms, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_notes, print_rows

if TYPE_CHECKING:
    from fasdk_tools.profiling.result import LatencyFigures, ProfileDocument, Run


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
        },
    )
    for run in document.runs:
        _print_run(run)
    if any(run.end_to_end.missing_calls for run in document.runs):
        print_notes(
            ["+N: so many more calls are needed for a 95 % upper bound of this percentile."]
        )


def _bounds(figures: LatencyFigures) -> list[str]:
    """Return the upper bounds as text, empty where there is none."""
    return [
        "" if found is None else f"{found.upper_ms:.3f}" for found in figures.percentiles().values()
    ]


def percentile_text(figures: LatencyFigures, name: str) -> str:
    """Return a percentile by its key, such as "p99", or how many more calls it needs."""
    found = figures.percentiles()[name]
    if found is None:
        return f"{count_of(figures.missing_calls[name], 'more call')} needed"
    return format_ms(found.ms)


def _print_run(run: Run) -> None:
    names = list(run.end_to_end.percentiles())
    print_rows(
        f"{run.load.value}, batch {run.batch}, lanes {run.lanes}: {run.achieved_per_s:.1f} "
        f"captures/s, {count_of(run.calls, 'call')}; latency in ms",
        ("stage", "mean", *(name.replace("_", ".") for name in names), "max"),
        [
            (name, f"{figures.mean_ms:.3f}", *_cells(figures), f"{figures.max_ms:.3f}")
            for name, figures in {**run.stages, "end to end": run.end_to_end}.items()
        ]
        + [("at most", "", *_bounds(run.end_to_end), "")],
    )
    if run.load.is_open:
        print_fields("Arrivals", _arrivals(run))


def _arrivals(run: Run) -> dict[str, object]:
    """Return what a run says of its arrivals, by name."""
    offered = "all at once" if run.offered_per_s is None else f"{run.offered_per_s:.1f} captures/s"
    fields: dict[str, object] = {
        "offered": offered,
        "decided": f"{run.achieved_per_s:.1f} captures/s",
    }
    if run.backlog_per_s is not None:
        fields["backlog"] = f"grows by {run.backlog_per_s:.2f} captures/s"
    if run.held is not None:
        fields["rate held"] = _held(run)
    fields |= {"refused": run.refused, "failed": run.failed}
    if run.goodput is not None and run.deadline_ms is not None:
        fields["goodput"] = (
            f"{format_share(run.goodput)} within {format_ms(run.deadline_ms)}, "
            f"{count_of(run.missed_deadlines or 0, 'deadline')} missed"
        )
    return fields


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
