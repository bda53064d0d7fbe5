"""Verb profile."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli import profile_comparison as comparison
from fasdk_tools.cli import profile_search as search
from fasdk_tools.cli.profile_door import DoorRequest, profile_door
from fasdk_tools.cli.profile_options import Question, require_used
from fasdk_tools.cli.root import (
    BackendOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    app,
    require_templates,
    trust_policy,
)
from fasdk_tools.terminal.output import print_json, progress_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.run import Profile
    from fasdk_tools.terminal.output import ProgressView


@app.command(rich_help_panel=Panel.MEASURE)
def profile(
    context: typer.Context,
    bundle: BundleArgument,
    load: Annotated[
        str,
        typer.Option(
            help="closed (again once answered), constant, poisson, replay, offline (all at once), "
            "idle (first decision after pauses) or cold (a new process each time); "
            "those but closed go through the session and count from when a capture was due."
        ),
    ] = "closed",
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R", help="Captures a second that are due, or max for the highest held."
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="MS", help="Deadline from due time, in milliseconds, for goodput."),
    ] = None,
    cameras: Annotated[int, typer.Option(help="Cameras that submit, each from its thread.")] = 1,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second of each camera, out of step, instead of --rate."),
    ] = None,
    arrivals: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Arrival times for replay: milliseconds, one a line, or what run --json printed.",
        ),
    ] = None,
    captures: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="Captures to use instead of the bundle's golden ones."),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(help="Batch sizes, comma separated; but for closed, the largest."),
    ] = "1",
    lanes: Annotated[
        str, typer.Option(help="Numbers of lanes that work at once, comma separated.")
    ] = "1",
    seconds: Annotated[float, typer.Option(help="Measured time of each combination.")] = 3.0,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="P", help="Go on until p50, p90, p95, p99 or p99.9 has a bound within 10 %."
        ),
    ] = None,
    calls: Annotated[int, typer.Option(help="Captures of an offline load.")] = 1000,
    warmup: Annotated[int, typer.Option(help="Calls before the measurement.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random arrivals.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for one per core.")] = 0,
    soak: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Go on for so long, such as 45m, and show drift, memory and temperature minute by "
            "minute; Ctrl-C ends it early. Faults and swaps are what `fasdk soak` adds.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="For idle and cold: fewer pauses or starts.")
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(metavar="OUT.npz", help="File for every call of the run."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER",
            help="Call another bundle in turns with this one instead; exit 1 where this is slower.",
        ),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Search lanes, batch, wait and threads that meet a target instead, such as "
            "'p99<=30ms@20/s', for captures that arrive at random.",
        ),
    ] = None,
    policy_out: Annotated[
        Path | None,
        typer.Option("-o", metavar="FILE", help="JSON file for what --find found."),
    ] = None,
    doors: Annotated[
        int | None,
        typer.Option(
            help="Say whether the machine serves so many doors instead; with --fps and --deadline."
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Most time that --find or --doors takes, such as 90s; 5m unless given.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also compare with a profile that --json stored; exit 1 where this is slower.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Share by which it may be slower; by default 0.05 against a bundle, 0.1 against a "
            "stored profile."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.html",
            help="Also write one HTML page: percentiles with bounds, charts, the verdict.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.perfetto-trace",
            help="Also write a Perfetto trace: lanes and queue in time, one slice a stage.",
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Also time the graph's layers as the backend runs them."),
    ] = False,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency of a bundle on this machine under a load, stage by stage."""
    from fasdk.backends.registry import parse_backend
    from fasdk.settings import as_choice
    from fasdk_tools.outputs import require_outputs
    from fasdk_tools.profiling.arrivals import read_arrivals
    from fasdk_tools.profiling.load import Load, LoadRequest
    from fasdk_tools.profiling.run import ProfileOptions, run_profile

    chosen = as_choice("--load", load, Load)
    asked = {Question.AGAINST: against, Question.FIND: find, Question.DOORS: doors}
    question = next((each for each, value in asked.items() if value is not None), None)
    require_used(context, chosen, question)
    if html is not None:
        require_templates("--html")
    require_outputs(
        {"--samples": samples, "--html": html, "--trace": trace, "-o": policy_out},
        {
            "the bundle": bundle,
            "--captures": captures,
            "--arrivals": arrivals,
            "--baseline": baseline,
        },
    )
    if arrivals is not None and chosen is not Load.REPLAY:
        raise UsageError(f"--arrivals is for --load replay, the load is {chosen.value}")
    recorded = None if arrivals is None else read_arrivals(arrivals)
    budget = search.read_within(within, is_search=find is not None or doors is not None)

    door_fps = fps
    if doors is not None:  # the load's own rate is the search's
        fps = None

    def request(size: int, number: int) -> LoadRequest:
        return LoadRequest(
            load=chosen,
            batch=size,
            lanes=number,
            seconds=seconds,
            rate_per_s=None if rate is None else _parse_rate(rate),
            fps=None if chosen is Load.IDLE else fps,
            cameras=cameras,
            arrivals_ms=recorded,
            calls=calls,
            seed=seed,
            warmup=warmup,
        )

    sizes, numbers = _parse_numbers("--batch", batch), _parse_numbers("--lanes", lanes)
    if doors is not None and len(sizes) * len(numbers) > 1:
        raise UsageError("--doors takes one number of lanes and one batch size: give one of each")
    options = ProfileOptions(
        bundle=bundle,
        loads=tuple(request(size, number) for number in numbers for size in sizes),
        backend=parse_backend(backend),
        trust=trust_policy(key, unsigned),
        threads=threads,
        deadline_ms=deadline,
        captures=captures,
        samples=samples,
        until_percent=None if until is None else _parse_percentile(until),
        trace=trace,
        layers=layers,
        yardstick_seconds=comparison.yardstick_seconds(
            seconds, is_wanted=as_json or baseline is not None
        ),
        baseline=comparison.read_baseline(baseline, tolerance),
    )
    if soak is not None or quick or chosen in (Load.IDLE, Load.COLD):
        of_door = DoorRequest(
            soak=soak,
            quick=quick,
            fps=fps,
            backend=backend,
            keys=key,
            unsigned=unsigned,
            unused={
                "--against": against,
                "--baseline": baseline,
                "--samples": samples,
                "--trace": trace,
                "--until": until,
            },
        )
        with progress_view() as view:
            _answer(profile_door(options, of_door, _bars(view)), html, as_json=as_json)
        return
    if against is not None:
        with progress_view() as view:
            answer = comparison.answer_against(
                options, against, seconds=seconds, tolerance=tolerance, on_progress=_bars(view)
            )
        comparison.print_and_exit(answer, as_json=as_json)
        return
    if find is not None or doors is not None:
        with progress_view() as view:
            result = (
                search.answer_find(options, find, policy_out, budget, _bars(view))
                if find is not None
                else search.answer_doors(
                    options,
                    asked=doors or 0,
                    fps=door_fps,
                    lanes=numbers[0],
                    batch=sizes[0],
                    budget=budget,
                    on_progress=_bars(view),
                )
            )
        search.print_and_exit(result, as_json=as_json)
        return
    with progress_view() as view:
        found = run_profile(options, _bars(view))
    _answer(found, html, as_json=as_json)
    comparison.exit_by_baseline(found.document.baseline, as_json=as_json)


def _answer(found: Profile, html: Path | None, *, as_json: bool) -> None:
    """Write the page of a profile where one is asked for, and print the profile."""
    from fasdk_tools.terminal.profile import print_profile

    if html is not None:
        from fasdk_tools.report.profile import layers_of, write_profile

        write_profile(
            html,
            found.document,
            found.samples,
            machine=found.machine,
            layers=layers_of(found.document),
        )
    if as_json:
        print_json(found.document.model_dump(mode="json"))
    else:
        print_profile(found.document)


def _bars(view: ProgressView) -> Callable[[str, float], None]:
    return lambda name, share: view.update(name, round(100 * share), 100)


def _parse_rate(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise UsageError(f"--rate {text!r} is no rate: expected captures a second above 0, or max")
    return rate


def _parse_percentile(text: str) -> float:
    from fasdk_tools.profiling.percentiles import PERCENTS

    known = {f"p{percent:g}": percent for percent in PERCENTS}
    if text not in known:
        raise UsageError(f"--until {text!r} is not measured: choose among {', '.join(known)}")
    return known[text]


def _parse_numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UsageError(f"{option} {text!r} is not a list of whole numbers from 1 on, such as 1,4")
    return numbers
