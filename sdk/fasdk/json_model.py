"""JSON files of one model each, bounded, with wrong files refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.settings import as_path

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from fasdk.errors import FasdkError

_Model = TypeVar("_Model", bound=BaseModel)


def read_json_model(
    path: Path | str,
    model: type[_Model],
    kind: FileKind,
    error: type[FasdkError],
    *,
    unnamed: Collection[str] = (),
) -> _Model:
    """Return the model that a JSON file holds.

    Args:
        path: The file.
        model: Model of its content.
        kind: Kind of the file, which bounds its size and names it where no field is at fault.
        error: Kind of the errors raised.
        unnamed: Parts of a field's path that stand in no file, such as the tags of a union.

    Raises:
        FasdkError: The file is unreadable or no JSON, or a field is absent, unknown or wrong; of
            the kind `error`.
        UsageError: `path` is no path.
    """
    path = as_path("path", path)
    try:
        raw = read_bounded(path, kind)
    except OSError as unreadable:
        raise error(f"{path}: cannot be read: {unreadable.strerror or unreadable}") from unreadable
    try:
        return model.model_validate_json(raw)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in unnamed)
        raise error(f"{path}: {where or kind.value[0]}: {first['msg']}") from wrong
    except error as refused:  # a value that the model itself refuses
        raise error(f"{path}: {refused}") from refused
