"""Folders for files that are written again and again."""

from __future__ import annotations

from pathlib import Path


def memory_folder() -> Path | None:
    """Return a folder in memory, None where there is none: for `dir` of the tempfile module.

    On a disk, a file that is cut short and written again is flushed each time it is closed.
    """
    shared = Path("/dev/shm")  # noqa: S108 - private folders in it are made
    return shared if shared.is_dir() else None
