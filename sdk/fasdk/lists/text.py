"""Text of a list file: compression, encoding and line endings as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.bounded_file import Compression, FileKind, read_bounded
from fasdk.errors import DatasetError
from fasdk.file_signatures import FirstBytes

if TYPE_CHECKING:
    from pathlib import Path

# Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHERS = (
    (FirstBytes.ZIP, "a zip archive or a spreadsheet (.xlsx): export it as CSV"),
    (FirstBytes.EXCEL, "an Excel workbook (.xls): export it as CSV"),
    (FirstBytes.PARQUET, "a Parquet file: export it as CSV"),
    (FirstBytes.NPY, "a NumPy array: write a list, one line a capture"),
    *(
        (pickle, "a Python pickle, which is never loaded: write it as JSON Lines")
        for pickle in FirstBytes.PICKLES
    ),
    (FirstBytes.BZIP2, "a bzip2 file: unpack it, or compress it with gzip"),
    (FirstBytes.XZ, "an xz file: unpack it, or compress it with gzip"),
    (FirstBytes.ZSTD, "a zstd file: unpack it, or compress it with gzip"),
    (FirstBytes.GIT_LFS, "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
)


@dataclass(frozen=True)
class ListText:
    """Text of a list.

    Attributes:
        text: All of it, lines ended by a line feed.
        notes: What was decided about its encoding.
    """

    text: str
    notes: tuple[str, ...] = ()


def read_text(path: Path) -> ListText:
    """Return a list's text: UTF-8, UTF-16 or UTF-32 by its byte order mark, plain or gzipped.

    Raises:
        DatasetError: The file cannot be read, is larger than 256 MiB, no whole gzip file, no text
            or in another encoding; what to do is said.
    """
    try:
        data = read_bounded(path, FileKind.LIST)
    except OSError as error:
        raise DatasetError(f"cannot read list {path}: {error.strerror}") from error
    if data.startswith(FirstBytes.GZIP) or (path.suffix == ".gz" and data):
        data = _unpacked(data, path)
    for magic, what in _OTHERS:
        if data.startswith(magic):
            raise DatasetError(f"list {path} is {what}")
    if data.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise DatasetError(
            f"list {path} is a web page (HTML), which a failed download leaves behind: fetch the "
            "list again"
        )
    text, notes = _decoded(data, path)
    if "\0" in text:
        raise DatasetError(f"list {path} holds zero bytes: it is no text")
    return ListText(_with_line_feeds(text), notes)


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding that text's byte order mark states; None for text without one."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        return Compression.GZIP.unpack(data, FileKind.LIST.max_bytes)
    except ValueError as error:
        raise DatasetError(f"list {path} is no whole gzip file, or too large: {error}") from error


def _decoded(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    encoding = marked_encoding(data) or _without_mark(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        taken = encoding.removesuffix("-sig").upper()
        raise DatasetError(
            f"{path}:{line}: is not {taken} text (byte 0x{data[error.start]:02x}): save the list "
            "as UTF-8, such as with "
            f"`iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}`"
        ) from error
    named = encoding.removesuffix("-sig")
    notes = () if named == "utf-8" else (f"the list's text is {named.upper()}",)
    return text, notes


def _without_mark(data: bytes) -> str:
    """Return the encoding of text without a byte order mark, by where its zero bytes stand."""
    head = data[:4096]
    odd, even = head[1::2], head[::2]
    if len(head) >= 8 and odd.count(0) > 0.9 * len(odd) and not even.count(0):
        return "utf-16-le"
    if len(head) >= 8 and even.count(0) > 0.9 * len(even) and not odd.count(0):
        return "utf-16-be"
    return "utf-8"


def _with_line_feeds(text: str) -> str:
    # A lone carriage return ends lines where nothing else does, as old spreadsheets write it.
    if "\n" not in text:
        return text.replace("\r", "\n")
    return text.replace("\r\n", "\n")
