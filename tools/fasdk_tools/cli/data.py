"""Verb synth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fasdk_tools.cli.root import JsonOption, Panel, app
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, progress_view


@app.command(rich_help_panel=Panel.DATA)
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write into.")],
    captures: Annotated[int, typer.Option(help="Number of captures.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed, same captures.")] = 0,
    domain: Annotated[
        str,
        typer.Option(help="Domains, alternating, such as W,C,P,S; by default one general domain."),
    ] = "",
    species: Annotated[
        str,
        typer.Option(
            help='Attack species to generate, such as "print flat,makeup"; all by default.'
        ),
    ] = "",
    size: Annotated[str, typer.Option(help="Frame width x height, such as 320x240.")] = "",
    frames: Annotated[int, typer.Option(min=1, help="Captures per presentation.")] = 1,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="PNG file for an overview of some captures of each species.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Generate synthetic multi-modal captures, for tests: no evidence about real attacks."""
    from fasdk_calibration.synthetic import parse_attacks, write_dataset
    from fasdk_calibration.synthetic.contact_sheet import ContactSheet
    from fasdk_calibration.synthetic.domains import populations_of
    from fasdk_tools.outputs import require_outputs

    require_outputs({"--contact-sheet": contact_sheet}, {"OUT": out})
    populations = populations_of(
        [letter.strip() for letter in domain.split(",")] if domain else [],
        seed,
        size=_frame_size(size) if size else None,
        attacks=parse_attacks(species.split(",")) if species else (),
        frames_per_presentation=frames,
    )
    sheet = ContactSheet()
    with progress_view() as view:
        lists = write_dataset(
            out,
            captures,
            seed,
            populations=populations,
            progress=view,
            look=sheet.add,
        )
    document: dict[str, Any] = {
        "captures": captures,
        "seed": seed,
        "lists": {split.value: str(path) for split, path in lists.items()},
    }
    if contact_sheet is not None:
        sheet.write(contact_sheet)
        document["contact_sheet"] = str(contact_sheet)
    if as_json:
        print_json(document)
    else:
        print_answer(f"Wrote {count_of(captures, 'synthetic capture')} to {out}, seed {seed}")
        print_fields("", {f"list {name}": path for name, path in document["lists"].items()})
        if contact_sheet is not None:
            print_fields("", {"contact sheet": str(contact_sheet)})


def _frame_size(text: str) -> tuple[int, int]:
    """Return width and height, as in 320x240."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"size {text!r}: expected WIDTHxHEIGHT in pixels, such as 320x240")
    return int(width), int(height)
