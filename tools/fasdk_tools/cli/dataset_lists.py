"""Verbs dataset convert, split and crop."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.dataset import SourceArgument, dataset
from fasdk_tools.cli.list_options import (
    DepthScaleOption,
    FaceFormOption,
    IrShiftOption,
    LiveLabelOption,
    RootOption,
    dataset_source,
    list_options,
)
from fasdk_tools.cli.root import JsonOption
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import (
    STDERR,
    print_answer,
    print_fields,
    print_json,
    print_rows,
    progress_view,
)

if TYPE_CHECKING:
    from fasdk_calibration.datasets import Dataset, DatasetSource

_USUAL_PARTS = {"train": 0.6, "development": 0.2, "test": 0.2}
_LIST_SUFFIXES = (".jsonl", ".csv")


@dataset.command()
def convert(
    source: SourceArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="List to write: .jsonl, or .csv for a table.")
    ],
    root: RootOption = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what is known of every capture as a list of fasdk's own form.

    Frames stay where they are; the list's first line says where, so it needs no --root.
    """
    from fasdk_calibration.datasets import write_list
    from fasdk_tools.outputs import files_of, require_outputs

    if out.suffix not in _LIST_SUFFIXES:
        raise UsageError(f"-o {out} is not called like a list: end it .jsonl or .csv")
    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    lists = dataset_source("LIST", source, options, root=root)
    require_outputs({"-o": out}, files_of("LIST", lists))
    opened = _opened(lists)
    write_list(opened.records, out, opened.root)
    if as_json:
        print_json(
            {
                "list": str(out),
                "captures": len(opened.records),
                "root": str(opened.root),
                "reading": opened.reading,
                "notes": opened.notes,
            }
        )
    else:
        print_answer(f"Wrote {out}: {count_of(len(opened.records), 'capture')}")
        fields: dict[str, object] = {"frames below": opened.root}
        if opened.reading:
            fields["read as"] = "; ".join(opened.reading)
        print_fields("", fields)
    _print_notes(opened.notes)


@dataset.command()
def split(
    source: SourceArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to make, a list for each part.")],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE",
            help="A part and its share; by default train=0.6, development=0.2, test=0.2. "
            "Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same parts.")] = 0,
    root: RootOption = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    as_json: JsonOption = False,
) -> None:
    """Divide captures by person, alike in label, species and domain; nobody is in two parts."""
    from fasdk_calibration.datasets.split import absent_strata, split_dataset, write_split
    from fasdk_calibration.datasets.writing import require_new_folder

    require_new_folder(out)
    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    opened = _opened(dataset_source("LIST", source, options, root=root))
    parts = split_dataset(opened, _shares(part or ()), seed)
    paths = write_split(opened, parts, out)
    notes = [*opened.notes, *absent_strata(parts)]
    rows = [
        {
            "name": each.name,
            "list": str(path),
            "captures": len(each.records),
            "presentations": len(each.presentations),
            "subjects": len(each.subjects),
            "bona_fide": sum(record.is_bona_fide for record in each.records),
            "attack": sum(not record.is_bona_fide for record in each.records),
        }
        for each, path in zip(parts, paths, strict=True)
    ]
    if as_json:
        print_json({"seed": seed, "parts": rows, "notes": notes})
    else:
        print_answer(f"Wrote {count_of(len(parts), 'list')} to {out}, seed {seed}")
        print_rows(
            "Parts, no person in two",
            ("list", "captures", "presentations", "subjects", "bona fide", "attack"),
            [(Path(str(row["list"])).name, *list(row.values())[2:]) for row in rows],
        )
    _print_notes(notes)


@dataset.command()
def crop(
    source: SourceArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to make: the crops and captures.jsonl.")
    ],
    face_model: Annotated[
        Path | None,
        typer.Option(help="YuNet ONNX file, for captures whose list has no face box."),
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.1, max=16.0, help="Factor on the sides of the face box.")
    ] = 1.0,
    root: RootOption = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut the frames of every capture to the face, as published data sets keep them.

    Captures without a face are left out and named in failures.jsonl.
    """
    from fasdk_calibration.datasets.cropping import crop_dataset
    from fasdk_calibration.datasets.writing import require_new_folder

    require_new_folder(out)
    finder = None
    if face_model is not None:
        from fasdk.faces import FaceFinder

        finder = FaceFinder(face_model)
    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    opened = _opened(dataset_source("LIST", source, options, root=root))
    with progress_view() as view:
        result = crop_dataset(opened, out, finder, scale, view)
    if as_json:
        print_json(asdict(result))
    else:
        print_answer(f"Wrote {result.list}: {count_of(result.captures, 'capture')} cut to the face")
        fields: dict[str, object] = {
            "face in the list": result.captures - result.found,
            "face found": result.found,
            "left out": len(result.failures),
        }
        if result.failures_file is not None:
            fields["named in"] = result.failures_file
        print_fields("", fields)


def _opened(source: DatasetSource) -> Dataset:
    """Return a data set whose frames are all there."""
    opened = source.open()
    opened.require_files()
    return opened


def _shares(texts: list[str] | tuple[()]) -> dict[str, float]:
    """Return the share of each part; the usual parts for none named.

    Raises:
        UsageError: A part has no share, is no file name or is named twice.
    """
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        if not name or name != Path(name).name or name.startswith("."):
            raise UsageError(f"--part {text}: {name!r} cannot name a list, such as train=0.6")
        if name in shares:
            raise UsageError(f"--part {text}: {name} is named twice")
        try:
            shares[name] = float(share)
        except ValueError:
            raise UsageError(f"--part {text}: {share!r} is no share, such as 0.6") from None
    return shares or dict(_USUAL_PARTS)


def _print_notes(notes: list[str] | tuple[str, ...]) -> None:
    for note in notes:
        STDERR.print(f"fasdk: note: {note}", markup=False, soft_wrap=True)
