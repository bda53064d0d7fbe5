"""Data sets of labeled captures: their records and where the frames lie."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk.settings import as_choice
from fasdk_calibration.datasets.benchmark_list import (
    LabelConvention,
    read_benchmark_list,
    read_rows,
)
from fasdk_calibration.datasets.capture_list import read_list
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
    """

    name: str
    root: Path
    records: tuple[CaptureRecord, ...]
    notes: tuple[str, ...] = ()

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
            DatasetError: See `load_capture`.
        """
        return load_capture(record, self.root, depth, modalities=modalities)

    def missing_files(self) -> list[Path]:
        """Return the frames that are not there, each once, in the order of the records."""
        names = (record.path(m) for record in self.records for m in record.modalities)
        return [
            path for name in dict.fromkeys(names) if not (path := self.root / str(name)).is_file()
        ]

    def require_files(self) -> None:
        """Check that every frame is there, without opening one.

        Raises:
            DatasetError: Some are not; the first ten are named.
        """
        missing = self.missing_files()
        if missing:
            named = ", ".join(str(path) for path in missing[:_NAMED])
            raise DatasetError(
                f"{self.name}: {len(missing)} frames are not below {self.root}: {named}"
                f"{', ...' if len(missing) > _NAMED else ''}: is the root the folder that the "
                "list's paths start from?"
            )


def open_dataset(
    source: Path,
    root: Path | None = None,
    convention: LabelConvention | str = LabelConvention.ONE_IS_LIVE,
) -> Dataset:
    """Return the data set that a list or a folder describes.

    Args:
        source: A capture list (.jsonl, .csv), a list in the benchmark's form (.txt, .txt.gz), or
            the folder of a published data set (see `fasdk_calibration.datasets.readers`).
        root: Folder that a list's paths are relative to; the list's own folder by default.
        convention: Meaning of 0 and 1 in a list in the benchmark's form; names that say otherwise
            are an error, so a wrong convention is never taken in silence.

    Raises:
        DatasetError: The source is none of these, is malformed, or is of an unknown data set; file
            and line are named, and the known data sets.
    """
    convention = as_choice("convention", convention, LabelConvention)
    source = Path(source)
    if source.is_dir():
        if root is not None:
            raise DatasetError(f"{source} is a folder: a root goes with a list only")
        return _open_folder(source)
    name = source.name.removesuffix(".gz")
    if root is not None and not root.is_dir():
        raise DatasetError(f"root {root} does not exist or is no folder")
    records: tuple[CaptureRecord, ...]
    notes: tuple[str, ...] = ()
    if name.endswith((".jsonl", ".csv")) and not source.name.endswith(".gz"):
        records = tuple(read_list(source))
    elif name.endswith(".txt"):
        records, notes = read_rows(read_benchmark_list(source), root, convention)
    else:
        raise DatasetError(
            f"{source} is no capture list: expected a name ending in .jsonl, .csv, .txt or "
            ".txt.gz, or the folder of a data set"
        )
    return Dataset(name.rpartition(".")[0], source.parent if root is None else root, records, notes)


def _open_folder(root: Path) -> Dataset:
    """Return every capture that lies below a folder as one of the known data sets lays them out."""
    location = Location(root, label_folders=(root, root.parent))
    require_known_layout(location)
    records: list[CaptureRecord] = []
    notes: list[str] = []
    for kind in READERS:
        reader = kind(location)
        found = list(reader.records())
        records += found
        notes += reader.notes if found else ()
    if not records:
        raise nothing_found(root)
    partial = sum(len(record.modalities) < len(Modality) for record in records)
    if partial:
        notes.append(
            f"{partial} of {len(records)} captures lack a modality: no frame of that name is there"
        )
    return Dataset(root.resolve().name, root, tuple(records), tuple(notes))
