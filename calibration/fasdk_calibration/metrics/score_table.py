"""Rows of text of a score file, whatever it was written as."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk_calibration.metrics.score_arrays import NUMPY_MAGIC, read_npy, read_npz
from fasdk_calibration.metrics.score_json import looks_like_json, read_json
from fasdk_calibration.metrics.score_rows import Table
from fasdk_calibration.metrics.score_text import read_delimited

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LARGEST_BYTES = 1 << 30
_CSV_FIX = "save them as UTF-8 CSV"


@dataclass(frozen=True)
class _Compression:
    """A compressed form of a file.

    Attributes:
        magic: Bytes it begins with.
        open: Opener of its content.
    """

    magic: bytes
    open: Callable[[io.BytesIO], io.BufferedIOBase]


_COMPRESSIONS = (
    _Compression(b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    _Compression(b"BZh", bz2.BZ2File),
    _Compression(b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_NOT_READ = {
    b"\x80": f"a Python pickle, which can run code and is not loaded: {_CSV_FIX}",
    b"PAR1": f"a Parquet file: {_CSV_FIX}",
    b"\x89HDF": f"an HDF5 file: {_CSV_FIX}",
    b"MATLAB 5.0": f"a MATLAB file: {_CSV_FIX}",
    b"\xd0\xcf\x11\xe0": f"an Excel workbook: {_CSV_FIX}",
}


def read_table(path: Path) -> Table:
    """Read a file's rows: delimited text, JSON, JSON Lines, .npy or .npz, compressed or not.

    Content decides, not the file's name.

    Raises:
        DatasetError: The file cannot be read, is of another kind, or is malformed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read scores {path}: {error.strerror}") from error
    data = _decompressed(data, path)
    for magic, kind in _NOT_READ.items():
        if data.startswith(magic):
            raise DatasetError(f"scores {path} are {kind}")
    if data.startswith(NUMPY_MAGIC):
        return read_npy(data, path)
    if data.startswith(b"PK\x03\x04"):
        return _read_zip(data, path)
    text, note = _decoded(data, path)
    table = read_json(text, path) if looks_like_json(text) else read_delimited(text, path)
    return table.with_notes(note)


def _decompressed(data: bytes, path: Path) -> bytes:
    for compression in _COMPRESSIONS:
        if not data.startswith(compression.magic):
            continue
        try:
            with compression.open(io.BytesIO(data)) as file:
                return _limited(file.read(_LARGEST_BYTES + 1), path)
        except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
            raise DatasetError(
                f"scores {path} do not decompress: {error}: compress them again"
            ) from error
    return data


def _limited(data: bytes, path: Path) -> bytes:
    if len(data) > _LARGEST_BYTES:
        raise DatasetError(
            f"scores {path} take more than {_LARGEST_BYTES >> 20} MiB once decompressed: keep the "
            "columns of scores and labels alone"
        )
    return data


def _read_zip(data: bytes, path: Path) -> Table:
    """Read a NumPy archive, or the one text file in a zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            if names and all(name.endswith(".npy") for name in names):
                return read_npz(data, path)
            if len(names) != 1:
                shown = ", ".join(repr(name) for name in names[:3]) or "nothing"
                raise DatasetError(
                    f"scores {path} are an archive of {len(names)} files ({shown}): expected one "
                    "file of scores; an Excel workbook is saved as UTF-8 CSV"
                )
            with archive.open(names[0]) as member:
                text, note = _decoded(_limited(member.read(_LARGEST_BYTES + 1), path), path)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise DatasetError(
            f"scores {path} are no readable zip: {error}: pack them again"
        ) from error
    table = read_json(text, path) if looks_like_json(text) else read_delimited(text, path)
    return table.with_notes(note)


def _decoded(data: bytes, path: Path) -> tuple[str, str]:
    """Return the text, and how it was encoded where it is not UTF-8."""
    encoding, note = "utf-8-sig", ""
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        encoding, note = "utf-32", "read as UTF-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, note = "utf-16", "read as UTF-16"
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
