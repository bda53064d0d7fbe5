"""Verb dataset unpack."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from fasdk.settings import as_choice
from fasdk_tools.cli.dataset import dataset
from fasdk_tools.cli.root import JsonOption
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, progress_view


class PackedDataset(str, Enum):
    """A data set that is distributed in files of its own kind."""

    WMCA = "wmca"


@dataset.command()
def unpack(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Data set to unpack: wmca.")],
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders with its parts RGB and CDIT."),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write frames and wmca.jsonl into.")
    ],
    frame: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Number of a frame to take of every video. Repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a packed data set as image files and a list that every verb reads.

    An interrupted run continues: a video's folder appears when it is whole, the list at the end.
    """
    from fasdk_calibration.datasets.unpacking import unpack_wmca

    as_choice("NAME", name, PackedDataset)
    with progress_view() as view:
        report = unpack_wmca(sources, out, frames=frame or (), progress=view)
    if as_json:
        print_json(asdict(report))
        return
    print_answer(
        f"Unpacked {count_of(report.captures, 'capture')} of "
        f"{count_of(report.videos, 'video')} to {out}"
    )
    fields: dict[str, object] = {"list": report.list}
    if report.already_there:
        fields["already there"] = count_of(report.already_there, "video")
    if report.unpaired_frames:
        fields["left out"] = f"{count_of(report.unpaired_frames, 'frame')} of one file alone"
    print_fields("", fields)
