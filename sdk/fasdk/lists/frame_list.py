"""Lists of captures: the frames of every line, with their face boxes and units.

What a list says of labels, people and species stays as it is written: `FrameRow.values`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fasdk.bounded_file import is_folder
from fasdk.capture import Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import FrameUnits, frame_size
from fasdk.lists.boxes import ListedBox, choose_form, parse_box, pixels_of
from fasdk.lists.cells import read_cells
from fasdk.lists.columns import (
    Columns,
    RawRow,
    found_columns,
    named_columns,
    require_different,
)
from fasdk.lists.json_rows import read_json_rows
from fasdk.lists.loading import CaptureFiles
from fasdk.lists.options import (
    LINE_MARK,
    FaceForm,
    ListOptions,
    as_bool,
    options_of,
    options_of_line,
)
from fasdk.lists.paths import PathResolver
from fasdk.lists.text import read_text
from fasdk.lists.words import OWN_VIEWS, Column, hinted_modality, modality_of
from fasdk.settings import take_choices

NAMED_FAULTS = 10  # how many faults of a list's lines an error names
_SIZED = 256  # boxes of a list whose frames are opened to tell the boxes' form


@dataclass(frozen=True)
class FrameRow:
    """One capture of a list.

    Attributes:
        line: Number of the line it begins in, from 1.
        paths: Path of each frame, relative to the list's root, split by slashes.
        face: x, y, width, height in pixels of the first frame in the order rgb, depth, ir, or None.
        face_crop: Whether the frames are cut to the face.
        depth_unit: "millimeter", or "level" for depth drawn in 8 bits.
        units: Units of the depth and infrared files.
        values: Every other value by its column, as it is written.
        landmarks: Five points (x, y) in pixels of the first frame, as `Capture.landmarks` has
            them, or None.
        fault: Why the line describes no capture; "" where it does. Only a list that is read with
            `keep_faulty` has such rows, and they have no paths.
        faces: x, y, width, height in pixels of another frame that shows another view, by modality.
        frame_landmarks: Landmarks in such a frame, by modality.
    """

    line: int
    paths: Mapping[Modality, str]
    face: tuple[int, int, int, int] | None
    face_crop: bool
    depth_unit: str
    units: FrameUnits
    values: Mapping[Column, Any]
    landmarks: tuple[tuple[float, float], ...] | None = None
    fault: str = ""
    faces: Mapping[Modality, tuple[int, int, int, int]] = field(default_factory=dict)
    frame_landmarks: Mapping[Modality, tuple[tuple[float, float], ...]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Take paths, values and what is said of other views by members."""
        take_choices(self, paths=Modality, values=Column, faces=Modality, frame_landmarks=Modality)

    def files(self, root: Path) -> CaptureFiles:
        """Return the row's files below the list's root, for `examine_files`."""
        paths = {modality: root / path for modality, path in self.paths.items()}
        return CaptureFiles(
            paths,
            self.face,
            self.face_crop,
            self.depth_unit,
            self.units,
            self.landmarks,
            self.faces,
            self.frame_landmarks,
        )


@dataclass(frozen=True)
class FrameList:
    """A list of captures.

    Attributes:
        path: File it was read from.
        root: Folder the paths start from.
        rows: Captures in their order.
        options: What the caller and the list itself say.
        names: Word of the header for each column, as written; empty where there is no header.
        notes: What was decided about the list, for a reader of results.
    """

    path: Path
    root: Path
    rows: tuple[FrameRow, ...]
    options: ListOptions
    names: Mapping[Column, str]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Take the names by members."""
        take_choices(self, names=Column)


def read_frame_list(
    path: Path,
    root: Path | None = None,
    options: ListOptions | None = None,
    *,
    keep_faulty: bool = False,
) -> FrameList:
    """Return the captures of a list in any of the forms that are known.

    Args:
        path: JSON Lines, a JSON document, or text with separators, plain or gzipped. The content
            decides, not the name.
        root: Folder the paths start from; the list's own folder by default.
        options: What the list leaves open; goes before what the list says itself.
        keep_faulty: Keep malformed lines as rows with a `fault`, as long as one line is sound.

    Raises:
        DatasetError: The list is missing or empty, or lines are malformed or may be read in two
            ways; file, line and what to write are named.
    """
    path = Path(path)
    read = read_text(path)
    said = _options_in(read.text, path)
    first = next((line for line in read.text.split("\n") if _is_content(line)), "")
    if not first:
        raise DatasetError(
            f"capture list {path} is empty: one capture a line is expected, or a header and one "
            "row a capture"
        )
    notes = [*read.notes]
    if first.lstrip().startswith(("{", "[")):
        json_rows = read_json_rows(read.text, path)
        said = said.over(options_of(json_rows.options, str(path)))
        notes += json_rows.notes
        raw = [RawRow(row.line, row.values) for row in json_rows.rows]
        columns = named_columns(list(dict.fromkeys(n for r in raw for n in r.values)), raw, path)
    else:
        cells = read_cells(read.text, path)
        notes += cells.notes
        header = cells.header or tuple(f"column {i + 1}" for i in range(_width(cells.rows)))
        require_different(header, path)
        raw = [RawRow(r.line, dict(zip(header, r.cells, strict=True))) for r in cells.rows]
        raw = [RawRow(r.line, {n: v for n, v in r.values.items() if v != ""}) for r in raw]
        columns = (
            found_columns(header, raw, path)
            if cells.header is None
            else named_columns(header, raw, path)
        )
    if not raw:
        raise DatasetError(
            f"capture list {path} is empty: a header and one row a capture is expected"
        )
    options = (options or ListOptions()).over(said)
    notes += columns.notes
    if root is None:
        root = path.parent if options.root is None else path.parent / options.root
    if not is_folder(root):
        raise DatasetError(f"{path}: root {root} does not exist or is no folder")
    resolver = PathResolver(root, path.parent, options.strip)
    rows = _rows(path, root, raw, columns, options, resolver, notes)
    faults = [f"{path}:{row.line}: {row.fault}" for row in rows if row.fault]
    if not keep_faulty or len(faults) == len(rows):
        raise_faults(faults)
    notes += resolver.notes
    names = {c: n for n, c in columns.of.items() if not n.startswith("column ")}
    return FrameList(path, root, rows, options, names, tuple(dict.fromkeys(notes)))


def raise_faults(faults: Sequence[str]) -> None:
    """Raise one error for the faults of a list's lines.

    Raises:
        DatasetError: There is one; the first ten are named.
    """
    if not faults:
        return
    more = len(faults) - NAMED_FAULTS
    count = f"{len(faults)} faults: " if len(faults) > 1 else ""
    raise DatasetError(
        count + "; ".join(faults[:NAMED_FAULTS]) + (f"; and {more} more" if more > 0 else "")
    )


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("#", "//"))


def _width(rows: Sequence[Any]) -> int:
    return len(rows[0].cells) if rows else 0


def _options_in(text: str, path: Path) -> ListOptions:
    options = ListOptions()
    for number, line in enumerate(text.split("\n"), 1):
        body = line.strip()
        if body.startswith("#") and body[1:].strip().startswith(LINE_MARK):
            rest = body[1:].strip().removeprefix(LINE_MARK)
            options = options_of_line(rest, f"{path}:{number}").over(options)
        elif body and not body.startswith(("#", "//")):
            break
    return options


def _rows(
    path: Path,
    root: Path,
    raw: Sequence[RawRow],
    columns: Columns,
    options: ListOptions,
    resolver: PathResolver,
    notes: list[str],
) -> tuple[FrameRow, ...]:
    made: list[FrameRow] = []
    boxes: dict[int, ListedBox] = {}
    for row in raw:
        values = {c: row.values[n] for n, c in columns.of.items() if n in row.values}
        box_value = values.pop(Column.FACE, None)
        form = None
        if columns.box is not None and all(name in row.values for name in columns.box[1]):
            form, names = columns.box
            box_value = [row.values[name] for name in names]
        try:
            box = None if box_value is None else parse_box(box_value, row.line)
            made.append(_row(row.line, values, options, resolver, by_paths=columns.by_paths))
        except (DatasetError, CaptureError) as error:
            made.append(_faulty(row.line, str(error)))
            continue
        if box is not None:
            boxes[len(made) - 1] = ListedBox(box.line, box.numbers, form or box.form)
    if not boxes:
        return tuple(made)
    documented = columns.box is None and any(
        name == Column.FACE.value for name, column in columns.of.items() if column is Column.FACE
    )
    return _with_boxes(path, root, made, boxes, options, documented, notes)


def _faulty(line: int, reason: str) -> FrameRow:
    return FrameRow(line, {}, None, False, "millimeter", FrameUnits(), {}, fault=reason)


def _row(
    line: int,
    values: dict[Column, Any],
    options: ListOptions,
    resolver: PathResolver,
    *,
    by_paths: bool,
) -> FrameRow:
    paths: dict[Modality, str] = {}
    for column, value in list(values.items()):
        modality = modality_of(column)
        if modality is None:
            continue
        del values[column]
        if not isinstance(value, str):
            raise DatasetError(f"{column.value}: {value!r} is no path")
        if value.strip().lower() in ("", "none", "null", "nan", "-"):
            continue
        try:
            paths[modality] = resolver.resolve(value)
        except DatasetError as error:
            raise DatasetError(f"{column.value}: {error}") from error
        named = hinted_modality(value)
        if by_paths and named not in (None, modality):
            raise DatasetError(f"{value} stands in the column of {column.value}")
    if not paths:
        raise DatasetError("names no frame: give at least one of rgb, depth, ir")
    depth_unit = str(values.pop(Column.DEPTH_UNIT, options.depth_unit or "millimeter")).lower()
    depth_unit = {"mm": "millimeter", "millimeters": "millimeter", "levels": "level"}.get(
        depth_unit, depth_unit
    )
    if depth_unit not in ("millimeter", "level"):
        raise DatasetError(
            f"depth_unit: {depth_unit!r} is neither millimeter nor level: for another unit give "
            "depth_scale_mm, the millimeters of one unit, such as 0.1 for 100 micrometers"
        )
    crop = values.pop(Column.FACE_CROP, options.face_crop or False)
    scale = values.pop(Column.DEPTH_SCALE_MM, options.depth_scale_mm)
    shift = values.pop(Column.IR_SHIFT, options.ir_shift)
    try:
        face_crop = as_bool(crop)
        units = FrameUnits(
            None if scale is None else float(scale), None if shift is None else int(shift)
        )
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"face_crop {crop!r}, depth_scale_mm {scale!r} or ir_shift {shift!r} is no such value"
        ) from error
    landmarks = _landmarks_of(values.pop(Column.LANDMARKS, None), Column.LANDMARKS)
    ordered = {m: paths[m] for m in Modality if m in paths}
    faces, points = _other_views(line, values)
    return FrameRow(
        line,
        ordered,
        None,
        face_crop,
        depth_unit,
        units,
        values,
        landmarks,
        faces=faces,
        frame_landmarks=points,
    )


def _other_views(
    line: int, values: dict[Column, Any]
) -> tuple[
    dict[Modality, tuple[int, int, int, int]], dict[Modality, tuple[tuple[float, float], ...]]
]:
    """Take boxes and landmarks of frames that show another view than the first out of a row."""
    faces: dict[Modality, tuple[int, int, int, int]] = {}
    landmarks: dict[Modality, tuple[tuple[float, float], ...]] = {}
    for modality, (of_face, of_landmarks) in OWN_VIEWS.items():
        value = values.pop(of_face, None)
        try:
            listed = None if value is None else parse_box(value, line)
            if listed is not None:
                box = pixels_of(listed, FaceForm.XYWH, None, shares=False)
                faces[modality] = (box.x, box.y, box.width, box.height)
        except (DatasetError, CaptureError) as error:
            raise DatasetError(f"{of_face.value}: {error}") from error
        points = _landmarks_of(values.pop(of_landmarks, None), of_landmarks)
        if points is not None:
            landmarks[modality] = points
    return faces, landmarks


def _landmarks_of(value: Any, column: Column) -> tuple[tuple[float, float], ...] | None:
    """Return five points of a list of pairs or of ten numbers, which a cell may hold as text."""
    if value is None or value == "":
        return None
    numbers = value
    if isinstance(value, str):
        numbers = re.split(r"[\s,;]+", re.sub(r"[\[\]()]", " ", value).strip(" ,;"))
    try:
        points = np.array(numbers, np.float64).reshape(5, 2)
    except (TypeError, ValueError, OverflowError):
        points = np.full((5, 2), np.nan)
    if not np.isfinite(points).all():
        raise DatasetError(
            f"{column.value}: {value!r} is not five points: write x and y of the person's "
            "right eye, left eye, nose tip, right and left corner of the mouth, ten numbers in "
            "pixels"
        )
    return tuple((float(x), float(y)) for x, y in points)


def _with_boxes(
    path: Path,
    root: Path,
    rows: Sequence[FrameRow],
    boxes: Mapping[int, ListedBox],
    options: ListOptions,
    documented: bool,
    notes: list[str],
) -> tuple[FrameRow, ...]:
    listed = list(boxes.values())
    step = max(1, len(boxes) // _SIZED)
    sizes = _sizes(root, rows, list(boxes)[::step], boxes)
    try:
        form, shares, note = choose_form(listed, sizes, options.face, documented=documented)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    if shares:
        sizes |= _sizes(root, rows, list(boxes), boxes)
    if not (documented and form is FaceForm.XYWH and not shares and options.face is None):
        notes.append(note)
    if any(not n.is_integer() for box in listed for n in box.numbers) and not shares:
        notes.append("face boxes in fractions of pixels are rounded")
    made = list(rows)
    for index, box in boxes.items():
        row = rows[index]
        try:
            found = pixels_of(box, form, sizes.get(box.line), shares=shares)
        except (DatasetError, CaptureError) as error:
            made[index] = _faulty(row.line, str(error))
            continue
        made[index] = replace(row, face=(found.x, found.y, found.width, found.height))
    return tuple(made)


def _sizes(
    root: Path, rows: Sequence[FrameRow], indices: Sequence[int], boxes: Mapping[int, ListedBox]
) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for index in indices:
        size = frame_size(root / next(iter(rows[index].paths.values())))
        if size is not None:
            found[boxes[index].line] = size
    return found
