"""Options of the verbs that read lists: where frames lie, and what a list's lines leave open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.bounded_file import is_folder
from fasdk.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from fasdk.lists import ListOptions
    from fasdk_calibration.datasets import DatasetSource

RootOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder the lists' paths start from, each list's own by default; repeated, one for "
        "each list in their order.",
    ),
]
DevelopmentRootOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="The same for --development; by default --root."),
]

LiveLabelOption = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL", help="Label of bona fide rows, such as 1 or 0; all others are attacks."
    ),
]
FaceFormOption = Annotated[
    str | None,
    typer.Option(help="Four numbers of a face box: xywh, xyxy (corners) or cxcywh (center)."),
]
DepthScaleOption = Annotated[
    float | None,
    typer.Option(
        metavar="MM", help="Millimeters of one unit of the depth files; 0.1 for 100 micrometers."
    ),
]
IrShiftOption = Annotated[
    int | None,
    typer.Option(metavar="BITS", help="Bits to shift 16-bit infrared right; 2 for 10-bit samples."),
]


def dataset_source(
    option: str,
    paths: Sequence[Path],
    options: ListOptions | None,
    *,
    root: Sequence[Path] | None,
    root_option: str = "--root",
    usual_root: Sequence[Path] | None = None,
) -> DatasetSource:
    """Return the data set that an option names.

    Args:
        option: The option, for messages.
        paths: Its lists and folders.
        options: What the command line says of lists.
        root: Folders given by `root_option`.
        root_option: The option of the folders.
        usual_root: Folders of --root, which hold where `root_option` is not given.

    Raises:
        UsageError: There is neither one folder for all lists nor one for each.
    """
    from fasdk_calibration.datasets import DatasetSource

    roots = tuple(root or ())
    if not roots and usual_root and not all(is_folder(path) for path in paths):
        roots = tuple(usual_root)
    if len(roots) not in (0, 1, len(paths)):
        raise UsageError(
            f"{option}: {len(roots)} root folders for {len(paths)} of lists and folders: give "
            f"{root_option} once for all of them, or once for each, in their order"
        )
    return DatasetSource(tuple(paths), roots, options)


def list_options(
    live_label: str | None,
    face_form: str | None,
    depth_scale_mm: float | None,
    ir_shift: int | None,
) -> ListOptions:
    """Return what the command line says of lists.

    Raises:
        UsageError: A value is not of its kind.
    """
    from fasdk.lists.options import options_of

    said = {
        "live_label": live_label,
        "face": face_form,
        "depth_scale_mm": depth_scale_mm,
        "ir_shift": ir_shift,
    }
    try:
        return options_of(
            {name: value for name, value in said.items() if value is not None}, "options"
        )
    except DatasetError as error:
        raise UsageError(str(error)) from error
