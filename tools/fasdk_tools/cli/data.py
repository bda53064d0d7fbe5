"""Captures and lists of them: synth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fasdk_tools.cli.root import JsonOption, app
from fasdk_tools.output import print_fields, print_json, progress_view


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write into.")],
    captures: Annotated[int, typer.Option(help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed, same captures.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write synthetic multi-modal captures; a test instrument, no evidence about real attacks."""
    from fasdk_calibration.synthetic import write_dataset

    with progress_view() as view:
        lists = write_dataset(
            out,
            captures,
            seed,
            on_capture=lambda done, total: view.update("captures", done, total),
        )
    document = {
        "captures": captures,
        "seed": seed,
        "lists": {split.value: str(path) for split, path in lists.items()},
    }
    if as_json:
        print_json(document)
    else:
        print_fields(f"Wrote {out}", document)
