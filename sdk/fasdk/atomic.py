"""Atomic file writing: readers find the old file or the whole new one, never a part."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fasdk.bounded_file import is_folder
from fasdk.errors import FasdkError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PART = re.compile(r"^\..{1,40}\.[0-9a-f]{16}\.part$", re.DOTALL)
# What file systems answer that have no unnamed files, no locks, or cannot flush a folder.
_NO_UNNAMED_FILES = {errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP}
_DEVICES = Path("/dev")
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes the name `path` only if the block ends without an error.

    Where the file system has unnamed files (Linux, O_TMPFILE), a process that is killed before the
    end of the block leaves nothing behind. Elsewhere, and for an instant while an older file is
    replaced, the new file is named `.NAME.HEX.part`; the next write into the folder removes such
    files of processes that are gone. The file and its new name are flushed to the disk.

    Args:
        path: The file's final name.
        mode: Permission bits of the file from the first byte on; the process's umask takes some
            away.

    Raises:
        FasdkError: The folder does not exist, is not writable, the disk is full, or `path` is a
            device, a pipe or a socket; whatever was at `path` before is untouched. Errors the block
            raises about other files pass through.
    """
    path = Path(path)
    if not path.name:
        raise FasdkError(f"cannot write {path}: it is a folder, give a file name")
    require_replaceable(path)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    of_block: OSError | None = None
    try:
        _remove_abandoned(path.parent)
        with ExitStack() as undo:
            descriptor = _open_unnamed(path.parent, mode)
            is_named = descriptor is None
            if descriptor is None:
                descriptor = _open_named(temporary, mode)
                undo.callback(temporary.unlink, missing_ok=True)
            with os.fdopen(descriptor, "wb") as file:
                try:
                    yield file
                except OSError as error:
                    of_block = error
                    raise
                file.flush()
                os.fsync(descriptor)
                # It stays open, and so locked, until it has its name: see _remove_abandoned.
                if is_named:
                    temporary.replace(path)
                else:
                    _name(descriptor, path, temporary, undo)
        _flush_folder(path)
    except OSError as error:
        if error is of_block and error.filename is not None:
            raise  # about another file
        raise FasdkError(f"cannot write {path}: {error.strerror or error}") from error


def require_writable(path: Path) -> None:
    """Check that a file can be written, before the work that it is to hold is done.

    Raises:
        FasdkError: Its folder does not exist or takes no file, it is a folder itself, or it is a
            device, a pipe or a socket.
    """
    if not path.name or is_folder(path):
        raise FasdkError(f"cannot write {path}: it is a folder, give a file name")
    folder = path.absolute().parent
    if not is_folder(folder):
        there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        if is_folder(there):
            raise FasdkError(f"cannot write {path}: its folder does not exist: make it first")
        raise FasdkError(f"cannot write {path}: {there} is no folder: choose another")
    require_replaceable(path)
    try:
        with suppress(FileNotFoundError):
            path.stat()  # a name that is too long, a link that leads to itself
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FasdkError(f"cannot write {path}: {error.strerror or error}") from error


def require_replaceable(path: Path) -> None:
    """Check that a file written to `path` would replace no device, pipe or socket.

    Raises:
        FasdkError: It would.
    """
    try:
        mode = path.stat().st_mode  # of what a link leads to, such as /dev/stdout
    except OSError:  # nothing is there, or writing says what is wrong
        return
    is_file = stat.S_ISREG(mode) and path.absolute().parent != _DEVICES
    if not (is_file or stat.S_ISDIR(mode)):
        raise FasdkError(
            f"cannot write {path}: it is a device, a pipe or a socket, which a file would replace: "
            "give the name of a file"
        )


def _open_unnamed(folder: Path, mode: int) -> int | None:
    """Return a new file without a name, locked, or None where there is no such thing."""
    # A file without a name gets one through /proc alone.
    if not Path("/proc/self/fd").is_dir():
        return None
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES and folder.is_dir():
            return None
        raise
    _lock(descriptor, wait=True)
    return descriptor


def _open_named(temporary: Path, mode: int) -> int:
    """Return a new file of that name, locked."""
    while True:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode)
        _lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor
        os.close(descriptor)  # another process took it for abandoned before it was locked


def _name(descriptor: int, path: Path, temporary: Path, undo: ExitStack) -> None:
    """Give an unnamed file its name, in place of the file that has it."""
    try:
        _link(descriptor, path)
    except FileExistsError:
        undo.callback(temporary.unlink, missing_ok=True)
        _link(descriptor, temporary)
        temporary.replace(path)


def _link(descriptor: int, path: Path) -> None:
    # Only linkat follows the link in /proc, and Python calls it where a folder is given.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Mark a file as one that a living process writes; return whether that could be done."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def _remove_abandoned(folder: Path) -> None:
    """Delete the files in a folder whose writers are gone: the kernel releases a dead one's lock.

    Nothing here is worth failing a write for: what cannot be looked at or deleted stays.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if _PART.match(entry.name)]
    except (OSError, ValueError):
        return
    for name in found:
        part = folder / name
        try:
            descriptor = os.open(part, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            if is_file and _lock(descriptor, wait=False):
                part.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _flush_folder(path: Path) -> None:
    """Flush the file's name: until then, a power failure may bring the older file back."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # a folder that may be written but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise FasdkError(
                f"{path} is written, but its folder cannot be flushed and a power failure may "
                f"undo it: {error.strerror}"
            ) from error
    finally:
        os.close(descriptor)
