"""Score files of NumPy: .npy and .npz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import FileKind
from fasdk.errors import DatasetError
from fasdk.numpy_file import load_npy, load_npz
from fasdk_calibration.metrics.score_rows import Table, rows_by_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_SAVE_FIX = "save one plain array for each column, numpy.savez(file, score=..., label=...)"


def read_npy(data: bytes, path: Path) -> Table:
    """Read one array: [N] or [N, columns] of numbers or text, or a structured array [N].

    Raises:
        DatasetError: It holds Python objects, has another shape, or is damaged.
    """
    try:
        array = load_npy(data, FileKind.SCORES.max_bytes)
    except ValueError as error:
        raise DatasetError(_refusal(path, error, "the array")) from error
    if array.dtype.names is not None:
        columns = {name: np.asarray(array[name]) for name in array.dtype.names}
        return _table(columns, path, named=True)
    return _table({"": array}, path, named=False)


def read_npz(data: bytes, path: Path) -> Table:
    """Read an archive of arrays: each [N] is a column, each [N, K] is K of them.

    Raises:
        DatasetError: An array holds Python objects, none has rows, or the archive is damaged.
    """
    try:
        arrays = load_npz(data, FileKind.SCORES.max_bytes)
    except ValueError as error:
        raise DatasetError(_refusal(path, error, "an array")) from error
    columns = {name: array for name, array in arrays.items() if array.ndim and array.size}
    return _table(columns, path, named=True)


def _refusal(path: Path, error: Exception, what: str) -> str:
    if "Python objects" in str(error):
        return f"scores {path}: {what} holds Python objects, which are not loaded: {_SAVE_FIX}"
    return f"scores {path}: {what} cannot be read ({error}): {_SAVE_FIX}"


def _table(arrays: Mapping[str, NDArray[Any]], path: Path, *, named: bool) -> Table:
    columns = [column for name, array in arrays.items() for column in _columns(name, array, path)]
    by_class = rows_by_class(dict(columns), path) if named else None
    if by_class is not None:
        return by_class
    lengths = {name: len(texts) for name, texts in columns}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:6])
        raise DatasetError(
            f"scores {path}: arrays differ in length ({shown}): one entry a row in each"
        )
    rows = tuple(zip(*(texts for _, texts in columns), strict=True))
    if not rows:
        raise DatasetError(f"scores {path}: no array has a row: {_SAVE_FIX}")
    return Table(
        path=path,
        names=tuple(name for name, _ in columns) if named else None,
        rows=rows,
        places=tuple(f"{path}: row {number}" for number in range(1, len(rows) + 1)),
        names_place=str(path),
    )


def _columns(name: str, array: NDArray[Any], path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    if array.dtype.kind not in "biufUS":
        raise DatasetError(
            f"scores {path}: array {name!r} has dtype {array.dtype}, expected numbers or text: "
            f"{_SAVE_FIX}"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        yield name, _texts(name, array, path)
    elif array.ndim == 2:
        for index in range(array.shape[1]):
            shown = f"{name} {index}".strip()
            yield shown, _texts(name, array[:, index], path)
    else:
        raise DatasetError(
            f"scores {path}: array {name!r} has shape {list(array.shape)}, expected [rows] or "
            f"[rows, columns]: {_SAVE_FIX}"
        )


def _texts(name: str, column: NDArray[Any], path: Path) -> tuple[str, ...]:
    try:
        return tuple(_text(value) for value in column.tolist())
    except (SystemError, ValueError) as error:  # text of code points that Unicode does not have
        raise DatasetError(_refusal(path, error, f"array {name!r}")) from error


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value).strip()
