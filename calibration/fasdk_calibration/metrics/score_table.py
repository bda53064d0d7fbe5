"""Rows of text of a score file, whatever it was written as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.bounded_file import Compression, FileKind, read_bounded
from fasdk.errors import DatasetError
from fasdk.file_signatures import FirstBytes
from fasdk.lists.text import marked_encoding
from fasdk.numpy_file import bounded_zip, read_member
from fasdk_calibration.metrics.score_arrays import read_npy, read_npz
from fasdk_calibration.metrics.score_json import looks_like_json, read_json
from fasdk_calibration.metrics.score_rows import Table
from fasdk_calibration.metrics.score_text import read_delimited

if TYPE_CHECKING:
    from pathlib import Path

_CSV_FIX = "save them as UTF-8 CSV"
_NOT_READ = {
    b"\x80": f"a Python pickle, which can run code and is not loaded: {_CSV_FIX}",
    FirstBytes.PARQUET: f"a Parquet file: {_CSV_FIX}",
    FirstBytes.HDF5: f"an HDF5 file: {_CSV_FIX}",
    b"MATLAB 5.0": f"a MATLAB file: {_CSV_FIX}",
    FirstBytes.EXCEL: f"an Excel workbook: {_CSV_FIX}",
}


def read_table(path: Path) -> Table:
    """Read a file's rows: delimited text, JSON, JSON Lines, .npy or .npz, compressed or not.

    Content decides, not the file's name.

    Raises:
        DatasetError: The file cannot be read, is of another kind, or is malformed.
    """
    try:
        data = read_bounded(path, FileKind.SCORES)
    except OSError as error:
        raise DatasetError(f"cannot read scores {path}: {error.strerror}") from error
    data = _decompressed(data, path)
    for magic, kind in _NOT_READ.items():
        if data.startswith(magic):
            raise DatasetError(f"scores {path} are {kind}")
    if data.startswith(FirstBytes.NPY):
        return read_npy(data, path)
    if data.startswith(FirstBytes.ZIP):
        return _read_zip(data, path)
    text, note = _decoded(data, path)
    table = read_json(text, path) if looks_like_json(text) else read_delimited(text, path)
    return table.with_notes(note)


def _decompressed(data: bytes, path: Path) -> bytes:
    compression = Compression.of(data)
    if compression is None:
        return data
    try:
        return compression.unpack(data, FileKind.SCORES.max_bytes)
    except ValueError as error:
        raise DatasetError(
            f"scores {path} do not decompress: {error}: compress them again, the columns of scores "
            "and labels alone"
        ) from error


def _read_zip(data: bytes, path: Path) -> Table:
    """Read a NumPy archive, or the one text file in a zip."""
    try:
        with bounded_zip(data) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            if names and all(name.endswith(".npy") for name in names):
                return read_npz(data, path)
            if len(names) != 1:
                shown = ", ".join(repr(name) for name in names[:3]) or "nothing"
                raise DatasetError(
                    f"scores {path} are an archive of {len(names)} files ({shown}): expected one "
                    "file of scores; an Excel workbook is saved as UTF-8 CSV"
                )
            unpacked = read_member(archive, names[0], FileKind.SCORES.max_bytes)
    except ValueError as error:
        raise DatasetError(
            f"scores {path} are no readable zip: {error}: pack them again"
        ) from error
    text, note = _decoded(unpacked, path)
    table = read_json(text, path) if looks_like_json(text) else read_delimited(text, path)
    return table.with_notes(note)


def _decoded(data: bytes, path: Path) -> tuple[str, str]:
    """Return the text, and how it was encoded where it is not UTF-8."""
    encoding, note = marked_encoding(data) or "utf-8", ""
    if encoding in ("utf-32", "utf-16"):
        note = f"read as {encoding.upper()}"
    elif len(data) % 2 == 0 and (zeros := data.count(0)) > len(data) // 4:
        # Without a byte-order mark: Latin text leaves one byte of two zero.
        little = data[1::2].count(0) == zeros
        encoding = "utf-16-le" if little else "utf-16-be"
        note = "read as UTF-16 without a byte-order mark"
    try:
        return data.decode(encoding), note
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"scores {path} are not UTF-8 text: {error.reason} at byte {error.start}: save them "
            "as UTF-8"
        ) from error
