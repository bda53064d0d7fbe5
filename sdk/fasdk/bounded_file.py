"""Files that others wrote, opened without blocking and read up to a size."""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import stat
import zlib
from contextlib import contextmanager
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, Protocol

from fasdk.file_signatures import FirstBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD_BYTES = 4096
_SPARSE_FROM_BYTES = 2**24
_MAX_SEGMENTS = 4096  # runs of data between holes that are counted
_NOT_FILES = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
}
_CHUNK_BYTES = 2**16
# Text of scores or of a list shrinks by less; what shrinks more is small.
_MAX_RATIO = 100
_MAX_STREAMS = 2**16
_ANY_RATIO_BYTES = 2**24
_LZMA_MEMORY_BYTES = 80 * 2**20  # `xz -9` needs 65 MiB to decompress


class FileKind(Enum):
    """Kinds of files, each with its largest size in bytes."""

    KEY = ("key", 2**16)
    STATE = ("state file", 2**20)
    RIG = ("rig", 2**20)
    PIN = ("camera pin", 2**16)
    SITE = ("site profile", 2**20)
    POLICY = ("batching policy", 2**20)
    PROFILE = ("latency profile", 2**26)
    CONFIG = ("configuration", 2**24)
    DESCRIPTION = ("description", 2**20)
    LIST = ("list", 2**28)
    SCORES = ("score file", 2**28)
    AUDIT = ("audit log", 2**32 - 1)
    FRAME = ("frame", 2**28)
    DETECTOR = ("face detector", 2**28)
    GRAPH = ("graph", 2**31 - 1)
    TIMING = ("timing cache", 2**28)
    PLAN = ("plan", 2**32 - 1)
    BUNDLE = ("bundle", 2**32 - 1)
    CHECKPOINT = ("checkpoint", 2**33)

    @property
    def max_bytes(self) -> int:
        """Largest size in bytes that is read."""
        return self.value[1]


def is_file(path: PurePath | str) -> bool:
    """Return whether a regular file is there; a name that no file can have is none."""
    return stat.S_ISREG(_mode_of(path))


def is_folder(path: PurePath | str) -> bool:
    """Return whether a folder is there; a name that no folder can have is none."""
    return stat.S_ISDIR(_mode_of(path))


def _mode_of(path: PurePath | str) -> int:
    # Path.is_file raises for a name that is too long, and for a folder that may not be looked into.
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return 0


@contextmanager
def open_bounded(path: Path | str, kind: FileKind, *, flags: int = 0) -> Iterator[BinaryIO]:
    """Yield a regular file of at most its kind's size, opened for reading and never blocking.

    Args:
        path: The file; a link is followed, and what it leads to must be a regular file.
        kind: Kind of the file, which bounds its size.
        flags: Further flags of `os.open`, such as `os.O_NOFOLLOW`.

    Raises:
        OSError: It does not exist or cannot be read; it is no regular file, such as a FIFO or a
            device; it is larger than its kind may be; or it is of 16 MiB or more and mostly
            holes. `strerror` says which.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | flags)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"its name cannot be a file's: {error}", path) from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # what opening a socket answers
            raise OSError(errno.EINVAL, "it is a socket, expected a regular file", path) from error
        raise
    try:
        _require_regular(descriptor, path, kind)
    except OSError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_bounded(path: Path | str, kind: FileKind, *, flags: int = 0) -> bytes:
    """Return the bytes of a regular file of at most its kind's size.

    Args:
        path: The file; a link is followed, and what it leads to must be a regular file.
        kind: Kind of the file, which bounds its size.
        flags: Further flags of `os.open`, such as `os.O_NOFOLLOW`.

    Raises:
        OSError: As for `open_bounded`; or it begins with 4 KiB of zero bytes, as no file of any
            kind does, or grew past its kind's size while it was read.
    """
    path = Path(path)
    with open_bounded(path, kind, flags=flags) as file:
        head = file.read(_HEAD_BYTES)
        if len(head) == _HEAD_BYTES and not any(head):
            raise OSError(errno.EINVAL, "it begins with zero bytes alone: copy it again", path)
        rest = read_rest(file, path, kind)
        return head + rest if rest else head


def read_rest(file: BinaryIO, path: Path, kind: FileKind) -> bytes:
    """Return what is left of a file that `open_bounded` opened, bounded by its size now.

    Args:
        file: The file, of which the beginning may have been read.
        path: Its path in the error.
        kind: Kind of the file, which bounds its size.

    Raises:
        OSError: It grew past its kind's size since it was opened.
    """
    before, size = file.tell(), os.fstat(file.fileno()).st_size
    rest = file.read(min(max(size, before), kind.max_bytes) - before + 1)
    if before + len(rest) > kind.max_bytes:
        raise _too_large(before + len(rest), path, kind)
    return rest


class _Decompressor(Protocol):
    """What `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream's end was reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes after the stream's end."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is used."""
        ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return at most so many bytes."""
        ...


class Compression(Enum):
    """Compressed forms of a file, by the bytes they begin with."""

    GZIP = FirstBytes.GZIP
    BZIP2 = FirstBytes.BZIP2
    XZ = FirstBytes.XZ

    @classmethod
    def of(cls, data: bytes) -> Compression | None:
        """Return the form that bytes begin as, or None."""
        return next((form for form in cls if data.startswith(form.value)), None)

    @property
    def _opener(self) -> Callable[[], _Decompressor]:
        if self is Compression.GZIP:
            return _Gunzip
        if self is Compression.BZIP2:
            return bz2.BZ2Decompressor
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_BYTES)

    def unpack(self, data: bytes, max_bytes: int) -> bytes:
        """Return what a compressed file holds; one that unpacks to too much is left early.

        Args:
            data: The whole file: one compressed stream, or several one after another.
            max_bytes: Most bytes it may hold.

        Raises:
            ValueError: It is damaged or truncated, it holds more than `max_bytes`, or more than
                16 MiB and more than 100 times what was read of it.
        """
        unpacked = bytearray()
        at = 0
        try:
            for _ in range(_MAX_STREAMS):
                at = self._unpack_stream(data, at, unpacked, max_bytes)
                if at == len(data):
                    return bytes(unpacked)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise ValueError(str(error)) from error
        raise ValueError(f"it has more than {_MAX_STREAMS} compressed streams: give it unpacked")

    def _unpack_stream(self, data: bytes, at: int, unpacked: bytearray, max_bytes: int) -> int:
        """Append one stream to what is unpacked, and return where the next one begins."""
        opened = self._opener()
        while not opened.eof:
            piece = data[at : at + _CHUNK_BYTES] if opened.needs_input else b""
            at += len(piece)
            found = opened.decompress(piece, _CHUNK_BYTES)
            if not (piece or found or opened.eof):
                raise ValueError("it ends too early")
            unpacked += found
            if len(unpacked) > max_bytes:
                raise ValueError(f"it unpacks to more than {max_bytes} bytes")
            if len(unpacked) > max(_ANY_RATIO_BYTES, _MAX_RATIO * at):
                raise ValueError(
                    f"it unpacks to more than {_MAX_RATIO} times its size: give it unpacked"
                )
        at -= len(opened.unused_data)
        while at < len(data) and not any(padding := data[at : at + _CHUNK_BYTES]):
            at += len(padding)
        return at


class _Gunzip:
    """Gzip with the attributes of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        """Whether the stream's end was reached."""
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        """Bytes after the stream's end."""
        return self._stream.unused_data

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is used."""
        return not self._stream.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return at most so many bytes."""
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _require_regular(descriptor: int, path: Path, kind: FileKind) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        what = _NOT_FILES.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {what}, expected a regular file", path)
    if found.st_size > kind.max_bytes:
        raise _too_large(found.st_size, path, kind)
    if found.st_size >= _SPARSE_FROM_BYTES:
        stored = _stored_bytes(descriptor, found.st_size)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if stored < found.st_size // 2:
            raise OSError(
                errno.EINVAL,
                f"it has {found.st_size} bytes of which {stored} are stored, the others are holes: "
                "copy it again",
                path,
            )


def _stored_bytes(descriptor: int, size: int) -> int:
    """Return how many bytes of a file are no hole; all of them where that is not known."""
    stored = at = 0
    for _ in range(_MAX_SEGMENTS):
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            # ENXIO: nothing but a hole follows; anything else: the file system does not tell.
            return stored if error.errno == errno.ENXIO else size
        stored += at - start
        if at >= size:
            return stored
    return size


def _too_large(size: int, path: Path, kind: FileKind) -> OSError:
    return OSError(
        errno.EFBIG, f"it has {size} bytes, a {kind.value[0]} has at most {kind.max_bytes}", path
    )
