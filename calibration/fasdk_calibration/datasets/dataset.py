"""A data set: its records, where their frames lie, and how one capture is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.capture import Capture, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk_calibration.datasets.frames import read_frame
from fasdk_calibration.datasets.manifest import read_list
from fasdk_calibration.datasets.records import CaptureRecord, LabelledCapture, Progress

if TYPE_CHECKING:
    from fasdk.preprocess import DepthEncoding


@dataclass(frozen=True)
class Dataset:
    """Labelled captures by reference: no frame is opened before `load`.

    Attributes:
        name: What tables call it.
        root: The folder that the records' paths are relative to.
        records: One a capture, in the order of the list.
    """

    name: str
    root: Path
    records: tuple[CaptureRecord, ...]

    def load(self, record: CaptureRecord, depth: DepthEncoding | None = None) -> Capture:
        """Return one record's frames.

        Args:
            record: One of `records`.
            depth: The depth encoding of the model that will judge the capture; needed where the
                data set holds depth as 8-bit levels.

        Raises:
            DatasetError: See `load_capture`.
        """
        return load_capture(record, self.root)


def open_dataset(source: Path, root: Path | None = None) -> Dataset:
    """Return the data set a list describes.

    Args:
        source: A capture list (JSON Lines).
        root: The folder its paths are relative to; the list's own folder by default.

    Raises:
        DatasetError: See `read_list`.
    """
    source = Path(source)
    return Dataset(
        name=source.stem,
        root=source.parent if root is None else root,
        records=tuple(read_list(source)),
    )


def load_capture(record: CaptureRecord, root: Path) -> Capture:
    """Return one record's frames.

    Args:
        record: A line of a list.
        root: The list's folder.

    Raises:
        DatasetError: A frame is unreadable or of another kind than its modality, or the face box
            leaves the frame; the record is named.
    """
    frames: dict[str, Any] = {}
    try:
        for modality in Modality:
            name = getattr(record, modality.value)
            if name is not None:
                frames[modality.value] = read_frame(Path(root) / name, modality)
        return Capture(**frames, face=record.face)
    except CaptureError as error:
        raise DatasetError(f"capture {record.id}: {error}") from error


def load_list(path: Path, progress: Progress | None = None) -> list[LabelledCapture]:
    """Return every capture of a list, frames loaded, in its order.

    Raises:
        DatasetError: See `read_list` and `load_capture`.
    """
    path = Path(path)
    loaded: list[LabelledCapture] = []
    for record in read_list(path):
        labels = record.model_dump(exclude={"rgb", "depth", "ir", "face"})
        loaded.append(LabelledCapture(capture=load_capture(record, path.parent), **labels))
        if progress is not None:
            progress(len(loaded))
    return loaded
