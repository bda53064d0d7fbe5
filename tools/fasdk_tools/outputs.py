"""Files that a verb writes, checked before it reads any other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fasdk.atomic import require_writable
from fasdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fasdk_calibration.datasets import DatasetSource


def files_of(option: str, source: DatasetSource | None) -> dict[str, Path]:
    """Return the lists and folders of an option by name, as `require_outputs` takes its inputs."""
    if source is None:
        return {}
    if len(source.paths) == 1:
        return {option: source.paths[0]}
    return {f"{option} {number}": path for number, path in enumerate(source.paths, 1)}


def require_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Check that every output can be written and replaces no input and no other output.

    Args:
        outputs: Files to write, by option; None for one that was not asked for.
        inputs: Files that are read, by name; None for one that was not given.

    Raises:
        UsageError: Two options name the same file.
        FasdkError: A file cannot be written.
    """
    # Not Path.resolve, which raises for a link that leads to itself.
    taken = {os.path.realpath(path): name for name, path in inputs.items() if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        require_writable(path)
        other = taken.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(f"{option} {path} is also {other}: give it a file of its own")
