"""Verb dataset check."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk_tools.cli.list_options import (
    DepthScaleOption,
    FaceFormOption,
    IrShiftOption,
    LiveLabelOption,
    RootOption,
    dataset_source,
    list_options,
)
from fasdk_tools.cli.root import EXIT_NO, JsonOption, Panel, app
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
    from fasdk_calibration.datasets.check import DatasetReport

dataset = typer.Typer()
app.add_typer(dataset, name="dataset", rich_help_panel=Panel.DATA)


SourceArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="LIST...",
        help="A list (JSON Lines, JSON, CSV or other text with columns, .gz too) or a data set's "
        "folder; several make one data set.",
    ),
]


@dataset.callback()
def _group() -> None:
    """Check data sets before training or measuring on them, and make lists of them."""


@dataset.command()
def check(
    source: SourceArgument,
    root: RootOption = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another split, which must not share a subject. Repeatable."),
    ] = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count captures and find every row that another verb would stumble on.

    Several lists are checked as the one data set that `train` makes of them. With --root every
    frame is opened, also of a list that names frames as a published data set does. Exit 1 for a
    fault: frames missing or unreadable, face boxes outside, subjects shared, rows that contradict.
    What a list leaves open may also stand in it: `# fasdk: live_label=0 face=xyxy`.
    """
    from fasdk_calibration.datasets.check import check_dataset

    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    opened = dataset_source("LIST", source, options, root=root).open()
    others = [dataset_source("--against", [o], options, root=None).open() for o in against or ()]
    # A published list does not state where its frames lie; the others do.
    with_frames = bool(root) or not opened.is_bare or not opened.missing_files(1)
    with progress_view() as view:
        report = check_dataset(
            opened,
            others,
            with_frames=with_frames,
            progress=view,
        )
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)
    for line in report.warnings:
        STDERR.print(f"fasdk: warning: {line}", markup=False, soft_wrap=True)
    for line in report.faults:
        STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)
    if report.faults:
        raise typer.Exit(EXIT_NO)


def _print_report(report: DatasetReport) -> None:
    fields: dict[str, object] = {
        "captures": report.rows,
        "bona fide": report.bona_fide,
        "attack": report.attack,
        "duplicates": report.duplicates,
        "presentations": report.presentations,
        "subjects": report.subjects,
        "domains": report.domains,
        "modalities": report.modalities,
    }
    if report.reading:
        fields["read as"] = "; ".join(report.reading)
    for shared in report.shared_subjects:
        fields[f"shared with {shared.against}"] = shared.subjects
    if report.frames is None:
        fields["frames"] = "not opened: give --root"
    else:
        fields["files"] = report.frames.files
        fields["missing"] = report.frames.missing
        fields["unreadable"] = report.frames.unreadable
        fields["boxes outside"] = report.frames.boxes
        fields["mixed sizes"] = report.frames.mixed_sizes
        if report.frames.face_distance_mm is not None:
            fields["face distance"] = f"{report.frames.face_distance_mm:.0f} mm (median)"
    faults, warnings = len(report.faults), len(report.warnings)
    print_answer(
        f"{report.name}: {count_of(faults, 'fault') if faults else 'no fault'} in "
        f"{count_of(report.rows, 'capture')}"
        + (f", {count_of(warnings, 'warning')}" if warnings else "")
    )
    print_fields("", fields)
    print_rows("Species", ["species", "captures"], list(report.species.items()))
    if report.frames is not None:
        print_rows(
            "Most frequent frame sizes",
            ["modality", "width", "height", "frames"],
            [(s.modality, s.width, s.height, s.frames) for s in report.frames.sizes],
        )
