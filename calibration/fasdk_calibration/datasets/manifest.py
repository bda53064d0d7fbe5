"""A list of one's own in JSON Lines: one line a capture, beside the frames it names.

UTF-8, paths relative to the list's folder:

    {"id": "train-000001", "rgb": "train/000001.rgb.png", "depth": "train/000001.depth.png",
     "ir": "train/000001.ir.png", "face": [96, 40, 118, 150], "label": "attack",
     "species": "print", "subject": "s0042", "domain": "synthetic", "presentation": "train-000001"}

rgb is 8-bit colour (PNG or JPEG), depth 16-bit single-channel PNG in millimetres (0: nothing seen),
ir 8-bit grey PNG; an absent modality is left out. `face` is x, y, width, height in pixels of the
first frame present in the order rgb, depth, ir.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.records import CaptureRecord


def read_list(path: Path) -> list[CaptureRecord]:
    """Return the records of a capture list.

    Raises:
        DatasetError: The list is missing, empty, not UTF-8, repeats an id, or a line is malformed;
            the line and field are named.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"cannot read capture list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"capture list {path} is not UTF-8 text: {error.reason}") from error
    records: list[CaptureRecord] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = CaptureRecord.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise DatasetError(f"{path}:{number}: {where}: {first['msg']}") from error
        if record.id in seen:
            raise DatasetError(f"{path}:{number}: id {record.id!r} appears twice")
        seen.add(record.id)
        records.append(record)
    if not records:
        raise DatasetError(f"capture list {path} is empty: one JSON object a line is expected")
    return records
