"""Options of the verbs that read lists: what a list's lines leave open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from fasdk.lists import ListOptions

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
