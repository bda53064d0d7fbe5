"""Verb profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
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
    )
    with progress_view() as view:
        found = run_profile(options, _bars(view))
    if html is not None:
        from fasdk_tools.report.profile import write_profile

        write_profile(html, found.document, found.samples)
    if as_json:
        print_json(found.document.model_dump(mode="json"))
    else:
        print_profile(found.document)


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
