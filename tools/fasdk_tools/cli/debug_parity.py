"""Verb debug-parity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fasdk_tools.cli.root import (
    EXIT_NO,
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    app,
    require_build_half,
    trust_policy,
)
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, progress_view


@app.command("debug-parity", rich_help_panel=Panel.BUILD)
def debug_parity(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A bundle, an ONNX file or a checkpoint.")
    ],
    against: Annotated[
        Path | None, typer.Option(help="Another bundle, ONNX file or checkpoint of the same model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model name, for a checkpoint.")] = None,
    config: Annotated[str | None, typer.Option(help="Settings, for a checkpoint.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights to take of a file that holds several: ema, raw or their key."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference, relative to the tensor's own scale; "
            "0.001, or 0.05 against the half-precision form."
        ),
    ] = None,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the first layer where two graphs of one model diverge; exit 1 if one does."""
    require_build_half()
    from fasdk_tools.diagnostics.debug_parity import compare

    trust = trust_policy(key, unsigned)
    with progress_view() as view:
        result = compare(source, against, model, config, tolerance, view.phase, weights, trust)
    if as_json:
        print_json(result)
    elif result["diverges"]:
        print_answer(f"The graphs diverge at {result['divergence']['tensor']}")
        print_fields("", result["divergence"])
    else:
        print_answer(
            f"The graphs agree: no layer differs by more than {result['tolerance']} of its scale"
        )
    if result["diverges"]:
        raise typer.Exit(EXIT_NO)
