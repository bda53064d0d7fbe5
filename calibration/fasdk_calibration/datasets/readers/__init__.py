"""Readers of the published data sets, one module each.

Every module of this package but `base` defines one reader, and the registry is made of the modules:
a data set is known from the moment its module exists.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.readers.base import (
    MODALITY_FOLDERS,
    ArchiveFormat,
    DatasetReader,
    FrameFolderReader,
    LocatedCapture,
    Location,
    Presentation,
)

__all__ = [
    "READERS",
    "ArchiveFormat",
    "DatasetReader",
    "FrameFolderReader",
    "LocatedCapture",
    "Location",
    "Presentation",
    "archive_format_of",
    "find_readers",
    "nothing_found",
    "reader_of",
    "reader_of_module",
    "require_known_layout",
]


def reader_of_module(module: ModuleType) -> type[DatasetReader]:
    """Return the one reader that a module defines.

    Raises:
        TypeError: It defines none or several, or the reader lacks a method, `name` or `example`.
    """
    readers = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, DatasetReader)
        and value.__module__ == module.__name__
    ]
    if len(readers) != 1:
        raise TypeError(f"{module.__name__} defines {len(readers)} data set readers, expected one")
    reader: type[DatasetReader] = readers[0]
    absent = sorted(getattr(reader, "__abstractmethods__", ()))
    absent += [name for name in ("name", "example") if not getattr(reader, name, "")]
    if absent:
        raise TypeError(f"{module.__name__}.{reader.__name__} lacks {', '.join(absent)}")
    return reader


def find_readers(folders: Sequence[str], package: str) -> tuple[type[DatasetReader], ...]:
    """Return the readers of all modules of a package, in the order of the modules' names.

    Raises:
        TypeError: A module does not define exactly one complete reader.
    """
    names = sorted(module.name for module in iter_modules(folders) if module.name != "base")
    return tuple(reader_of_module(import_module(f"{package}.{name}")) for name in names)


READERS = find_readers(__path__, __name__)


def reader_of(path: str) -> type[DatasetReader]:
    """Return the reader of the data set that names a capture so.

    Args:
        path: A capture's first path in a list.

    Raises:
        DatasetError: No known data set names captures so; the known ones are named.
    """
    for reader in READERS:
        if reader.owns(path):
            return reader
    raise _unknown(path)


def archive_format_of(path: str) -> ArchiveFormat | None:
    """Return the format of a file that holds all modalities, None for an image."""
    formats = (reader.archive for reader in READERS)
    return next((each for each in formats if each and path.endswith(each.suffix)), None)


def require_known_layout(location: Location) -> None:
    """Check that every folder of frames below a root is named as a known data set names them.

    Raises:
        DatasetError: One is not; the known data sets are named.
    """
    for folder in location.video_folders:
        name = (location.require_root().resolve() / folder).as_posix()
        if not any(issubclass(r, FrameFolderReader) and r.owns_video(name) for r in READERS):
            raise _unknown(name)


def nothing_found(root: Path) -> DatasetError:
    """Return the error for a folder that holds no capture of a known data set."""
    hints = (reader.packed_file_hint(root) for reader in READERS)
    hint = next((hint for hint in hints if hint is not None), None)
    if hint is not None:
        return DatasetError(hint)
    held = ", ".join(sorted(entry.name for entry in root.iterdir())[:10]) or "nothing"
    return DatasetError(
        f"folder {root} holds no captures of a known data set: found {held}; expected {_known()}, "
        f"with frames in folders {', '.join(MODALITY_FOLDERS)}"
    )


def _unknown(path: str) -> DatasetError:
    return DatasetError(f"{path} is no capture of a known data set: expected {_known()}")


def _known() -> str:
    return ", ".join(f"{reader.name} ({reader.example})" for reader in READERS)
