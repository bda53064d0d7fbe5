"""Verb describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.list_options import RootOption, dataset_source
from fasdk_tools.cli.root import (
    EXIT_NO,
    JsonOption,
    Panel,
    WideOption,
    app,
    parse_modalities,
    require_build_half,
)
from fasdk_tools.terminal.description import show_description

if TYPE_CHECKING:
    from fasdk_engines.onnx_import.describe import FileDescription


@app.command(rich_help_panel=Panel.BUILD)
def describe(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx file.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="TOML description to write.")
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST",
            help="List of labeled captures, or a data set's folder: usual units, plane orders, "
            "live classes and crops are tried on them. Repeatable.",
        ),
    ] = None,
    root: RootOption = None,
    modalities: Annotated[
        str | None,
        typer.Option(help="What feeds its inputs, in the file's order, such as rgb,depth,ir."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Width and height in pixels such as 112x112, where the file has none."),
    ] = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Describe an ONNX file for `build-engine`: what it states, what is guessed, what to tell.

    Exit 1 where something must be told, by a line that does not parse until it is filled in, or
    where the file could not be run.
    """
    require_build_half()
    from fasdk_engines.onnx_import.describe import describe_onnx

    if out is not None and out.exists():
        raise UsageError(f"{out} exists: give -o another name, or remove it first")
    found = describe_onnx(
        source,
        reference=dataset_source("--reference", reference, None, root=root) if reference else None,
        modalities=parse_modalities(modalities, "--modalities"),
        size=None if size is None else _parse_size(size),
    )
    if out is not None:
        from fasdk.atomic import atomic_write

        with atomic_write(out) as file:
            file.write(found.draft.text().encode())
    show_description(source, found, out, as_json=as_json, wide=wide)
    if found.draft.missing or found.problem is not None:
        raise typer.Exit(EXIT_NO)


def missing_description(source: Path, found: FileDescription) -> UsageError:
    """Return the error for an ONNX file that comes without its description."""
    asked = ", ".join(field.name for field in found.draft.missing) or "nothing, but check it"
    toml = source.with_suffix(".toml").name
    return UsageError(
        f"--model onnx takes --preprocess FILE.toml, which describes inputs and output, and no "
        f"--config: `fasdk describe {source} -o {toml}` writes it; to be told in it: {asked}"
    )


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--size {text!r} is not WIDTHxHEIGHT in pixels, such as 112x112")
    return int(width), int(height)
