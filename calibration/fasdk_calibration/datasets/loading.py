"""Loading of the frames that a capture record names, through `fasdk.lists.loading`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.capture import Capture, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import NotedFrame
from fasdk.lists.loading import CaptureFiles, StoredCapture, examine_files
from fasdk.settings import as_choices
from fasdk_calibration.datasets.capture_list import read_capture_list
from fasdk_calibration.datasets.depth import levels_to_millimeters
from fasdk_calibration.datasets.readers import archive_format_of
from fasdk_calibration.datasets.records import (
    CaptureRecord,
    DepthUnit,
    LabeledCapture,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasdk.preprocess import DepthEncoding

ArchiveFrames = dict[str, "Mapping[Modality, NDArray[np.uint8]]"]  # by path of the archive


def examine_capture(
    record: CaptureRecord, root: Path, modalities: Collection[Modality] = tuple(Modality)
) -> StoredCapture:
    """Return the frames of a record with every fault of its files and its face box.

    Args:
        record: A line of a list.
        root: The folder its paths are relative to.
        modalities: Frames of no other modality are opened.
    """
    archives: ArchiveFrames = {}
    files = CaptureFiles(
        {m: Path(root) / str(record.path(m)) for m in record.modalities},
        record.face,
        record.face_crop,
        record.depth_unit.value,
        record.units,
        record.landmarks,
        record.faces,
        record.frame_landmarks,
    )

    def read(modality: Modality) -> NotedFrame:
        name = str(record.path(modality))
        archive = archive_format_of(name)
        if archive is None or record.depth_unit is not DepthUnit.LEVEL or not record.face_crop:
            return files.read(modality)
        if name not in archives:
            archives[name] = archive.read(files.paths[modality])
        return NotedFrame(archives[name][modality])

    return examine_files(files, modalities, read)


def load_capture(
    record: CaptureRecord,
    root: Path,
    depth: DepthEncoding | None = None,
    *,
    modalities: Collection[Modality | str] = tuple(Modality),
) -> Capture:
    """Return one record's frames.

    Args:
        record: A line of a list.
        root: The folder its paths are relative to.
        depth: Depth encoding of the model that will score the capture; needed where depth is
            kept as 8-bit levels.
        modalities: Frames of no other modality are loaded: what the model looks at.

    Raises:
        DatasetError: A frame is unreadable or of another kind than its modality, the face box
            leaves the frame, levels cannot become millimeters, or the record holds none of
            `modalities`; the record is named.
        UsageError: There is no modality of such a name.
    """
    modalities = as_choices("modalities", modalities, Modality)
    stored = examine_capture(record, root, modalities)
    try:
        if stored.faults:
            raise DatasetError(stored.faults[0].reason)
        if not stored.frames:
            raise DatasetError(
                f"holds {_names(record.modalities)}, and none of {_names(modalities)} is there"
            )
        if Modality.DEPTH in stored.frames and record.depth_unit is DepthUnit.LEVEL:
            if depth is None:
                raise DatasetError(
                    "depth is kept as 8-bit levels, which only a model's depth encoding turns into "
                    "millimeters: give one, or leave depth out"
                )
            levels = stored.frames[Modality.DEPTH]
            frames = {**stored.frames, Modality.DEPTH: levels_to_millimeters(levels, depth)}
            stored = replace(stored, frames=frames)
        return stored.capture()
    except (CaptureError, DatasetError) as error:
        raise DatasetError(f"capture {record.id}: {error}") from error


def load_list(path: Path) -> list[LabeledCapture]:
    """Return every capture of a list, frames loaded, in its order.

    Raises:
        DatasetError: See `read_list` and `load_capture`.
    """
    loaded: list[LabeledCapture] = []
    listed = read_capture_list(Path(path))
    for record in listed.records:
        capture = load_capture(record, listed.root)
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
    return loaded


def _names(modalities: Collection[Modality]) -> str:
    return ", ".join(m.value for m in modalities)
