"""Files of an audit log: their names, and what a restart reads of the last of them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.audit.key import AuditKey, chain_digest
from fasdk.audit.lines import MAX_LINE_BYTES, FileLine, RawLine, TornLine, is_torn
from fasdk.errors import AuditError
from fasdk.file_access import is_own_or_roots, is_writable_by_others

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILES = 999_999
LOCK_SUFFIX = ".lock"
_ROTATED = re.compile(r"(.+)\.(\d{6})", re.DOTALL)
_TAIL_BYTES = 4 * MAX_LINE_BYTES


@dataclass(frozen=True)
class ChainEnd:
    """End of a log's chain, after which the next line is written.

    Attributes:
        header: First line of the last file.
        sequence: Number of the last whole line.
        digest: Its hash.
        torn: Bytes after it, which are no whole line.
    """

    header: FileLine
    sequence: int
    digest: str
    torn: bytes = b""

    @property
    def torn_line(self) -> TornLine | None:
        """What to say of the torn bytes in the line that follows them, or None."""
        if not self.torn:
            return None
        return TornLine(bytes=len(self.torn), sha256=hashlib.sha256(self.torn).hexdigest())


def rotated_path(path: Path, number: int) -> Path:
    """Return the name of a log's file after its rotation, such as door.audit.000001."""
    return path.with_name(f"{path.name}.{number:06}")


def rotated_files(path: Path) -> dict[int, Path]:
    """Return the rotated files of a log by number, in order.

    Raises:
        AuditError: The folder cannot be listed.
    """
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - names alone, of a folder that may be large
    except OSError as error:
        raise AuditError(f"cannot list {path.parent}: {error.strerror or error}") from error
    found = {}
    for name in names:
        match = _ROTATED.fullmatch(name)
        if match is not None and match[1] == path.name and int(match[2]) > 0:
            found[int(match[2])] = path.with_name(name)
    return dict(sorted(found.items()))


def require_name(path: Path) -> None:
    """Check that a log may have this name.

    Raises:
        AuditError: It is the name of a rotated file or of a lock, or none.
    """
    if not path.name:
        raise AuditError(f"cannot write {path}: it is a folder, give a file name")
    if _ROTATED.fullmatch(path.name) or path.name.endswith(LOCK_SUFFIX):
        raise AuditError(
            f"an audit log cannot be named {path.name}: rotated files and locks are named so, "
            "choose another name"
        )


def open_current(path: Path) -> int:
    """Return a descriptor of a log's file that reads anywhere and writes at its end.

    Raises:
        FileNotFoundError: It does not exist.
        AuditError: It is a link or no regular file, belongs to another account than this one and
            root, or may be written by others.
        OSError: It cannot be opened.
    """
    try:
        flags = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise AuditError(f"{path} is a link or no regular file: choose another name") from error
        raise
    try:
        _require_own_file(path, os.fstat(descriptor))
    except AuditError:
        os.close(descriptor)
        raise
    return descriptor


def find_end(path: Path, descriptor: int, key: AuditKey | None) -> ChainEnd:
    """Return the end of the chain in one file, of which the first and the last lines are checked.

    Args:
        path: The file, for messages.
        descriptor: Its descriptor, opened for reading.
        key: Key of the chain, or None.

    Raises:
        AuditError: The file is no audit log, is of another key, or its last line is altered.
        OSError: It cannot be read.
    """
    size = os.fstat(descriptor).st_size
    header = _read_header(path, os.pread(descriptor, min(size, MAX_LINE_BYTES), 0), key)
    start = max(size - _TAIL_BYTES, 0)
    lines = os.pread(descriptor, size - start, start).split(b"\n")
    torn = lines.pop()
    if len(torn) > MAX_LINE_BYTES or not is_torn(torn):
        raise _altered(path)
    last = RawLine.of(lines[-1])
    if len(lines) > 1:
        before = RawLine.of(lines[-2])
        previous = None if before is None else before.digest
    else:
        previous = header.prev
    if last is None or previous is None or _digest_of(last, previous, key) != last.digest:
        raise _altered(path)
    try:
        return ChainEnd(header, last.parse().seq, last.digest, torn)
    except AuditError as error:
        raise AuditError(f"the last line of {path}: {error}") from error


def end_of(path: Path, key: AuditKey | None) -> ChainEnd:
    """Return the end of the chain in a rotated file; see `find_end`."""
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            _require_own_file(path, os.fstat(descriptor))
            return find_end(path, descriptor, key)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise AuditError(f"cannot read {path}: {error.strerror or error}") from error


def require_key(path: Path, header: FileLine, key: AuditKey | None) -> None:
    """Check that a log is of a key, or of none.

    Raises:
        AuditError: It is of another.
    """
    given = "" if key is None else key.id
    if header.key != given:
        wanted = f"key {header.key}" if header.key else "no key"
        got = f"key {given}" if given else "none"
        fix = "give that key" if header.key else "leave the key out"
        raise AuditError(f"{path} is chained with {wanted}, {got} was given: {fix}")


def _read_header(path: Path, head: bytes, key: AuditKey | None) -> FileLine:
    first, ended, _ = head.partition(b"\n")
    raw = RawLine.of(first) if ended else None
    try:
        line = None if raw is None or raw.torn else raw.parse()
    except AuditError:
        line = None
    if raw is None or not isinstance(line, FileLine):
        raise AuditError(
            f"{path} is no audit log: its first line is not that of one: choose another name"
        )
    require_key(path, line, key)
    if _digest_of(raw, line.prev, key) != raw.digest:
        raise _altered(path, "first")
    return line


def _digest_of(line: RawLine, previous: str, key: AuditKey | None) -> str:
    return chain_digest(previous, line.body, key)


def _altered(path: Path, which: str = "last") -> AuditError:
    return AuditError(
        f"the {which} line of {path} was altered, so no chain goes on from it: keep the files as "
        f"evidence in another folder, `fasdk audit verify '{path}'` names the line"
    )


def _require_own_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise AuditError(f"{path} is no regular file: choose another name")
    if not is_own_or_roots(found):
        raise AuditError(
            f"{path} belongs to account {found.st_uid}, expected {os.geteuid()} or root: choose "
            "another name"
        )
    if is_writable_by_others(found):
        raise AuditError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, others can write it: "
            f"chmod go-w '{path}'"
        )
