"""Folder of files that only this account, or root, on this machine can have made.

What is kept in it reaches native code, so a file is used only if a MAC under the folder's key holds
over it, and the MAC names this machine. Who can write the folder can forge files, the key in it
being readable to them: it must belong to root or this account, and nobody else may write there. An
account that only reads it can use the files and cannot change them.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, open_bounded
from fasdk.errors import FasdkError, PlanError
from fasdk.file_access import is_own_or_roots, is_writable_by_others
from fasdk.machine import machine_tag

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "mac.key"
_KEY_BYTES = 32
_PURPOSE = "plans"
# What opening a link, a device, a FIFO or a folder answers: no file of the folder's.
_NO_FILE_OF_OURS = {errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.ENXIO}


class RefusedError(Exception):
    """A file of the folder is not one that may be used."""


class SealedFolder:
    """A folder with the key of the MACs over its files.

    Files that are new get the group of the folder, and its members may read them if they may read
    the folder: an installer makes what a service uses and cannot change.

    Attributes:
        path: Path of the folder.
        machine: Tag of the machine that its files are for.

    Args:
        path: Path of the folder.
        what: What the folder is, in errors, such as "plan cache".
        machine: Tag of the machine; None for this one's.
    """

    def __init__(self, path: Path, what: str, machine: str | None = None) -> None:
        self.path = path
        self._what = what
        self.machine = machine or machine_tag(_PURPOSE)

    @property
    def is_writable(self) -> bool:
        """Whether this account can keep files here."""
        place = self.path if os.path.lexists(self.path) else self.path.parent
        return os.access(place, os.W_OK | os.X_OK, effective_ids=True)

    def require_sound(self) -> bool:
        """Return whether the folder exists.

        Raises:
            PlanError: It is a link or no folder, belongs to another account than this one and root,
                or may be written by others.
        """
        try:
            found = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise PlanError(f"cannot look at {self._what} {self.path}: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode):
            what = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
            raise PlanError(f"{self._what} {self.path} is {what}, expected a folder: remove it")
        if not is_own_or_roots(found):
            raise PlanError(
                f"{self._what} {self.path} belongs to account {found.st_uid}, expected "
                f"{os.geteuid()} or root: remove it, and it is made anew"
            )
        if is_writable_by_others(found):
            raise PlanError(
                f"{self._what} {self.path} has mode {stat.S_IMODE(found.st_mode):04o}, others can "
                "write there: remove it, and it is made anew"
            )
        return True

    def make(self) -> None:
        """Make the folder, readable by this account alone, where there is none.

        Raises:
            PlanError: It is not sound; see `require_sound`.
            FasdkError: It cannot be made.
        """
        if self.require_sound():
            return
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FasdkError(f"cannot make {self._what} {self.path}: {error.strerror}") from error
        self.require_sound()

    def mac(self, message: str) -> str | None:
        """Return the MAC of a message, or None where there is no key that only readers have."""
        key = self._key()
        return None if key is None else _mac(key, message)

    def sealing_mac(self, message: str) -> str:
        """Return the MAC of a message, under a new key where there is none."""
        key = self._key()
        if key is None:
            key = secrets.token_bytes(_KEY_BYTES)
            self.write(self.path / KEY_FILE, key)
        return _mac(key, message)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the folder atomically, in place of whatever is there."""
        found = self.path.stat()
        is_shared = bool(found.st_mode & stat.S_IRGRP)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            delete(path)
        with atomic_write(path, mode=0o600) as file:
            if is_shared:
                os.fchown(file.fileno(), -1, found.st_gid)
                os.fchmod(file.fileno(), 0o640)
            file.write(data)

    def _key(self) -> bytes | None:
        try:
            key = read(self.path / KEY_FILE, FileKind.KEY, secret=True)
        except (OSError, RefusedError):
            return None
        return key if len(key) == _KEY_BYTES else None


def read(
    path: Path, kind: FileKind, *, expected_bytes: int | None = None, secret: bool = False
) -> bytes:
    """Return a file's bytes, if only root and this account can have written it.

    Raises:
        OSError: It is not there or cannot be read.
        RefusedError: It is a link or no regular file, of another owner, may be written by others,
            is a secret that others can read, or has another size than expected.
    """
    try:
        with open_bounded(path, kind, flags=os.O_NOFOLLOW) as file:
            found = os.fstat(file.fileno())
            if not is_own_or_roots(found):
                raise RefusedError(f"{path.name} belongs to account {found.st_uid}")
            if is_writable_by_others(found) or (secret and found.st_mode & stat.S_IROTH):
                raise RefusedError(f"{path.name} has mode {stat.S_IMODE(found.st_mode):04o}")
            if expected_bytes is not None and found.st_size != expected_bytes:
                raise RefusedError(f"{path.name} has {found.st_size} bytes, not {expected_bytes}")
            return file.read(found.st_size)
    except OSError as error:
        if error.errno in _NO_FILE_OF_OURS:
            raise RefusedError(f"{path.name}: {error.strerror}") from error
        raise


def delete(path: Path) -> None:
    """Delete what is at a path, if anything.

    Raises:
        FasdkError: It is there and cannot be deleted.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FasdkError(
            f"cannot delete plan {error.filename}: {error.strerror}; delete it by hand"
        ) from error


def _mac(key: bytes, message: str) -> str:
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()
