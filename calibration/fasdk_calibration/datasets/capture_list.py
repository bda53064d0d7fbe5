"""Capture list format of fasdk, in JSON Lines or CSV: one line a capture.

JSON Lines, UTF-8, paths relative to the list's folder (or to the root that is given):

    {"id": "train-000001", "rgb": "train/000001.rgb.png", "depth": "train/000001.depth.png",
     "ir": "train/000001.ir.png", "face": [96, 40, 118, 150], "label": "attack",
     "species": "print", "subject": "s0042", "domain": "synthetic", "presentation": "train-000001"}

CSV, UTF-8, comma separated, the same names in the header, in any order:

    id,rgb,depth,ir,face,label,species,subject,domain,presentation
    train-000001,train/000001.rgb.png,,train/000001.ir.png,"96,40,118,150",attack,print,s0042,lab,v1

| column | holds |
| --- | --- |
| id | a name unique in the list |
| rgb, depth, ir | paths; left out or empty where the modality is absent, never all three |
| face | x, y, width, height in pixels of the first frame present (rgb, depth, ir); optional |
| landmarks | optional: five [x, y] in those pixels, ordered as in `Capture`; CSV: ten numbers |
| label | "bona fide" or "attack", these words and no others |
| species | PAI species, such as "print"; "bona fide" with a bona fide label |
| subject | who is seen; unique over all domains |
| domain | where it was captured, such as a data set or a site |
| presentation | captures of one presentation share this: error rates count presentations |
| present | optional check: the modalities the line holds, ["rgb", "ir"] or in CSV rgb+ir |
| depth_unit | optional: "millimeter" (16-bit PNG, the default) or "level" (8-bit, as drawn) |
| face_crop | optional: true where the frames are cut to the face |

rgb is 8-bit color (PNG or JPEG), depth 16-bit single-channel PNG in millimeters (0: nothing seen),
ir 8-bit gray.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fasdk.atomic import atomic_write
from fasdk.errors import DatasetError
from fasdk_calibration.datasets.records import CaptureRecord

_COLUMNS = tuple(CaptureRecord.model_fields)
_REQUIRED = ("id", "label", "species", "subject", "domain", "presentation")
_Line = tuple[int, Callable[[], CaptureRecord]]  # its number, and what makes its record


def read_list(path: Path) -> list[CaptureRecord]:
    """Return the records of a capture list; a name ending in .csv is CSV.

    Raises:
        DatasetError: The list is missing, empty, not UTF-8, repeats an id, or a line is malformed;
            the line and field are named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"cannot read capture list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"capture list {path} is not UTF-8 text: {error.reason}") from error
    is_csv = path.suffix == ".csv"
    records: list[CaptureRecord] = []
    seen: set[str] = set()
    for number, make in _csv_lines(text, path) if is_csv else _json_lines(text):
        try:
            record = make()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise DatasetError(f"{path}:{number}: {where}: {first['msg']}") from error
        if record.id in seen:
            raise DatasetError(f"{path}:{number}: id {record.id!r} appears twice")
        seen.add(record.id)
        records.append(record)
    if not records:
        expected = "a header and one row a capture" if is_csv else "one JSON object a line"
        raise DatasetError(f"capture list {path} is empty: {expected} is expected")
    return records


def write_list(records: Iterable[CaptureRecord], path: Path) -> None:
    """Write records as a capture list; a name ending in .csv is CSV.

    Raises:
        FasdkError: The disk is full or the folder not writable.
    """
    text = (_csv_text if path.suffix == ".csv" else _json_text)(list(records))
    with atomic_write(path) as file:
        file.write(text.encode())


def json_line(record: CaptureRecord) -> str:
    """Return a record as a line of JSON; what is absent or usual is left out."""
    return record.model_dump_json(exclude_defaults=True) + "\n"


def _json_lines(text: str) -> Iterator[_Line]:
    # Not splitlines: JSON may hold other line separators, such as U+2028, as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, partial(CaptureRecord.model_validate_json, line)


def _csv_lines(text: str, path: Path) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _require_header(header, path)
        for cells in reader:
            if not cells:
                continue
            number = reader.line_num
            if len(cells) != len(header):
                raise DatasetError(
                    f"{path}:{number}: has {len(cells)} cells, the header {len(header)}"
                )
            fields = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            yield number, partial(CaptureRecord.model_validate, _typed(fields))
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: {error}") from error


def _require_header(header: Sequence[str], path: Path) -> None:
    if not header:
        return
    unknown = [name for name in header if name not in _COLUMNS]
    absent = [name for name in _REQUIRED if name not in header]
    repeated = [name for name in header if header.count(name) > 1]
    for fault, names in (("unknown", unknown), ("repeated", repeated), ("missing", absent)):
        if names:
            raise DatasetError(
                f"{path}:1: column {names[0]!r} is {fault}: a capture list has the columns "
                f"{', '.join(_COLUMNS)}"
            )


def _typed(fields: dict[str, str]) -> dict[str, Any]:
    """Return a row's cells as JSON would hold them."""
    typed: dict[str, Any] = dict(fields)
    if "face" in fields:
        typed["face"] = fields["face"].split(",")
    if "landmarks" in fields:
        numbers = fields["landmarks"].split(",")
        typed["landmarks"] = [numbers[at : at + 2] for at in range(0, len(numbers), 2)]
    if "present" in fields:
        typed["present"] = fields["present"].split("+")
    return typed


def _json_text(records: Sequence[CaptureRecord]) -> str:
    return "".join(json_line(record) for record in records)


def _csv_text(records: Sequence[CaptureRecord]) -> str:
    rows = [record.model_dump(mode="json", exclude_defaults=True) for record in records]
    used = [name for name in _COLUMNS if any(name in row for row in rows)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(used)
    for row in rows:
        writer.writerow([_cell(row.get(name, "")) for name in used])
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, list):
        return ",".join(_cell(part) for part in value)
    return str(value)
