"""Data sets of labeled captures: their records and where the frames lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.bounded_file import is_file, is_folder
from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk.lists import ListOptions
from fasdk.settings import as_choice
from fasdk_calibration.datasets.benchmark_list import LabelConvention
from fasdk_calibration.datasets.capture_list import read_capture_list
from fasdk_calibration.datasets.loading import load_capture
from fasdk_calibration.datasets.readers import (
    READERS,
    Location,
    nothing_found,
    require_known_layout,
)
from fasdk_calibration.datasets.records import CaptureRecord

if TYPE_CHECKING:
    from fasdk.preprocess import DepthEncoding

_NAMED = 10  # missing files that an error names


@dataclass(frozen=True)
class Dataset:
    """Labeled captures by reference: no frame is opened before `load`.

    Attributes:
        name: Name used in tables.
        root: The folder that the records' paths are relative to.
        records: Capture records, in the order of the list.
        notes: Facts the source does not state and a reader of results should know.
        reading: What was decided about the list's form, such as the polarity of its labels.
        is_bare: Whether a list names frames as a published data set does, which may lie elsewhere.
        lines: Number of each record's line in the list, by the record's id; empty for a folder.
        lists: Name of each record's list or folder, by the record's id, where several are joined;
            empty for one.
        names_subjects: Whether the source tells who is seen; otherwise each capture counts as a
            person of its own.
    """

    name: str
    root: Path
    records: tuple[CaptureRecord, ...]
    notes: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    is_bare: bool = False
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    lists: Mapping[str, str] = field(default_factory=dict, repr=False)
    names_subjects: bool = True

    @property
    def presentations(self) -> frozenset[tuple[str, str]]:
        """Domain and name of every presentation; a name alone may recur in another domain."""
        return frozenset((record.domain, record.presentation) for record in self.records)

    @property
    def subjects(self) -> frozenset[str]:
        """The persons presented."""
        return frozenset(record.subject for record in self.records)

    def load(
        self,
        record: CaptureRecord,
        depth: DepthEncoding | None = None,
        *,
        modalities: Collection[Modality | str] = tuple(Modality),
    ) -> Capture:
        """Return one record's frames.

        Args:
            record: Capture record to load, one of `records`.
            depth: Depth encoding of the model that will score the capture; needed where depth
                is kept as 8-bit levels, which then become the millimeters it draws as the same.
            modalities: Frames of no other modality are loaded: what the model looks at.

        Raises:
            DatasetError: See `load_capture`; the line is named.
        """
        try:
            return load_capture(record, self.root, depth, modalities=modalities)
        except DatasetError as error:
            raise self._at_line(record, str(error)) from error

    def fault(self, record: CaptureRecord, reason: str) -> DatasetError:
        """Return the error for a record that cannot be used, with its line."""
        return self._at_line(record, f"capture {record.id}: {reason}")

    def _at_line(self, record: CaptureRecord, message: str) -> DatasetError:
        line = self.lines.get(record.id)
        if line is None:
            return DatasetError(message)
        return DatasetError(f"{self.lists.get(record.id, self.name)}, line {line}: {message}")

    def missing_files(self, captures: int | None = None) -> list[Path]:
        """Return the frames that are not there, each once, of the first captures or of all."""
        return list(self._missing(captures))

    def require_files(self) -> None:
        """Check that every frame is there, without opening one.

        Raises:
            DatasetError: Some are not; the first ten are named, with their lines.
        """
        missing = self._missing()
        if missing:
            named = ", ".join(
                f"{path} (line {line})" if line else str(path)
                for path, line in list(missing.items())[:_NAMED]
            )
            raise DatasetError(
                f"{self.name}: {len(missing)} frames are not below {self.root}: {named}"
                f"{', ...' if len(missing) > _NAMED else ''}: {_why_missing(next(iter(missing)))}"
            )

    def _missing(self, captures: int | None = None) -> dict[Path, int | None]:
        """Return the frames that are not there, with the first line that names each."""
        missing: dict[Path, int | None] = {}
        seen: set[str] = set()
        for record in self.records[:captures]:
            for modality in record.modalities:
                name = str(record.path(modality))
                if name not in seen:
                    seen.add(name)
                    path = self.root / name
                    if not is_file(path):
                        missing[path] = self.lines.get(record.id)
        return missing


def _why_missing(path: Path) -> str:
    """Return what may be wrong with a path: its letters' case, its suffix, or the root."""
    if is_folder(path.parent):
        for there in sorted(path.parent.iterdir()):
            if there.name.lower() == path.name.lower() or (
                there.stem == path.stem and there.suffix.lower() in (".jpg", ".jpeg", ".png")
            ):
                return f"{there.name} is there: write the name as the file's"
    return "is the root the folder that the list's paths start from?"


def open_dataset(
    source: Path,
    root: Path | None = None,
    convention: LabelConvention | str | None = None,
    *,
    options: ListOptions | None = None,
) -> Dataset:
    """Return the data set that a list or a folder describes.

    Args:
        source: A list of captures in any form that `fasdk.lists` reads, or the folder of a
            published data set (see `fasdk_calibration.datasets.readers`).
        root: Folder that a list's paths are relative to; the list's own folder by default.
        convention: Meaning of 0 and 1 in a list; names that say otherwise are an error, so a wrong
            convention is never taken in silence. None leaves it to the list.
        options: What else the list leaves open.

    Raises:
        DatasetError: The source is none of these, is malformed, or may be read in two ways; file
            and line are named, and what to write.
    """
    if convention is not None:
        convention = as_choice("convention", convention, LabelConvention)
    source = Path(source)
    if is_folder(source):
        if root is not None:
            raise DatasetError(f"{source} is a folder: a root goes with a list only")
        return _open_folder(source)
    if root is not None and not is_folder(Path(root)):
        raise DatasetError(f"root {root} does not exist or is no folder")
    if convention is not None:
        live = "1" if convention is LabelConvention.ONE_IS_LIVE else "0"
        options = ListOptions(live_label=live).over(options or ListOptions())
    listed = read_capture_list(source, None if root is None else Path(root), options)
    name = source.name.removesuffix(".gz")
    return Dataset(
        name.rpartition(".")[0] or name,
        listed.root,
        listed.records,
        listed.notes,
        listed.reading,
        listed.is_bare,
        listed.lines,
        names_subjects=listed.names_subjects,
    )


def _open_folder(root: Path) -> Dataset:
    """Return every capture that lies below a folder as one of the known data sets lays them out."""
    location = Location(root, label_folders=(root, root.parent))
    require_known_layout(location)
    records: list[CaptureRecord] = []
    notes: list[str] = []
    names_subjects = True
    for kind in READERS:
        reader = kind(location)
        found = list(reader.records())
        records += found
        notes += reader.notes if found else ()
        names_subjects &= reader.names_subjects or not found
    if not records:
        raise nothing_found(root)
    partial = sum(len(record.modalities) < len(Modality) for record in records)
    if partial:
        notes.append(
            f"{partial} of {len(records)} captures lack a modality: no frame of that name is there"
        )
    return Dataset(
        root.resolve().name, root, tuple(records), tuple(notes), names_subjects=names_subjects
    )
