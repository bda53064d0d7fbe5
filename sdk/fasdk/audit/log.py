"""Writer of an audit log, which outlives crashes, restarts, rotation and full disks."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.audit.files import (
    LOCK_SUFFIX,
    MAX_FILES,
    ChainEnd,
    end_of,
    find_end,
    open_current,
    require_name,
    rotated_files,
    rotated_path,
)
from fasdk.audit.key import AuditKey
from fasdk.audit.lines import (
    FIRST_DIGEST,
    DecisionLine,
    EndLine,
    FileLine,
    GapLine,
    StartLine,
    decision_fields,
    encode,
    software_version,
    time_text,
)
from fasdk.decision import Decision, add_findings
from fasdk.errors import AuditError, FasdkError, StateError
from fasdk.file_lock import take_lock
from fasdk.own_thread import in_own_thread
from fasdk.reasons import Finding, Reason
from fasdk.settings import as_path, require_whole, take_choices

if TYPE_CHECKING:
    from typing_extensions import Self

    from fasdk.audit.lines import AnyLine, TornLine

_log = logging.getLogger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LEAST_FILE_BYTES = 1 << 16
_Wanted = tuple[type["AnyLine"], Mapping[str, object]]


class AuditFlush(str, Enum):
    """When a line is put on the disk.

    - EACH_LINE: Before the decision is given: a power failure, too, loses at most the last line.
    - SYSTEM: When the system does it: the process may crash or be killed, a power failure loses
      what was written in the last seconds. It spares flash storage.
    """

    EACH_LINE = "each-line"
    SYSTEM = "system"


@dataclass(frozen=True)
class AuditPolicy:
    """Rules of an audit log.

    Attributes:
        required: Whether a decision that cannot be written becomes an ERROR; otherwise that is
            said once, and decisions go on.
        max_bytes: Size in bytes at which a file is rotated, at least 65,536.
        keep: Number of rotated files that are kept; None for all.
        flush: When a line is put on the disk.

    Raises:
        UsageError: A value is out of its range.
    """

    required: bool = False
    max_bytes: int = 64 * 2**20
    keep: int | None = None
    flush: AuditFlush = AuditFlush.EACH_LINE

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_whole("max_bytes", self.max_bytes, _LEAST_FILE_BYTES)
        if self.keep is not None:
            require_whole("keep", self.keep)
        take_choices(self, flush=AuditFlush)


class AuditLog:
    """Audit log of one process, open for writing.

        with AuditLog("door.audit") as audit:
            decision = audit.record(lobby.check(capture), "lobby")

    Act on what `record` returns. A restart goes on with the chain; what a crash left of a line is
    told in the line after it. All methods may be called from any thread, and an exception of a
    signal handler leaves no line half written. In a forked child nothing can be recorded.

    What another program changes in the file meanwhile is not repaired: the chain goes on from the
    line that was written last, so `fasdk audit verify` names the place.

    Attributes:
        path: File that is written; rotated ones lie beside it, as door.audit.000001 and so on.
        policy: Rules of the log.
        recorded: Number of decisions written.
        lost: Number of decisions that could not be written since the log was opened.

    Args:
        path: The file; it is created with mode 0600 where it is absent.
        policy: Rules of the log; None for the defaults.
        key: Key file that the chain is made with, at least 32 bytes; None for a chain that whoever
            may write the file can make anew. A log has one key from its first line on.

    Raises:
        AuditError: Another process writes the log, its last line was altered, it is of another key,
            or the file cannot be used; a full disk is no such error, see `AuditPolicy.required`.
        UsageError: An argument is of another kind.
    """

    def __init__(
        self, path: Path | str, policy: AuditPolicy | None = None, *, key: Path | str | None = None
    ) -> None:
        self.path = as_path("path", path).absolute()
        self.policy = policy or AuditPolicy()
        self.recorded = self.lost = 0
        require_name(self.path)
        self._key = None if key is None else AuditKey.from_file(as_path("key", key))
        self._process = os.getpid()
        self._mutex = threading.Lock()
        self._lock_path = self.path.with_name(self.path.name + LOCK_SUFFIX)
        self._lock_file: int | None = None
        self._file: int | None = None
        self._end: ChainEnd | None = None
        self._size = 0  # of the file, when it was last written here
        self._missing = 0  # decisions lost since the last line
        self._is_started = self._is_failing = self._is_closed = False
        self._told: set[str] = set()
        try:
            self._append()
        except (OSError, FasdkError) as error:
            if not _is_full(error):
                self._release()
                if isinstance(error, OSError):
                    raise AuditError(f"cannot write {self.path}: {error.strerror}") from error
                raise
            self._tell_failure(error)

    @property
    def head(self) -> str:
        """Hash of the last line, 64 hexadecimal digits; empty before the first.

        Noted elsewhere, it lets `fasdk audit verify --head` find out that lines after it were cut.
        """
        return "" if self._end is None else self._end.digest

    def record(self, decision: Decision, camera_id: str = "") -> Decision:
        """Write one decision and return the one to act on; never raises for what is wrong on disk.

        That is the decision itself, or an ERROR (`unrecorded`) where it could not be written and
        the policy requires it.

        Args:
            decision: Decision of a session or a track.
            camera_id: Name of the camera; empty for that of a track's decision.
        """
        failure = in_own_thread(partial(self._record, decision, camera_id))
        if failure is None or not self.policy.required:
            return decision
        return add_findings(decision, [Finding(Reason.UNRECORDED, failure)])

    def close(self) -> None:
        """Write that the log ends as it should, and let another process have it."""
        in_own_thread(self._close)

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the log."""
        self.close()

    def _record(self, decision: Decision, camera_id: str) -> str | None:
        """Return why a decision could not be written, or None."""
        with self._mutex:
            try:
                self._append((DecisionLine, decision_fields(decision, camera_id)))
            except Exception as error:  # noqa: BLE001 - a decision is given whatever is on the disk
                self.lost += 1
                self._missing += 1
                return self._tell_failure(error)
            self.recorded += 1
            return None

    def _close(self) -> None:
        with self._mutex:
            if self._is_closed:
                return
            if self._is_started and self._process == os.getpid():
                try:
                    self._append((EndLine, {}))
                except (OSError, FasdkError) as error:
                    self._tell_failure(error)
            self._release()

    def _release(self) -> None:
        self._is_closed = True
        if self._lock_file is not None and self._process == os.getpid():
            with suppress(OSError):
                self._lock_path.unlink()
        for descriptor in (self._file, self._lock_file):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock_file = None

    def _append(self, *wanted: _Wanted) -> None:
        """Write lines one by one, and before them what has happened since the last one."""
        self._make_ready()
        if not self._is_started:
            self._write(StartLine, {"version": software_version(), "torn": self._torn_line()})
            self._is_started = True
        if self._missing or self._torn_line() is not None:
            missing = self._missing
            self._write(GapLine, {"lost": missing, "torn": self._torn_line()})
            self._missing = 0
        for kind, fields in wanted:
            self._write(kind, fields)
        if self._is_failing:
            self._is_failing = False
            _log.warning("the audit log %s is written again", self.path)

    def _torn_line(self) -> TornLine | None:
        return None if self._end is None else self._end.torn_line

    def _write(self, kind: type[AnyLine], fields: Mapping[str, object]) -> None:
        """Write one line, and begin another file before it where this one is full."""
        data, end = self._encoded(kind, fields)
        if self._size + len(data) > self.policy.max_bytes and self._rotate():
            data, end = self._encoded(kind, fields)
        descriptor = self._descriptor()
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            self._cut_back(descriptor)
            raise
        self._size += len(data)
        self._end = end
        if self.policy.flush is AuditFlush.EACH_LINE:
            os.fdatasync(descriptor)

    def _encoded(self, kind: type[AnyLine], fields: Mapping[str, object]) -> tuple[bytes, ChainEnd]:
        """Return a line as bytes, and the end of the chain behind it."""
        end = self._known_end()
        now = time_text(time.time())
        line = kind.model_validate({"seq": end.sequence + 1, "time": now, **fields})
        data, digest = encode(line, end.digest, self._key)
        return data, replace(end, sequence=line.seq, digest=digest, torn=b"")

    def _cut_back(self, descriptor: int) -> None:
        """Remove what was written of a line that is not whole; where that fails, remember it."""
        with suppress(OSError):
            os.ftruncate(descriptor, self._size)
            return
        end = self._known_end()
        with suppress(OSError):
            size = os.fstat(descriptor).st_size
            torn = os.pread(descriptor, size - self._size, self._size)
            self._size, self._end = size, replace(end, torn=end.torn + torn)

    def _make_ready(self) -> None:
        """Open the log, or notice what another program has done to the file."""
        if self._is_closed or self._process != os.getpid():
            why = "closed" if self._is_closed else f"of process {self._process}, this is a fork"
            raise AuditError(f"the audit log {self.path} is {why}: open it again")
        if self._lock_file is None:
            self._lock_file = self._locked()
        if self._file is None:
            self._open()
            return
        own = os.fstat(self._file)
        try:
            found = self.path.stat(follow_symlinks=False)
        except FileNotFoundError:
            self._tell_once(f"{self.path} was removed or renamed by another program")
            self._create()
            return
        if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
            self._tell_once(f"{self.path} was replaced by another program")
            self._exchange(open_current(self.path))
        elif found.st_size != self._size:
            self._tell_once(f"{self.path} was changed by another program")
            self._size = found.st_size

    def _locked(self) -> int:
        """Return the locked descriptor of the file beside the log that only its writer holds."""
        path = self._lock_path
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        while True:
            descriptor = os.open(path, flags, 0o600)
            try:
                take_lock(descriptor, path, wait_s=0.0)
            except StateError as error:
                os.close(descriptor)
                raise AuditError(
                    f"another process writes the audit log {self.path}: give each process a file "
                    f"of its own (`fuser '{path}'` finds it)"
                ) from error
            # The writer before may have removed it between the two calls.
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor)):
                    return descriptor
            os.close(descriptor)

    def _open(self) -> None:
        try:
            descriptor = open_current(self.path)
        except FileNotFoundError:
            descriptor = None
        if descriptor is not None:
            try:
                is_begun = os.fstat(descriptor).st_size > 0
                end = find_end(self.path, descriptor, self._key) if is_begun else None
            except BaseException:
                os.close(descriptor)
                raise
            if end is not None:
                self._exchange(descriptor)
                self._end = end
                return
            os.close(descriptor)
        # Absent or empty: a new log, or a crash between the two steps of a rotation.
        rotated = rotated_files(self.path)
        if rotated:
            self._end = end_of(rotated[max(rotated)], self._key)
        self._create()

    def _create(self) -> None:
        """Begin the next file, which goes on with the chain."""
        before = self._end
        number = 1 if before is None else before.header.file + 1
        first = 1 if before is None else before.header.first_file
        if self.policy.keep is not None:
            first = max(first, number - self.policy.keep)
        header = FileLine(
            seq=1 if before is None else before.sequence + 1,
            time=time_text(time.time()),
            log=secrets.token_hex(16) if before is None else before.header.log,
            file=number,
            first_file=first,
            key="" if self._key is None else self._key.id,
            prev=FIRST_DIGEST if before is None else before.digest,
        )
        data, digest = encode(header, header.prev, self._key)
        with atomic_write(self.path, mode=0o600) as file:
            file.write(data)
        self._exchange(open_current(self.path))
        self._end = ChainEnd(header, header.seq, digest)
        for old, path in rotated_files(self.path).items():
            if old < first:
                with suppress(OSError):
                    path.unlink()

    def _rotate(self) -> bool:
        """Give the file its number and begin the next one; return whether that was done.

        A crash in between leaves no file of the log's own name, and a restart begins it.
        """
        end = self._known_end()
        target = rotated_path(self.path, end.header.file)
        if end.sequence == end.header.seq or end.torn:
            return False
        try:
            if end.header.file >= MAX_FILES or os.path.lexists(target):
                raise AuditError(f"{target} exists or is no name for a file of a log")
            os.fdatasync(self._descriptor())
            self.path.rename(target)
            try:
                self._create()
            except (OSError, FasdkError):
                target.rename(self.path)
                raise
        except (OSError, FasdkError) as error:
            self._tell_once(f"{self.path} cannot be rotated, so it grows: {error}")
            return False
        return True

    def _exchange(self, descriptor: int) -> None:
        """Write to another file from now on."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = descriptor, os.fstat(descriptor).st_size

    def _descriptor(self) -> int:
        if self._file is None:
            raise AuditError(f"the audit log {self.path} is closed")
        return self._file

    def _known_end(self) -> ChainEnd:
        if self._end is None:
            raise AuditError(f"the audit log {self.path} is closed")
        return self._end

    def _tell_failure(self, error: Exception) -> str:
        """Say that decisions are not recorded, once until they are again, and return why."""
        why = error.strerror if isinstance(error, OSError) else str(error)
        message = f"the audit log {self.path} cannot be written: {why or error}"
        if not self._is_failing:
            self._is_failing = True
            then = "every decision is an ERROR" if self.policy.required else "decisions go on"
            _log.warning("%s: %s until it can", message, then)
        return message

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.warning("audit log: %s; `fasdk audit verify` says where", message)


def _is_full(error: BaseException) -> bool:
    """Return whether an error, or what it was raised from, is a full disk."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in _FULL:
            return True
        found = found.__cause__
    return False
