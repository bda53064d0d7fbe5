"""Verb soak."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import (
    EXIT_NO,
    BackendOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    LevelOption,
    Panel,
    UnsignedOption,
    app,
    trust_policy,
)
from fasdk_tools.terminal.numbers import format_count, format_ms, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, progress_view

if TYPE_CHECKING:
    from fasdk.capture import Capture
    from fasdk_tools.diagnostics.soak import SoakResult


@app.command(rich_help_panel=Panel.MEASURE)
def soak(
    bundle: BundleArgument,
    hours: Annotated[float | None, typer.Option(help="Length of the run, in hours.")] = None,
    minutes: Annotated[float | None, typer.Option(help="The same, in minutes.")] = None,
    captures: Annotated[
        Path | None,
        typer.Option(
            metavar="LIST", help="List of captures to ask for besides the bundle's golden ones."
        ),
    ] = None,
    faults: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of the engine calls that are made to fail."),
    ] = 0.05,
    deadline_ms: Annotated[
        float, typer.Option(metavar="MS", help="Deadline of an answer, in milliseconds.")
    ] = 1000.0,
    max_drift: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Largest growth of the resident memory after warm-up."),
    ] = 0.01,
    level: LevelOption = "standard",
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a bundle for hours under faults, swaps and bad captures; exit 1 on any miss.

    It holds answers to what they should be. Latency, memory and temperature of a sound bundle over
    time are what `fasdk profile --soak` shows.
    """
    from fasdk.backends.registry import parse_backend
    from fasdk.malloc_arenas import limit_malloc_arenas
    from fasdk_tools.diagnostics.soak import SoakSettings
    from fasdk_tools.diagnostics.soak import soak as run_soak

    seconds = _seconds(hours, minutes)
    if not 0.0 <= faults <= 0.5:
        raise UsageError(f"--faults is {faults}, expected a share of 0 to 0.5")
    if not 100.0 <= deadline_ms <= 600_000.0:
        raise UsageError(f"--deadline-ms is {deadline_ms}, expected 100 to 600000")
    if not max_drift >= 0.0:
        raise UsageError(f"--max-drift is {max_drift}, expected a share of at least 0")
    settings = SoakSettings(
        seconds=seconds,
        level=level,
        fault_share=faults,
        swap_every_s=min(30.0, seconds / 12),
        deadline_ms=deadline_ms,
        max_drift=max_drift,
    )
    trust = trust_policy(key, unsigned)
    limit_malloc_arenas()  # as `fasdk run` does
    with progress_view() as view:
        result = run_soak(
            bundle,
            [] if captures is None else _captures(captures),
            settings,
            backend=parse_backend(backend),
            trust=trust,
            on_progress=lambda share: view.update("soak", round(100 * share), 100),
        )
    if as_json:
        print_json({"bundle": str(bundle), "passed": result.passed, **asdict(result)})
    else:
        _print(bundle, result)
    if not result.passed:
        raise typer.Exit(EXIT_NO)


def _seconds(hours: float | None, minutes: float | None) -> float:
    if (hours is None) == (minutes is None):
        raise UsageError("give --hours or --minutes, and only one of them")
    seconds = 3600.0 * hours if hours is not None else 60.0 * (minutes or 0.0)
    if not 3.0 <= seconds <= 366 * 86_400.0:
        raise UsageError(
            f"the run would take {seconds:g} s, expected 3 s to a year: give --hours or --minutes "
            "accordingly"
        )
    return seconds


def _captures(path: Path) -> list[Capture]:
    from fasdk_calibration.datasets import load_list

    return [item.capture for item in load_list(path)]


def _print(bundle: Path, result: SoakResult) -> None:
    counts = result.counts
    answers = f"{format_count(counts.answers)} answers in {result.seconds / 60:.1f} min"
    if result.passed:
        print_answer(f"Passed: {answers}, none wrong, none late")
    else:
        print_answer(f"Failed: {'; '.join(result.misses)}")
    before, after = result.before, result.after
    print_fields(
        "",
        {
            "bundle": str(bundle),
            "answers": ", ".join(f"{n} {name}" for name, n in counts.verdicts.items()),
            "engine calls made to fail": f"{result.injected}, {counts.faulted} answers, "
            f"{len(counts.live_on_fault)} of them LIVE",
            "held up by a fault": counts.held_up,
            "wrong": len(counts.wrong),
            "late": len(counts.late),
            "longest answer": format_ms(counts.longest_ms),
            "swaps": f"{counts.swaps} done, {counts.refused_swaps} to a lying engine refused",
            "memory": f"{before.rss_mb:.1f} MB after warm-up, {after.rss_mb:.1f} MB at the end",
            "memory growth": format_share(result.drift),
            "threads": f"{before.threads} after warm-up, {after.threads} at the end",
            "descriptors": f"{before.descriptors} after warm-up, {after.descriptors} at the end",
        },
    )
