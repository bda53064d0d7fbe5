"""Score files of JSON: an array, an object of columns, an object by file, or JSON Lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fasdk.errors import DatasetError
from fasdk_calibration.metrics.score_rows import Table, rows_by_class

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FORMS = (
    'a list of objects such as {"score": 0.9, "label": 1}, one such object a line, or an object '
    "of equally long lists"
)
KEY_NAME = "path"


def looks_like_json(text: str) -> bool:
    """Return whether a text begins as a JSON array or object does."""
    return text.lstrip()[:1] in {"{", "["}


def read_json(text: str, path: Path) -> Table:
    """Read the rows of a JSON document or of JSON Lines.

    Raises:
        DatasetError: It is no JSON, names a key twice, or has another form.
    """
    places: list[str] | None = None
    try:
        document = _parsed(text)
    except json.JSONDecodeError as whole:
        try:
            document, places = _lines(text, path)
        except json.JSONDecodeError:
            raise DatasetError(
                f"{path}:{whole.lineno}: no JSON ({whole.msg}): expected {_FORMS}"
            ) from whole
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    return _table(document, path, places)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object names {double!r} twice: name each once")
    return found


def _lines(text: str, path: Path) -> tuple[list[Any], list[str]]:
    rows, places = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(_parsed(line))
        except json.JSONDecodeError as error:
            if not rows:
                raise
            raise DatasetError(f"{path}:{number}: no JSON ({error.msg})") from error
        except ValueError as error:
            raise DatasetError(f"{path}:{number}: {error}") from error
        places.append(f"{path}:{number}")
    return rows, places


def _table(document: Any, path: Path, places: list[str] | None) -> Table:
    if isinstance(document, dict):
        lists = {
            name: [_text(each, str(path)) for each in value]
            for name, value in document.items()
            if isinstance(value, list) and not any(isinstance(each, dict) for each in value)
        }
        by_class = rows_by_class(lists, path) if len(lists) == len(document) else None
        if by_class is not None:
            return by_class
        document = _rows_of_object(document, path)
    if not isinstance(document, list) or not document:
        raise DatasetError(f"{path}: JSON without rows: expected {_FORMS}")
    if places is None:
        places = [f"{path}: entry {number}" for number in range(1, len(document) + 1)]
    if all(isinstance(row, dict) for row in document):
        flat = [_flat(row, place) for row, place in zip(document, places, strict=True)]
        names = list(dict.fromkeys(name for row in flat for name in row))
        rows = [tuple(row.get(name, "") for name in names) for row in flat]
        return Table(path, tuple(names), tuple(rows), tuple(places), str(path))
    if all(isinstance(row, list) for row in document):
        rows = [
            tuple(_text(value, place) for value in row)
            for row, place in zip(document, places, strict=True)
        ]
        for row, place in zip(rows, places, strict=True):
            if len(row) != len(rows[0]) or not row:
                raise DatasetError(f"{place}: {len(row)} fields, expected {len(rows[0]) or 'some'}")
        return Table(path, None, tuple(rows), tuple(places), str(path))
    rows = [(_text(value, place),) for value, place in zip(document, places, strict=True)]
    return Table(path, None, tuple(rows), tuple(places), str(path))


def _rows_of_object(document: dict[str, Any], path: Path) -> list[Any]:
    """Return the rows of an object: columns, one row, rows by file, or rows under one key."""
    values = list(document.values())
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) == 1 and lists[0] and all(isinstance(row, dict) for row in lists[0]):
        return lists[0]  # rows under one key, beside remarks
    if values and all(isinstance(value, dict) for value in values):
        keys = list(values[0])
        alike = len(values) > 1 and all(value.keys() == values[0].keys() for value in values)
        by_number = all(key.isdecimal() for key in keys)
        if alike and (by_number or len(keys) > len(values)):  # columns by row, as pandas writes
            return [
                ({} if by_number else {KEY_NAME: key})
                | {name: column[key] for name, column in document.items()}
                for key in keys
            ]
        return [{KEY_NAME: key} | value for key, value in document.items()]
    lengths = {len(value) for value in lists}
    if lists and len(lists) == len(values) and len(lengths) == 1 and _is_columns(document):
        return [
            dict(zip(document, row, strict=True)) for row in zip(*document.values(), strict=True)
        ]
    if lists and len(lists) == len(values) and len(lengths) > 1:
        shown = ", ".join(f"{name!r} {len(value)}" for name, value in list(document.items())[:4])
        raise DatasetError(f"{path}: lists differ in length ({shown}): one entry a row in each")
    if not lists and any(isinstance(value, (dict, str)) for value in values):
        return [document]
    return [
        {KEY_NAME: key} | (_numbered(value) if isinstance(value, list) else {"score": value})
        for key, value in document.items()
    ]


def _is_columns(document: dict[str, list[Any]]) -> bool:
    """Return whether lists of one length are columns, not one short list for each of many files."""
    longest = len(next(iter(document.values())))
    return longest >= len(document) or longest > 3


def _numbered(values: Sequence[Any]) -> dict[str, Any]:
    if len(values) == 1:
        return {"score": values[0]}
    return {f"scores {index}": value for index, value in enumerate(values)}


def _flat(row: dict[str, Any], place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in row.items():
        if isinstance(value, list):
            for index, each in enumerate(value):
                shown = name if len(value) == 1 else f"{name} {index}"
                found[shown] = _text(each, place)
        else:
            found[name] = _text(value, place)
    return found


def _text(value: Any, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, str)):
        return str(value).strip()
    raise DatasetError(f"{place}: holds {json.dumps(value)[:60]}: expected text or a number")
