"""Verb profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli import profile_comparison as comparison
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

    from fasdk_tools.terminal.output import ProgressView


@app.command(rich_help_panel=Panel.MEASURE)
def profile(
    bundle: BundleArgument,
    batch: Annotated[str, typer.Option(help="Batch sizes, comma separated.")] = "1",
    lanes: Annotated[
        str, typer.Option(help="Numbers of lanes that work at once, comma separated.")
    ] = "1",
    seconds: Annotated[float, typer.Option(help="Measured time of each combination.")] = 3.0,
    warmup: Annotated[int, typer.Option(help="Calls before the measurement.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for one per core.")] = 0,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER",
            help="Call another bundle in turns with this one instead; exit 1 where this is slower.",
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
        bool, typer.Option("--layers", help="Also time the graph's layers, on ONNX Runtime.")
    ] = False,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency of a bundle on this machine, stage by stage."""
    from fasdk.backends.registry import parse_backend
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.run import ProfileOptions, run_profile
    from fasdk_tools.terminal.profile import print_profile

    if html is not None:
        if against is not None:
            raise UsageError("--html is a page of one profile: leave it out with --against")
        require_templates("--html")
        if not html.absolute().parent.is_dir():
            raise UsageError(f"--html {html}: its folder does not exist")
    batches, numbers = _parse_numbers("--batch", batch), _parse_numbers("--lanes", lanes)
    options = ProfileOptions(
        bundle=bundle,
        loads=tuple(
            LoadRequest(batch=size, lanes=number, seconds=seconds, warmup=warmup)
            for number in numbers
            for size in batches
        ),
        backend=parse_backend(backend),
        trust=trust_policy(key, unsigned),
        threads=threads,
        trace=trace,
        layers=layers,
        yardstick_seconds=comparison.yardstick_seconds(
            seconds, is_wanted=as_json or baseline is not None
        ),
        baseline=comparison.read_baseline(baseline, tolerance),
    )
    if against is not None:
        if trace is not None:
            raise UsageError("--trace shows one bundle's run: leave it or --against out")
        if layers:
            raise UsageError("--layers shows one bundle's graph: leave it or --against out")
        with progress_view() as view:
            answer = comparison.answer_against(
                options, against, seconds=seconds, tolerance=tolerance, on_progress=_bars(view)
            )
        comparison.print_and_exit(answer, as_json=as_json)
        return
    with progress_view() as view:
        found = run_profile(options, _bars(view))
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
    comparison.exit_by_baseline(found.document.baseline, as_json=as_json)


def _bars(view: ProgressView) -> Callable[[str, float], None]:
    return lambda name, share: view.update(name, round(100 * share), 100)


def _parse_numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UsageError(f"{option} {text!r} is not a list of whole numbers from 1 on, such as 1,4")
    return numbers
