"""Locks of files and folders between processes, waited for a bounded time."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fasdk.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_S = 0.01


def take_lock(descriptor: int, path: Path, wait_s: float = 10.0) -> None:
    """Lock an open file or folder against every other process; closing it releases the lock.

    Args:
        descriptor: Descriptor of the file or folder.
        path: Its path in error messages.
        wait_s: Longest time to wait for a process that holds the lock, in seconds: one that is
            stopped holds it for ever.

    Raises:
        StateError: Another process holds it for that time, or its file system has no locks.
    """
    until = time.monotonic() + wait_s
    while not _is_taken(descriptor, path):
        if time.monotonic() >= until:
            raise StateError(
                f"{path} is held by another process for {wait_s:g} s: find it with "
                f"`fuser {path}` and end it"
            )
        time.sleep(_POLL_S)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep every other process that locks it from changing a folder while the block runs.

    Raises:
        StateError: It cannot be opened, or another process holds its lock for ten seconds.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(f"cannot lock {folder}: {error.strerror}") from error
    try:
        take_lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StateError(f"cannot lock {path}: {error.strerror}") from error
    return True
