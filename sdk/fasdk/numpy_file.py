"""NumPy files, whose headers are read and bounded before an array is."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections import Counter
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fasdk.file_signatures import FirstBytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_HEADER_BYTES = 2**16  # magic, length and text of an array's header
_END, _END_64 = FirstBytes.EMPTY_ZIP, b"PK\x06\x06"
_TAIL_BYTES = 2**16 + 200  # of a zip file: its end records and a comment
_MAX_DIRECTORY_BYTES = 2**22
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises where an archive or a member is damaged, encrypted or of a new kind."""


class TruncatedArrayError(ValueError):
    """An array's file has fewer bytes than its header states."""


@contextmanager
def bounded_zip(data: bytes | memoryview) -> Iterator[zipfile.ZipFile]:
    """Yield a zip archive whose list of members is at most 4 MiB and names each once.

    Raises:
        ValueError: The list is longer: `zipfile` keeps some 20 bytes in memory for each of the
            list; a name comes twice, of which each reader takes another member; or the archive is
            damaged.
    """
    tail = bytes(data[-_TAIL_BYTES:])
    for mark, begin, end in ((_END, 12, 16), (_END_64, 40, 48)):
        for found in re.finditer(re.escape(mark), tail):
            field = tail[found.start() + begin : found.start() + end]
            if int.from_bytes(field, "little") > _MAX_DIRECTORY_BYTES:
                raise ValueError(f"its list of members is longer than {_MAX_DIRECTORY_BYTES} bytes")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except DAMAGED_ZIP as error:
        raise ValueError(str(error) or "it is damaged") from error
    with archive:
        counts = Counter(archive.namelist())
        if len(counts) < len(archive.namelist()):
            ((name, _),) = counts.most_common(1)
            raise ValueError(f"its member {name[:60]!r} comes twice")
        yield archive


def load_npy(data: bytes, max_bytes: int) -> NDArray[Any]:
    """Return the array of a .npy file.

    Args:
        data: The whole file.
        max_bytes: Most bytes that the array may have.

    Raises:
        TruncatedArrayError: It lacks samples.
        ValueError: It is damaged, holds anything but numbers and text, or states more bytes.
    """
    return _array(io.BytesIO(data), len(data), max_bytes)


def load_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> NDArray[Any]:
    """Return the array of one member of an .npz file, unpacked only as far as its header bounds it.

    Args:
        archive: The file.
        name: Name of the member, with its .npy.
        max_bytes: Most bytes that the array may have.

    Raises:
        TruncatedArrayError: It lacks samples.
        ValueError: As for `load_npy`; or the archive is damaged.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is packed as numpy.savez packs none")
    try:
        with archive.open(info) as member:
            return _array(member, info.file_size, max_bytes)
    except DAMAGED_ZIP as error:
        raise ValueError(str(error) or "it is damaged") from error


def read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return one member of a zip archive.

    Args:
        archive: The archive.
        name: Name of the member.
        max_bytes: Most bytes that it may have; more than 16 MiB may be at most 100 times what is
            stored of it.

    Raises:
        ValueError: It has more bytes, or it is damaged.
    """
    info = archive.getinfo(name)
    if info.file_size > min(max_bytes, max(2**24, 100 * info.compress_size)):
        raise ValueError(f"its member {name[:60]!r} states {info.file_size} bytes, too many")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its member {name[:60]!r} is neither stored nor deflated")
    try:
        return archive.read(info)
    except DAMAGED_ZIP as error:
        raise ValueError(str(error) or "it is damaged") from error


def load_npz(data: bytes | memoryview, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name, without the .npy of each.

    Args:
        data: The whole file.
        max_bytes: Most bytes that the arrays may have in all.

    Raises:
        ValueError: As for `load_member`; two members have one name, or one is no array.
    """
    arrays: dict[str, NDArray[Any]] = {}
    with bounded_zip(data) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename or name in arrays:
                raise ValueError(f"its member {info.filename[:60]!r} is no array, or comes twice")
            arrays[name] = load_member(archive, info.filename, max_bytes)
            max_bytes -= arrays[name].nbytes
    return arrays


def _array(file: IO[bytes], size: int, max_bytes: int) -> NDArray[Any]:
    head = file.read(_HEADER_BYTES)
    start = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(start)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, kind = read(start)
    except Exception as error:
        # A header is a Python literal: what is none surfaces as almost any exception.
        raise ValueError(f"its header is none: {error}") from error
    if kind.hasobject:
        raise ValueError("its array holds Python objects, which are never loaded")
    if any(type(extent) is not int or extent < 0 for extent in shape):  # True is an int to NumPy
        raise ValueError(f"its header states the shape {list(shape)}")
    count = math.prod(shape)
    if count * kind.itemsize > max_bytes or count > max_bytes:
        raise ValueError(
            f"its header states {list(shape)} samples of {kind.itemsize} bytes, expected at most "
            f"{max_bytes} bytes"
        )
    needed = start.tell() + count * kind.itemsize
    if size < needed:
        raise TruncatedArrayError(f"it lacks samples of its {list(shape)}")
    raw = (
        (head + file.read(needed - len(head)))[start.tell() : needed]
        if needed > len(head)
        else (head[start.tell() : needed])
    )
    if len(raw) < count * kind.itemsize:
        raise TruncatedArrayError(f"it lacks samples of its {list(shape)}")
    flat = np.frombuffer(raw, kind, count)
    array: NDArray[Any] = flat.reshape(shape, order="F" if is_fortran else "C").copy(order="K")
    return array
