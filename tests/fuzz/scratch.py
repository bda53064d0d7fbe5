"""Scratch folders of fuzzing, removed also where their process was killed."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from support.scratch import memory_folder

PREFIX = "fasdk-fuzz-"
_LOCK = "lock"


@cache
def scratch_folder() -> Path:
    """Return a folder that is removed when the process ends, in memory where that is possible.

    A process that is killed leaves it to `remove_abandoned`.
    """
    holder = new_scratch_folder()
    folder = holder.__enter__()
    atexit.register(holder.__exit__, None, None, None)
    return folder


@contextmanager
def new_scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder and remove it after the block.

    Args:
        parent: Folder to make it in; None for one in memory where that is possible.
    """
    holder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent or memory_folder()))
    # The kernel gives the lock back when the last process that inherited it has ended.
    lock = os.open(holder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = holder / "files"
        folder.mkdir(parents=True)  # again, where it was taken for abandoned before the lock
        yield folder
    finally:
        shutil.rmtree(holder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(parent: Path | None = None) -> None:
    """Remove the scratch folders whose process is gone.

    Args:
        parent: Folder that they are in; None for the one of `scratch_folder`.
    """
    for holder in (parent or memory_folder() or Path(tempfile.gettempdir())).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another account's, or removed meanwhile
            lock = os.open(holder / _LOCK, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(holder)
            finally:
                os.close(lock)
