"""Files that a measurement writes, checked before minutes are spent on it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from fasdk.atomic import require_replaceable
from fasdk.errors import FasdkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def require_writable(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        FasdkError: Its folder does not exist or takes no file, or something else than a file is
            in its place.
    """
    if path.is_dir():
        raise FasdkError(f"cannot write {path}: it is a folder, give a file name")
    if not path.absolute().parent.is_dir():
        raise FasdkError(f"cannot write {path}: its folder does not exist: make it first")
    require_replaceable(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise FasdkError(f"cannot write {path}: {error.strerror or error}") from error


def require_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Check that every output can be written and replaces no input and no other output.

    Args:
        outputs: Files to write, by option; None for one that was not asked for.
        inputs: Files that are read, by name; None for one that was not given.

    Raises:
        UsageError: Two options name the same file.
        FasdkError: A file cannot be written.
    """
    taken = {path.resolve(): name for name, path in inputs.items() if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        require_writable(path)
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"{option} {path} is also {other}: give it a file of its own")
