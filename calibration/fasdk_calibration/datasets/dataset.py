"""A data set: its records, where their frames lie, and how one capture is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk_calibration.datasets import padisi
from fasdk_calibration.datasets.benchmark import (
    Described,
    LabelConvention,
    describe_list,
    read_benchmark_list,
)
from fasdk_calibration.datasets.depth import levels_to_millimetres
from fasdk_calibration.datasets.folders import describe_folder
from fasdk_calibration.datasets.frames import read_depth_levels, read_frame
from fasdk_calibration.datasets.manifest import read_list
from fasdk_calibration.datasets.records import (
    CaptureRecord,
    DepthUnit,
    LabelledCapture,
    Progress,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasdk.preprocess import DepthEncoding

_NAMED = 10  # missing files that an error names


@dataclass(frozen=True)
class Dataset:
    """Labelled captures by reference: no frame is opened before `load`.

    Attributes:
        name: What tables call it.
        root: The folder that the records' paths are relative to.
        records: One a capture, in the order of the list.
        notes: What the source does not say and a reader of results should know.
    """

    name: str
    root: Path
    records: tuple[CaptureRecord, ...]
    notes: tuple[str, ...] = ()

    def load(self, record: CaptureRecord, depth: DepthEncoding | None = None) -> Capture:
        """Return one record's frames.

        Args:
            record: One of `records`.
            depth: The depth encoding of the model that will judge the capture; needed where depth
                is kept as 8-bit levels, which then become the millimetres it draws as the same.

        Raises:
            DatasetError: See `load_capture`.
        """
        return load_capture(record, self.root, depth)

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
    convention: LabelConvention = LabelConvention.ONE_IS_LIVE,
) -> Dataset:
    """Return the data set that a list or a folder describes.

    Args:
        source: A list of one's own (.jsonl, .csv), a list in the benchmark's form (.txt,
            .txt.gz), or the folder of WMCA, CASIA-SURF, CeFA or PADISI.
        root: The folder a list's paths are relative to; the list's own folder by default.
        convention: What 0 and 1 mean in a list in the benchmark's form; names that say otherwise
            are an error, so a wrong convention is never taken in silence.

    Raises:
        DatasetError: The source is none of these, or is malformed; file and line are named.
    """
    source = Path(source)
    if source.is_dir():
        if root is not None:
            raise DatasetError(f"{source} is a folder: a root goes with a list only")
        described = describe_folder(source)
        return Dataset(source.resolve().name, source, described.records, described.notes)
    name = source.name.removesuffix(".gz")
    if root is not None and not root.is_dir():
        raise DatasetError(f"root {root} does not exist or is no folder")
    if name.endswith((".jsonl", ".csv")) and not source.name.endswith(".gz"):
        described = Described(tuple(read_list(source)))
    elif name.endswith(".txt"):
        described = describe_list(read_benchmark_list(source), root, convention)
    else:
        raise DatasetError(
            f"{source} is no capture list: expected a name ending in .jsonl, .csv, .txt or "
            ".txt.gz, or the folder of a data set"
        )
    stem = name.rpartition(".")[0]
    return Dataset(
        stem, source.parent if root is None else root, described.records, described.notes
    )


def load_capture(record: CaptureRecord, root: Path, depth: DepthEncoding | None = None) -> Capture:
    """Return one record's frames.

    Args:
        record: A line of a list.
        root: The folder its paths are relative to.
        depth: The depth encoding of the model that will judge the capture; needed where depth is
            kept as 8-bit levels.

    Raises:
        DatasetError: A frame is unreadable or of another kind than its modality, the face box
            leaves the frame, or levels cannot become millimetres; the record is named.
    """
    try:
        frames = dict(read_frames(record, root))
        if Modality.DEPTH in frames and record.depth_unit is DepthUnit.LEVEL:
            if depth is None:
                raise DatasetError(
                    "depth is kept as 8-bit levels, which only a model's depth encoding turns into "
                    "millimetres: give one"
                )
            frames[Modality.DEPTH] = levels_to_millimetres(frames[Modality.DEPTH], depth)
        return Capture(
            **{m.value: frame for m, frame in frames.items()}, face=_face(record, frames)
        )
    except (CaptureError, DatasetError) as error:
        raise DatasetError(f"capture {record.id}: {error}") from error


def load_list(path: Path, progress: Progress | None = None) -> list[LabelledCapture]:
    """Return every capture of a list, frames loaded, in its order.

    Raises:
        DatasetError: See `read_list` and `load_capture`.
    """
    path = Path(path)
    loaded: list[LabelledCapture] = []
    for record in read_list(path):
        capture = load_capture(record, path.parent)
        loaded.append(
            LabelledCapture(
                capture=capture,
                id=record.id,
                label=record.label,
                species=record.species,
                subject=record.subject,
                domain=record.domain,
                presentation=record.presentation,
            )
        )
        if progress is not None:
            progress(len(loaded))
    return loaded


def read_frames(record: CaptureRecord, root: Path) -> Iterator[tuple[Modality, NDArray[Any]]]:
    """Yield a record's frames as they are kept: depth may still be 8-bit levels.

    Raises:
        CaptureError: A frame is unreadable or of another kind than its modality.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    for modality in record.modalities:
        name = str(record.path(modality))
        if name.endswith(".npz"):
            if name not in arrays:
                arrays[name] = padisi.read_array(Path(root) / name)
            yield modality, padisi.frame_of(arrays[name], modality)
        elif modality is Modality.DEPTH and record.depth_unit is DepthUnit.LEVEL:
            yield modality, read_depth_levels(Path(root) / name)
        else:
            yield modality, read_frame(Path(root) / name, modality)


def _face(record: CaptureRecord, frames: dict[Modality, NDArray[Any]]) -> FaceBox | None:
    """Return the face box; of a face crop, the whole first frame."""
    if record.face_crop:
        height, width = frames[record.modalities[0]].shape[:2]
        return FaceBox(0, 0, width, height)
    return None if record.face is None else FaceBox(*record.face)
