"""Rows of JSON: JSON Lines, an array, objects one after another, or a document that holds them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fasdk.errors import DatasetError
from fasdk.lists.options import OPTION_NAMES
from fasdk.lists.words import PATH_COLUMNS, column_of, modality_of, normal_word

_SPACE = re.compile(r"[\s,]*")
_CONTAINERS = {"frames", "paths", "images", "files", "modalities", "image", "sensors"}
_PATH_KEYS = ("path", "file", "filename", "file_name", "name")


@dataclass(frozen=True)
class JsonRow:
    """Object of one capture.

    Attributes:
        line: Number of the line it begins in, from 1.
        values: Its members, those of nested objects of frames among them.
    """

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class JsonRows:
    """Captures of a JSON list.

    Attributes:
        rows: One for each capture.
        options: Members beside the captures that are options of a list.
        notes: What was decided about the form.
    """

    rows: tuple[JsonRow, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_json_rows(text: str, path: Path) -> JsonRows:
    """Return the captures of a JSON list.

    Args:
        text: The whole list; lines that begin with # or // are comments.
        path: Path of the list, for messages.

    Raises:
        DatasetError: The text is no JSON, repeats a key, or holds no or several lists of objects.
    """
    lines = text.split("\n")
    lines = ["" if line.lstrip().startswith(("#", "//")) else line for line in lines]
    first = next(n for n, line in enumerate(lines) if line.strip())
    if _is_one_object(lines[first]):
        found = [
            (number, _value(line, path, number))
            for number, line in enumerate(lines, 1)
            if line.strip(" \t\r,")
        ]
        if len(found) == 1 and not _has_frame(found[0][1]):
            return _of_document(found[0][1], path)
        return JsonRows(_rows(found, path))
    found = _values("\n".join(lines), path)
    if len(found) == 1 and isinstance(found[0][1], list):
        inner = "\n".join(lines)
        start = inner.index("[")
        items = _values(inner[:start] + " " + inner.rstrip(" \t\n,")[start + 1 : -1], path)
        return JsonRows(_rows(items, path), notes=("the list is one JSON array",))
    if len(found) == 1 and isinstance(found[0][1], dict) and not _has_frame(found[0][1]):
        return _of_document(found[0][1], path)
    return JsonRows(_rows(found, path))


def _is_one_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line.strip().rstrip(",")), dict)
    except (ValueError, RecursionError):
        # A first line that is cut off is a fault of that line, if it looks whole.
        return line.strip().startswith("{") and line.strip().endswith("}")


def _value(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line.strip().rstrip(","), object_pairs_hook=_object)
    except ValueError as error:  # a number of more digits than Python takes is no decode error
        why = getattr(error, "msg", error)
        raise DatasetError(f"{path}:{number}: is no JSON object: {why}") from error
    except _RepeatedKeyError as error:
        raise DatasetError(f"{path}:{number}: key {error} appears twice") from error
    except RecursionError as error:
        raise DatasetError(f"{path}:{number}: is nested too deeply") from error


class _RepeatedKeyError(Exception):
    """A key that an object holds twice."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _RepeatedKeyError(repr(key))
        made[key] = value
    return made


def _values(text: str, path: Path) -> list[tuple[int, Any]]:
    """Return the JSON values that stand one after another, with their lines."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    found: list[tuple[int, Any]] = []
    at, line, counted = 0, 1, 0
    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        line += text.count("\n", counted, at)
        counted = at
        if at >= len(text):
            return found
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}:{error.lineno}: is no JSON: {error.msg}") from error
        except ValueError as error:  # a number of more digits than Python takes
            raise DatasetError(f"{path}:{line}: is no JSON: {error}") from error
        except _RepeatedKeyError as error:
            raise DatasetError(f"{path}:{line}: key {error} appears twice") from error
        except RecursionError as error:
            raise DatasetError(f"{path}:{line}: is nested too deeply") from error
        found.append((line, value))


def _of_document(document: Mapping[str, Any], path: Path) -> JsonRows:
    """Return the captures of an object that holds them, in a list or by their ids."""
    lists = {
        key: value
        for key, value in document.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    }
    if len(lists) > 1:
        raise DatasetError(
            f"{path}: holds several lists of objects ({', '.join(lists)}): write one object for "
            'each capture, such as {"rgb": "a.png", "face": [96, 40, 118, 150], "label": "attack"}'
        )
    if lists:
        ((key, items),) = lists.items()
        options = {name: document[name] for name in OPTION_NAMES if name in document}
        rows = tuple(JsonRow(1, _flat(item)) for item in items)
        return JsonRows(rows, options, (f"captures are those of {key!r}",))
    if document and all(isinstance(value, dict) for value in document.values()):
        rows = tuple(JsonRow(1, {"id": key, **_flat(value)}) for key, value in document.items())
        return JsonRows(rows, notes=("captures are named by the document's keys",))
    raise DatasetError(
        f"{path}: holds no list of captures: expected one JSON object a line, such as "
        '{"rgb": "a.png", "label": "attack"}'
    )


def _has_frame(value: Mapping[str, Any]) -> bool:
    def names(key: str) -> bool:
        column = column_of(key)
        return (column is not None and modality_of(column) is not None) or (
            normal_word(key) in PATH_COLUMNS
        )

    return any(names(key) and not isinstance(v, list) for key, v in _flat(value).items())


def _rows(found: Sequence[tuple[int, Any]], path: Path) -> tuple[JsonRow, ...]:
    rows = []
    for line, value in found:
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise DatasetError(f"{path}:{line}: is a JSON {kind}, expected an object a capture")
        rows.append(JsonRow(line, _flat(value)))
    return tuple(rows)


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's members with those of its objects of frames among them."""
    flat: dict[str, Any] = {}
    for key, member in value.items():
        if isinstance(member, dict):
            if key.lower() in _CONTAINERS:
                flat |= _flat(member)
                continue
            inner = next((member[name] for name in ("id", *_PATH_KEYS) if name in member), None)
            flat[key] = member if inner is None or isinstance(inner, (dict, list)) else inner
        elif member is not None:
            flat[key] = member
    return flat
