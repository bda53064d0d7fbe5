"""Lists and folders that make one data set."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fasdk.bounded_file import FileKind, is_folder, read_bounded
from fasdk.capture import Modality
from fasdk.errors import DatasetError, UsageError
from fasdk.lists import ListOptions
from fasdk_calibration.datasets.dataset import Dataset, open_dataset
from fasdk_calibration.datasets.records import CaptureRecord


@dataclass(frozen=True)
class DatasetSource:
    """Lists and folders of captures that make one data set.

    Attributes:
        paths: Lists in any form that `open_dataset` reads, and folders of published data sets.
        roots: Folders that the lists' paths start from: none for each list's own folder, one for
            all lists, or one for each of `paths` (for a folder, itself).
        options: What the lists leave open.
    """

    paths: tuple[Path, ...]
    roots: tuple[Path, ...] = ()
    options: ListOptions | None = None

    def __post_init__(self) -> None:
        """Check the number of roots.

        Raises:
            UsageError: There is no path, or neither one root nor one for each path.
        """
        object.__setattr__(self, "paths", tuple(map(Path, self.paths)))
        object.__setattr__(self, "roots", tuple(map(Path, self.roots)))
        if not self.paths:
            raise UsageError("no list is given: give at least one")
        if len(self.roots) not in (0, 1, len(self.paths)):
            raise UsageError(
                f"{len(self.roots)} roots for {len(self.paths)} lists: give one root for all of "
                "them, or one for each, in their order"
            )

    @classmethod
    def of(cls, *paths: Path | str, root: Path | None = None) -> DatasetSource:
        """Return the source of some lists and folders, with one root or with their own."""
        return cls(tuple(map(Path, paths)), () if root is None else (root,))

    @property
    def name(self) -> str:
        """File names of the lists, joined by plus signs."""
        return "+".join(path.name for path in self.paths)

    def each(self) -> tuple[DatasetSource, ...]:
        """Return every list and folder as a source of its own."""
        pairs = zip(self.paths, self._root_of_each(), strict=True)
        return tuple(
            DatasetSource((path,), () if root is None else (root,), self.options)
            for path, root in pairs
        )

    def sha256(self) -> str | None:
        """Return the digest of the lists' bytes, one after another; None where one is a folder.

        Raises:
            DatasetError: A list cannot be read.
        """
        if any(is_folder(path) for path in self.paths):
            return None
        digest = hashlib.sha256()
        try:
            for path in self.paths:
                digest.update(read_bounded(path, FileKind.LIST))
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror}") from error
        return digest.hexdigest()

    def open(self) -> Dataset:
        """Return the data set that the lists and folders make together.

        Raises:
            DatasetError: See `open_dataset`; or two of them are one file, or hold one capture.
        """
        _require_different(self.paths)
        return join_datasets(
            [
                open_dataset(path, root, options=self.options)
                for path, root in zip(self.paths, self._root_of_each(), strict=True)
            ]
        )

    def _root_of_each(self) -> list[Path | None]:
        if not self.roots:
            return [None] * len(self.paths)
        lists = [not is_folder(path) for path in self.paths]
        if not any(lists):
            raise DatasetError(f"{self.paths[0]} is a folder: a root goes with a list only")
        if len(self.roots) == len(self.paths):
            pairs = zip(self.paths, self.roots, lists, strict=True)
            return [None if path == root and not is_list else root for path, root, is_list in pairs]
        return [self.roots[0] if is_list else None for is_list in lists]


def _require_different(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        # Not Path.resolve, which raises for a link that leads to itself.
        first = seen.setdefault(os.path.realpath(path), path)
        if first is not path:
            raise DatasetError(f"{path} is given twice: its captures would count twice")


def join_datasets(parts: Sequence[Dataset]) -> Dataset:
    """Return several data sets as one, in their order; one alone as it is.

    The paths of its records start at the folder that all roots have in common. An id that an
    earlier part has too gets the name of its part before it.

    Raises:
        DatasetError: One set of frames is in two of them.
    """
    if len(parts) == 1:
        return parts[0]
    roots = [part.root.resolve() for part in parts]
    common = parts[0].root if len(set(roots)) == 1 else Path(os.path.commonpath(roots))
    names = _different_names([part.name for part in parts])
    records: list[CaptureRecord] = []
    lines: dict[str, int] = {}
    lists: dict[str, str] = {}
    for part, root, name in zip(parts, roots, names, strict=True):
        below = PurePosixPath(root.relative_to(common.resolve()).as_posix())
        for record in part.records:
            identity = record.id if record.id not in lists else f"{name}/{record.id}"
            lists[identity] = name
            if record.id in part.lines:
                lines[identity] = part.lines[record.id]
            records.append(_moved(record, identity, below))
    _require_no_capture_twice(records, lists)
    return Dataset(
        name="+".join(names),
        root=common,
        records=tuple(records),
        notes=_of_parts(names, [part.notes for part in parts]),
        reading=_of_parts(names, [part.reading for part in parts]),
        is_bare=any(part.is_bare for part in parts),
        lines=lines,
        lists=lists,
        names_subjects=all(part.names_subjects for part in parts),
    )


def _moved(record: CaptureRecord, identity: str, below: PurePosixPath) -> CaptureRecord:
    paths = {m.value: str(below / str(record.path(m))) for m in record.modalities}
    return record.model_copy(update={"id": identity, **paths})


def _different_names(names: Sequence[str]) -> list[str]:
    """Return the names, those that recur with their number behind them."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found


def _require_no_capture_twice(records: Iterable[CaptureRecord], lists: dict[str, str]) -> None:
    first: dict[tuple[str | None, ...], str] = {}
    twice: list[tuple[str, str]] = []
    for record in records:
        earlier = first.setdefault(tuple(record.path(m) for m in Modality), record.id)
        if lists[earlier] != lists[record.id]:
            twice.append((earlier, record.id))
    if twice:
        earlier, later = twice[0]
        raise DatasetError(
            f"{lists[earlier]} and {lists[later]} share {len(twice)} captures, such as {earlier}: "
            "they would count twice: leave them out of one of the lists"
        )


def _of_parts(names: Sequence[str], lines: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return lines of each part with its name; a line of all parts once and without."""
    shared = [line for line in lines[0] if all(line in others for others in lines)]
    own = [
        f"{name}: {line}"
        for name, of_part in zip(names, lines, strict=True)
        for line in of_part
        if line not in shared
    ]
    return (*shared, *own)
