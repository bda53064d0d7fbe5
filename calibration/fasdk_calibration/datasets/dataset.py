"""A data set: its records, where their frames lie, and how one capture is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import read_depth_levels, read_frame
from fasdk_calibration.datasets import padisi
from fasdk_calibration.datasets.benchmark import (
    Described,
    LabelConvention,
    describe_list,
    read_benchmark_list,
)
from fasdk_calibration.datasets.capture_list import read_list
from fasdk_calibration.datasets.depth import levels_to_millimeters
from fasdk_calibration.datasets.folders import describe_folder
from fasdk_calibration.datasets.records import (
    CaptureRecord,
    DepthUnit,
    LabeledCapture,
    Progress,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasdk.preprocess import DepthEncoding

Arrays = dict[str, "NDArray[np.float32]"]  # by path; PADISI keeps all modalities in one file

_NAMED = 10  # missing files that an error names


@dataclass(frozen=True)
class Dataset:
    """Labeled captures by reference: no frame is opened before `load`.

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

    def load(
        self,
        record: CaptureRecord,
        depth: DepthEncoding | None = None,
        *,
        modalities: Collection[Modality] = tuple(Modality),
    ) -> Capture:
        """Return one record's frames.

        Args:
            record: One of `records`.
            depth: The depth encoding of the model that will judge the capture; needed where depth
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


def load_capture(
    record: CaptureRecord,
    root: Path,
    depth: DepthEncoding | None = None,
    *,
    modalities: Collection[Modality] = tuple(Modality),
) -> Capture:
    """Return one record's frames.

    Args:
        record: A line of a list.
        root: The folder its paths are relative to.
        depth: The depth encoding of the model that will judge the capture; needed where depth is
            kept as 8-bit levels.
        modalities: Frames of no other modality are loaded: what the model looks at.

    Raises:
        DatasetError: A frame is unreadable or of another kind than its modality, the face box
            leaves the frame, levels cannot become millimeters, or the record holds none of
            `modalities`; the record is named.
    """
    arrays: Arrays = {}
    try:
        frames = {
            modality: read_stored(record, modality, root, arrays)
            for modality in record.modalities
            if modality in modalities
        }
        if not frames:
            raise DatasetError(
                f"holds {_names(record.modalities)}, and none of {_names(modalities)} is there"
            )
        face = _face(record, frames, root, arrays)
        if Modality.DEPTH in frames and record.depth_unit is DepthUnit.LEVEL:
            if depth is None:
                raise DatasetError(
                    "depth is kept as 8-bit levels, which only a model's depth encoding turns into "
                    "millimeters: give one, or leave depth out"
                )
            frames[Modality.DEPTH] = levels_to_millimeters(frames[Modality.DEPTH], depth)
        return Capture.of(frames, face)
    except (CaptureError, DatasetError) as error:
        raise DatasetError(f"capture {record.id}: {error}") from error


def load_list(path: Path, progress: Progress | None = None) -> list[LabeledCapture]:
    """Return every capture of a list, frames loaded, in its order.

    Raises:
        DatasetError: See `read_list` and `load_capture`.
    """
    path = Path(path)
    loaded: list[LabeledCapture] = []
    for record in read_list(path):
        capture = load_capture(record, path.parent)
        loaded.append(
            LabeledCapture(
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


def read_stored(
    record: CaptureRecord, modality: Modality, root: Path, arrays: Arrays | None = None
) -> NDArray[Any]:
    """Return one frame as it is kept: depth may still be 8-bit levels.

    Args:
        record: A line of a list.
        modality: One it gives a path for.
        root: The folder its paths are relative to.
        arrays: Files of several modalities that were read before; grows.

    Raises:
        CaptureError: The frame is unreadable or of another kind than its modality.
    """
    name = str(record.path(modality))
    path = Path(root) / name
    if name.endswith(".npz"):
        arrays = {} if arrays is None else arrays
        if name not in arrays:
            arrays[name] = padisi.read_array(path)
        return padisi.frame_of(arrays[name], modality)
    if modality is Modality.DEPTH and record.depth_unit is DepthUnit.LEVEL:
        return read_depth_levels(path)
    return read_frame(path, modality)


def _face(
    record: CaptureRecord,
    frames: Mapping[Modality, NDArray[Any]],
    root: Path,
    arrays: Arrays,
) -> FaceBox | None:
    """Return the face in pixels of the first frame loaded; of a face crop, all of it."""
    size = _size(next(iter(frames.values())))
    if record.face_crop:
        return FaceBox(0, 0, *size)
    if record.face is None:
        return None
    box, first = FaceBox(*record.face), record.modalities[0]
    if first in frames:
        return box
    # The record's box is in pixels of a frame that is not wanted: its size is.
    size_of_first = _size(read_stored(record, first, root, arrays))
    box.require_inside(*size_of_first)
    return box.scaled_to(size_of_first, size)


def _size(frame: NDArray[Any]) -> tuple[int, int]:
    """Return a frame's (width, height) in pixels."""
    return frame.shape[1], frame.shape[0]


def _names(modalities: Collection[Modality]) -> str:
    return ", ".join(m.value for m in modalities)
