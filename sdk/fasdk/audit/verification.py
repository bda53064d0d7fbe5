"""Verification of an audit log: its files as one chain, and the first broken link."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.audit.files import rotated_files, rotated_path
from fasdk.audit.key import AuditKey, chain_digest
from fasdk.audit.lines import (
    FIRST_DIGEST,
    MAX_LINE_BYTES,
    DecisionLine,
    EndLine,
    FileLine,
    GapLine,
    RawLine,
    StartLine,
    is_torn,
)
from fasdk.audit.report import AuditReport, BrokenLink, Decided, DecisionOrigin, TornPlace
from fasdk.bounded_file import FileKind, open_bounded
from fasdk.errors import AuditError, UsageError
from fasdk.settings import as_path

if TYPE_CHECKING:
    from fasdk.audit.lines import AnyLine

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_ORIGINS = 1000
_ATTEMPTS = 4  # of reading a log that is rotated meanwhile


def verify_audit_log(
    path: Path | str,
    *,
    key: Path | str | None = None,
    head: str | None = None,
    after: str | None = None,
) -> AuditReport:
    """Read a log with its rotated files as one chain, and return what is in it.

    Lines that were cut from the end leave no trace in the files: only a head that was noted
    elsewhere shows that they are gone. A chain without a key can be made anew by whoever may write
    the files.

    Args:
        path: The file as it was given to the writer; rotated files beside it are read first.
        key: Key file of the chain, or None.
        head: Hash that was noted as the head earlier; it must be that of some line.
        after: Hash that the first file's first line must follow, where older files were moved
            elsewhere.

    Raises:
        AuditError: Nothing is there, a file cannot be read, or the log has a key and none was
            given.
        UsageError: A hash is not 64 hexadecimal digits.
    """
    path = as_path("path", path).absolute()
    secret = None if key is None else AuditKey.from_file(as_path("key", key))
    for name, digest in (("head", head), ("after", after)):
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise UsageError(f"{name} is {digest!r}, expected 64 hexadecimal digits")
    attempt = 1
    while True:
        files = _files_of(path)
        try:
            report = _Reader(path, secret, head, after).read(files)
        except FileNotFoundError as error:
            report = None
            failure = AuditError(f"cannot read {error.filename}: it was removed meanwhile")
        # The writer may have rotated the log while it was read.
        is_settled = attempt == _ATTEMPTS or _files_of(path) == files
        if report is not None and (report.is_whole or is_settled):
            return report
        if report is None and is_settled:
            raise failure
        attempt += 1


def _files_of(path: Path) -> dict[int, Path]:
    """Return the files of a log in order: rotated ones by number, then the one written to."""
    found = rotated_files(path)
    if os.path.lexists(path):
        found[max(found, default=0) + 1] = path
    if not found:
        raise AuditError(f"cannot read {path}: no such file, and no rotated file beside it")
    return found


class _BrokenError(Exception):
    """A broken link at the line that is being read."""


class _Reader:
    """One reading of a log's files.

    Args:
        path: The log.
        key: Key of the chain, or None.
        noted: Hash noted as the head, or None.
        after: Hash before the first line, or None.
    """

    def __init__(
        self, path: Path, key: AuditKey | None, noted: str | None, after: str | None
    ) -> None:
        self._path, self._key, self._noted, self._after = path, key, noted, after
        self._file, self._line = path, 1
        self._first_header: FileLine | None = None
        self._header: FileLine | None = None
        self._is_header_due = True
        self._is_running = False  # whether a process has begun to write and not ended
        self._report = AuditReport()

    def read(self, files: dict[int, Path]) -> AuditReport:
        """Return what files hold, given by number in order.

        Raises:
            FileNotFoundError: One is gone.
            AuditError: One cannot be read, or the log has a key and none was given.
        """
        report = self._report
        try:
            for file in files.values():
                self._read_file(file, is_last=file == [*files.values()][-1])
            self._require_first_files(next(iter(files.values())))
            self._require_noted()
        except _BrokenError as error:
            report.broken = BrokenLink(self._file, self._line, str(error))
        return report

    def _read_file(self, file: Path, *, is_last: bool) -> None:
        self._file, self._line, self._is_header_due = file, 0, True
        self._report.files.append(file)
        try:
            with open_bounded(file, FileKind.AUDIT) as opened:
                while line := opened.readline(MAX_LINE_BYTES + 1):
                    self._line += 1
                    if line.endswith(b"\n"):
                        self._take(line[:-1])
                    else:
                        self._take_rest(line, is_last=is_last)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise AuditError(f"cannot read {file}: {error.strerror or error}") from error
        if self._line == 0:
            self._line = 1
            raise _BrokenError("the file holds no line: its content was removed")

    def _take(self, text: bytes) -> None:
        """Take in one line."""
        report = self._report
        raw = RawLine.of(text)
        if raw is None:
            raise _BrokenError("this is no line of an audit log")
        previous = self._previous_of(raw) if self._is_header_due else report.head
        if chain_digest(previous, raw.body, self._key) != raw.digest:
            raise _BrokenError(self._why(raw))
        line = _parsed(raw)
        if self._first_header is not None and line.seq != report.last + 1:
            raise _BrokenError(f"its number is {line.seq}, expected {report.last + 1}")
        if isinstance(line, FileLine) != self._is_header_due:
            raise _BrokenError("the first line of a file stands in its middle")
        self._require_torn(raw.torn, line)
        self._count(line, raw.digest)

    def _previous_of(self, raw: RawLine) -> str:
        """Return the hash that a file's first line follows."""
        line = _parsed(raw)
        if not isinstance(line, FileLine):
            raise _BrokenError("the first line of the file is not there: lines were removed")
        self._require_key(line)
        before = self._header
        if before is None:
            self._require_beginning(line)
            return line.prev
        if line.log != before.log:
            raise _BrokenError(f"the file is of another log, {line.log}, expected {before.log}")
        if line.file > before.file + 1:
            raise _BrokenError(self._absent(before.file + 1, line.file - 1))
        if line.file <= before.file:
            raise _BrokenError(f"it is file {line.file}, expected {before.file + 1}: it was moved")
        if line.prev != self._report.head:
            raise _BrokenError(
                f"it goes on from another line than the last of {self._report.files[-2]}: lines "
                "were removed there or altered here"
            )
        return line.prev

    def _require_key(self, line: FileLine) -> None:
        if line.key and self._key is None:
            raise AuditError(f"{self._file} is chained with key {line.key}: give its key file")
        given = "" if self._key is None else self._key.id
        if line.key != given:
            raise _BrokenError(
                f"the chain is of key {line.key}, not of the given {given}"
                if line.key
                else f"the chain has no key, not the given {given}: anybody can have made it"
            )

    def _require_beginning(self, line: FileLine) -> None:
        if self._after is not None and line.prev != self._after:
            raise _BrokenError(f"it goes on from {line.prev}, not from the given {self._after}")
        is_first = (line.seq, line.prev) == (1, FIRST_DIGEST)
        if is_first != (line.file == 1):
            raise _BrokenError(
                f"its number is {line.seq}, which file {line.file} cannot begin with"
            )

    def _why(self, raw: RawLine) -> str:
        """Return what a hash that does not fit can mean."""
        expected = self._report.last + 1
        try:
            number = raw.parse().seq
        except AuditError:
            number = expected
        if self._is_header_due or number == expected:
            return (
                "its hash is not that of its content after the line before: it was altered, or is "
                "of another log"
            )
        if number > expected:
            return (
                f"its number is {number}, expected {expected}: lines before it were removed or "
                "moved, or it was altered"
            )
        return (
            f"its number is {number}, expected {expected}: it stands at another place than it was "
            "written at, or was altered"
        )

    def _require_torn(self, torn: bytes, line: AnyLine) -> None:
        told = line.torn if isinstance(line, (StartLine, GapLine)) else None
        if not torn and told is None:
            return
        if told is None or not torn:
            raise _BrokenError(
                f"{len(torn)} bytes stand before the line that were not written with it"
                if torn
                else f"the {told.bytes if told else 0} bytes that it tells of are not there"
            )
        if (len(torn), hashlib.sha256(torn).hexdigest()) != (told.bytes, told.sha256):
            raise _BrokenError("what stands before the line is not what it tells of")
        self._report.torn.append(TornPlace(self._file, self._line, len(torn)))

    def _take_rest(self, rest: bytes, *, is_last: bool) -> None:
        """Take in what no line feed ends."""
        if len(rest) > MAX_LINE_BYTES or not is_torn(rest):
            raise _BrokenError("this is no line of an audit log")
        if not is_last or self._is_header_due:
            raise _BrokenError("its last line is not whole: lines were removed")
        self._report.unfinished = len(rest)

    def _count(self, line: AnyLine, digest: str) -> None:
        report = self._report
        if isinstance(line, FileLine):
            self._header = line
            self._is_header_due = False
            if self._first_header is None:
                self._first_header = line
                report.log, report.key = line.log, line.key
                report.first, report.first_time = line.seq, line.time
        elif isinstance(line, StartLine):
            report.starts += 1
            report.cut_off += self._is_running
            self._is_running = True
        elif isinstance(line, GapLine):
            report.lost += line.lost
        elif isinstance(line, EndLine):
            self._is_running = False
        else:
            self._count_decision(line)
        report.clock_back += line.time < report.last_time
        report.lines += 1
        report.last, report.last_time, report.head = line.seq, line.time, digest
        report.is_ended = isinstance(line, EndLine)
        if report.after_noted is not None:
            report.after_noted += 1
        if digest == self._noted:
            report.noted, report.after_noted = (self._file, self._line), 0

    def _count_decision(self, line: DecisionLine) -> None:
        report = self._report
        report.verdicts[line.verdict] += 1
        origin = DecisionOrigin(
            line.bundle, line.trust, line.operating_point, line.threshold, line.version
        )
        decided = report.decided.get(origin)
        if decided is None:
            if len(report.decided) >= _MAX_ORIGINS:
                return
            decided = report.decided[origin] = Decided(line.time, line.time)
        decided.last = line.time
        decided.verdicts[line.verdict] += 1

    def _require_first_files(self, oldest: Path) -> None:
        """Check that the oldest file there is one that the writer itself would have left."""
        first, last = self._first_header, self._header
        if first is None or last is None or self._after is not None:
            return
        if first.file > last.first_file:
            self._file, self._line = oldest, 1
            raise _BrokenError(
                f"{self._absent(last.first_file, first.file - 1)}; for files that were moved "
                "elsewhere give the head of the last of them as the line to begin after"
            )

    def _require_noted(self) -> None:
        if self._noted is None or self._report.noted is not None:
            return
        if self._noted == self._after:
            self._report.after_noted = self._report.lines
            return
        raise _BrokenError(
            f"no line has the noted head {self._noted}: lines were cut from the end of the log, or "
            "its chain was made anew"
        )

    def _absent(self, first: int, last: int) -> str:
        """Return that rotated files are not there."""
        names = rotated_path(self._path, first).name
        if last > first:
            names += f" to {rotated_path(self._path, last).name}"
        return f"{names} before it {'are' if last > first else 'is'} absent"


def _parsed(raw: RawLine) -> AnyLine:
    try:
        return raw.parse()
    except AuditError as error:
        raise _BrokenError(f"this is no line of an audit log: {error}") from error
