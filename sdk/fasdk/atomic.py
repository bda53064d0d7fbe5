"""Atomic file writing: readers find the old file or the whole new one, never a part."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fasdk.errors import FasdkError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes the name `path` only if the block ends without an error.

    Args:
        path: The file's final name.
        mode: Permission bits of the file from the first byte on; the process's umask takes some
            away.

    Raises:
        FasdkError: The folder does not exist, is not writable, or the disk is full; whatever was
            at `path` before is untouched. Errors the block raises about other files pass through.
    """
    path = Path(path)
    if not path.name:
        raise FasdkError(f"cannot write {path}: it is a folder, give a file name")
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    created = False
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        created = True
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) != temporary:
            raise
        raise FasdkError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if created:
            temporary.unlink(missing_ok=True)
