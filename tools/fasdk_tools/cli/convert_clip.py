"""Verb convert-clip."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fasdk_tools.cli.root import JsonOption, Panel, app, require_build_half
from fasdk_tools.terminal.numbers import count_of, format_count
from fasdk_tools.terminal.output import print_answer, print_fields, print_json


@app.command("convert-clip", rich_help_panel=Panel.BUILD)
def convert_clip(
    source: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="OpenAI's file, such as ViT-B-16.pt.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="File to write; by default the archive's name as .safetensors."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn OpenAI's CLIP archive into safetensors for `train`, without running its code."""
    require_build_half()
    from fasdk_engines.training.clip_archive import convert_clip as convert
    from fasdk_tools.outputs import require_outputs

    written = source.with_suffix(".safetensors") if out is None else out
    require_outputs({"--out": written}, {"ARCHIVE": source})
    found = convert(source, written)
    if as_json:
        print_json(asdict(found) | {"out": str(found.out)})
        return
    print_answer(f"Wrote {count_of(found.tensors, 'tensor')} of {source} to {found.out}")
    fields: dict[str, object] = {
        "visual tower": f"{count_of(found.blocks, 'block')} of width {found.width}, patches of "
        f"{found.patch_px} px, input {found.image_px} px",
        "weights": f"{format_count(found.parameters)} parameters",
        "archive's SHA-256": found.source_sha256,
    }
    if found.dropped:
        fields["left out"] = ", ".join(found.dropped)
    print_fields("", fields)
