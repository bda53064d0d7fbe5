"""Face boxes of lists: their convention, their pixels, and their place in the frame."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fasdk.capture import FaceBox
from fasdk.errors import CaptureError, DatasetError
from fasdk.lists.options import FaceForm, line_to_write
from fasdk.lists.words import normal_word

# A detector lets a box at the border reach out of the frame; what is mostly outside is another's.
MIN_SHARE_INSIDE = 0.75
_LARGEST_NORMALIZED = 1.05
_FACE_ASPECT = (0.4, 2.5)  # width to height of what may be a face
_DOUBT = 0.1  # share of rows that may contradict a form before it is given up

Box = tuple[float, float, float, float]
Size = tuple[int, int]

# Names of a box's numbers, in the order of its form.
NAMED_FORMS: tuple[tuple[FaceForm, tuple[str, str, str, str]], ...] = (
    (FaceForm.XYWH, ("x", "y", "w", "h")),
    (FaceForm.XYWH, ("x", "y", "width", "height")),
    (FaceForm.XYWH, ("left", "top", "width", "height")),
    (FaceForm.XYWH, ("face x", "face y", "face w", "face h")),
    (FaceForm.XYWH, ("bbox x", "bbox y", "bbox w", "bbox h")),
    (FaceForm.XYXY, ("x1", "y1", "x2", "y2")),
    (FaceForm.XYXY, ("x0", "y0", "x1", "y1")),
    (FaceForm.XYXY, ("xmin", "ymin", "xmax", "ymax")),
    (FaceForm.XYXY, ("x min", "y min", "x max", "y max")),
    (FaceForm.XYXY, ("left", "top", "right", "bottom")),
    (FaceForm.CENTER, ("cx", "cy", "w", "h")),
    (FaceForm.CENTER, ("cx", "cy", "width", "height")),
    (FaceForm.CENTER, ("x center", "y center", "width", "height")),
)


@dataclass(frozen=True)
class ListedBox:
    """Four numbers as a list gives them.

    Attributes:
        line: Number of the row's line.
        numbers: The four, in the list's order.
        form: Meaning that their names give, None where they have none.
    """

    line: int
    numbers: Box
    form: FaceForm | None = None


def named_form(names: Sequence[str]) -> tuple[FaceForm, tuple[str, str, str, str]] | None:
    """Return the form of a box whose numbers have names of their own, and the names as given."""
    given = {normal_word(name): name for name in names}
    for form, wanted in NAMED_FORMS:
        if all(name in given for name in wanted):
            a, b, c, d = (given[name] for name in wanted)
            return form, (a, b, c, d)
    return None


def parse_box(value: Any, line: int) -> ListedBox | None:
    """Return the box that a cell holds, None for an empty one.

    Raises:
        DatasetError: It is not four finite numbers.
    """
    form: FaceForm | None = None
    if isinstance(value, Mapping):
        found = named_form([str(key) for key in value])
        if found is None:
            raise DatasetError(
                f"face: has the members {', '.join(map(str, value))}, expected x, y, width, height "
                "or left, top, right, bottom"
            )
        form, keys = found
        value = [value[key] for key in keys]
    if isinstance(value, str):
        text = value.strip().strip("[](){}").strip()
        if text.lower() in ("", "none", "null", "nan", "-"):
            return None
        value = text.replace(",", " ").replace(";", " ").split()
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise DatasetError(f"face: {value!r} is not four numbers: write x, y, width, height alone")
    a, b, c, d = numbers
    return ListedBox(line, (a, b, c, d), form)


def choose_form(
    boxes: Sequence[ListedBox],
    sizes: Mapping[int, Size],
    told: FaceForm | None,
    *,
    documented: bool,
) -> tuple[FaceForm, bool, str]:
    """Return the form of a list's boxes, whether they are shares of the frame, and what to say.

    A form is given up where it puts boxes out of their frames or turns them inside out. Center and
    size are taken only where the list's names or the caller say so.

    Args:
        boxes: Every box of the list, at least one.
        sizes: Width and height in pixels of the frames that are there, by line.
        told: Form that the caller or the list states.
        documented: Whether the boxes are in the column that is documented as x, y, width, height.

    Raises:
        DatasetError: Two forms fit, or none.
    """
    shares = all(max(map(abs, box.numbers)) <= _LARGEST_NORMALIZED for box in boxes)
    unit = "shares of the frame" if shares else "pixels"
    named = {box.form for box in boxes} - {None}
    stated = told or (named.pop() if len(named) == 1 else None)
    if stated is not None:
        return stated, shares, f"face boxes are {stated.words}, in {unit}"
    # Shares of the frame under another name may be center and size, as YOLO writes them.
    forms = tuple(FaceForm)[: 2 if documented or not shares else 3]
    fits = {
        form: [box for box in boxes if _fits(box, form, sizes.get(box.line), shares)]
        for form in forms
    }
    sized = fits[FaceForm.XYWH]
    enough = (1 - _DOUBT) * len(boxes)
    could_be = [form for form, found in fits.items() if len(found) >= enough]
    if len(could_be) > 1 and len({len(found) for found in fits.values()}) > 1:
        # The form with a contradiction is the wrong one, if the other has none.
        could_be = [form for form, found in fits.items() if len(found) == len(boxes)]
    if could_be == [FaceForm.XYXY]:
        odd = len(boxes) - len(sized)
        return (
            FaceForm.XYXY,
            shares,
            f"face boxes are {FaceForm.XYXY.words}, in {unit}: as x, y, width, height {odd} of "
            f"{len(boxes)} would leave their frames",
        )
    doubtful = not _is_face_shaped(boxes, FaceForm.XYWH, sizes, shares) and _is_face_shaped(
        boxes, FaceForm.XYXY, sizes, shares
    )
    if could_be == [FaceForm.XYWH] or (documented and not doubtful):
        return FaceForm.XYWH, shares, f"face boxes are {FaceForm.XYWH.words}, in {unit}"
    first = boxes[0]
    found = ", ".join(f"{number:g}" for number in first.numbers)
    known = " or ".join(form.words for form in could_be) if len(could_be) > 1 else "no known form"
    lines = ", ".join(line_to_write(face=form.value) for form in FaceForm)
    raise DatasetError(
        f"face box {found} (line {first.line}) may be {known}: say which by one of the first lines "
        f"{lines}"
    )


def pixels_of(box: ListedBox, form: FaceForm, size: Size | None, *, shares: bool) -> FaceBox:
    """Return a box in whole pixels; its edges are rounded.

    Raises:
        CaptureError: It has no area.
        DatasetError: It is in shares of a frame whose size is not known.
    """
    a, b, c, d = box.numbers
    left, top, right, bottom = _edges((a, b, c, d), form)
    if shares:
        if size is None:
            raise DatasetError(
                "face: the box is in shares of the frame, and the frame cannot be opened"
            )
        left, right = left * size[0], right * size[0]
        top, bottom = top * size[1], bottom * size[1]
    x, y = _rounded(left), _rounded(top)
    return FaceBox(x, y, _rounded(right) - x, _rounded(bottom) - y)


def clip_to_frame(box: FaceBox, size: Size) -> tuple[FaceBox, bool]:
    """Return the part of a box that lies in a frame, and whether any lay outside.

    Raises:
        CaptureError: More than a quarter of its area lies outside.
    """
    width, height = size
    left, top = max(box.x, 0), max(box.y, 0)
    right, bottom = min(box.x + box.width, width), min(box.y + box.height, height)
    inside = max(0, right - left) * max(0, bottom - top)
    if inside < MIN_SHARE_INSIDE * box.width * box.height:
        raise CaptureError(
            f"face box {box.describe()} leaves the {width}x{height} frame: give x, y, width, "
            f"height in pixels of that frame, or say another form by the list's first line "
            f"{line_to_write(face='xyxy')}"
        )
    clipped = FaceBox(left, top, right - left, bottom - top)
    return clipped, clipped != box


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


def _edges(numbers: Box, form: FaceForm) -> Box:
    a, b, c, d = numbers
    if form is FaceForm.XYXY:
        return a, b, c, d
    if form is FaceForm.CENTER:
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, a + c, b + d


def _fits(box: ListedBox, form: FaceForm, size: Size | None, shares: bool) -> bool:
    left, top, right, bottom = _edges(box.numbers, form)
    if right <= left or bottom <= top:
        return False
    width, height = (1.0, 1.0) if shares else (size or (math.inf, math.inf))
    wide = min(right, width) - max(left, 0.0)
    high = min(bottom, height) - max(top, 0.0)
    share = max(wide, 0.0) * max(high, 0.0) / ((right - left) * (bottom - top))
    return share >= MIN_SHARE_INSIDE


def _is_face_shaped(
    boxes: Sequence[ListedBox], form: FaceForm, sizes: Mapping[int, Size], shares: bool
) -> bool:
    """Return whether boxes in a form are as wide and high as faces are, by their median."""
    aspects = []
    for box in boxes:
        left, top, right, bottom = _edges(box.numbers, form)
        wide, high = sizes.get(box.line, (1, 1)) if shares else (1, 1)
        if bottom > top:
            aspects.append((right - left) * wide / ((bottom - top) * high))
    if not aspects:
        return False
    return _FACE_ASPECT[0] <= statistics.median(aspects) <= _FACE_ASPECT[1]
