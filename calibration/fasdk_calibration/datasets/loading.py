"""Loading of the frames that a capture record names.

`examine_capture` alone decides whether a record's files make a capture: the check of a data set
reports its faults, and `load_capture` raises the first of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import NotedFrame, read_depth_levels, read_noted_frame
from fasdk.lists.boxes import clip_to_frame
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

CLIPPED = "face boxes that reach out of their frames are clipped to them"


@dataclass(frozen=True)
class CaptureFault:
    """One reason why a record's files make no capture.

    Attributes:
        file: Path of the frame it is about.
        reason: What is wrong with it, and how to fix it.
        is_missing: Whether the file does not exist.
        is_box: Whether the file is sound, and the face box does not lie in it.
    """

    file: str
    reason: str
    is_missing: bool = False
    is_box: bool = False


@dataclass(frozen=True, eq=False)
class StoredCapture:
    """Frames of a record as they are kept, and what is wrong with them.

    Attributes:
        frames: Frames that could be read; depth may still be 8-bit levels.
        face: Face in pixels of the first frame read, within it, or None.
        faults: Why they make no capture; empty where they do.
        notes: What was decided about the files, each a kind of remark.
    """

    frames: Mapping[Modality, NDArray[Any]]
    face: FaceBox | None
    faults: tuple[CaptureFault, ...]
    notes: tuple[str, ...]


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
    frames: dict[Modality, NDArray[Any]] = {}
    faults: list[CaptureFault] = []
    notes: dict[str, None] = {}
    for modality in record.modalities:
        if modality not in modalities:
            continue
        try:
            read = _read_stored(record, modality, root, archives)
        except CaptureError as error:
            file = Path(root) / str(record.path(modality))
            faults.append(CaptureFault(str(file), str(error), is_missing=not file.is_file()))
        else:
            frames[modality] = read.frame
            notes |= dict.fromkeys(read.notes)
    face = None
    if frames and not faults:
        try:
            face, is_clipped = _face(record, frames, root, archives)
        except CaptureError as error:
            file = Path(root) / str(record.path(record.modalities[0]))
            faults.append(CaptureFault(str(file), str(error), is_box=True))
        else:
            notes |= {CLIPPED: None} if is_clipped else {}
    return StoredCapture(frames, face, tuple(faults), tuple(notes))


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
        depth: Depth encoding of the model that will score the capture; needed where depth is
            kept as 8-bit levels.
        modalities: Frames of no other modality are loaded: what the model looks at.

    Raises:
        DatasetError: A frame is unreadable or of another kind than its modality, the face box
            leaves the frame, levels cannot become millimeters, or the record holds none of
            `modalities`; the record is named.
    """
    stored = examine_capture(record, root, modalities)
    try:
        if stored.faults:
            raise DatasetError(stored.faults[0].reason)
        if not stored.frames:
            raise DatasetError(
                f"holds {_names(record.modalities)}, and none of {_names(modalities)} is there"
            )
        frames = dict(stored.frames)
        if Modality.DEPTH in frames and record.depth_unit is DepthUnit.LEVEL:
            if depth is None:
                raise DatasetError(
                    "depth is kept as 8-bit levels, which only a model's depth encoding turns into "
                    "millimeters: give one, or leave depth out"
                )
            frames[Modality.DEPTH] = levels_to_millimeters(frames[Modality.DEPTH], depth)
        return Capture.of(frames, stored.face)
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


def _read_stored(
    record: CaptureRecord, modality: Modality, root: Path, archives: ArchiveFrames
) -> NotedFrame:
    """Return one frame as it is kept: depth may still be 8-bit levels.

    Raises:
        CaptureError: The frame is unreadable or of another kind than its modality.
    """
    name = str(record.path(modality))
    path = Path(root) / name
    archive = archive_format_of(name)
    if archive is not None and record.depth_unit is DepthUnit.LEVEL and record.face_crop:
        if name not in archives:
            archives[name] = archive.read(path)
        return NotedFrame(archives[name][modality])
    if modality is Modality.DEPTH and record.depth_unit is DepthUnit.LEVEL:
        return NotedFrame(read_depth_levels(path))
    return read_noted_frame(path, modality, record.units)


def _face(
    record: CaptureRecord,
    frames: Mapping[Modality, NDArray[Any]],
    root: Path,
    archives: ArchiveFrames,
) -> tuple[FaceBox | None, bool]:
    """Return the face in pixels of the first frame loaded, and whether it had to be clipped."""
    size = _size(next(iter(frames.values())))
    if record.face_crop:
        return FaceBox(0, 0, *size), False
    if record.face is None:
        return None, False
    first = record.modalities[0]
    if first in frames:
        return clip_to_frame(FaceBox(*record.face), size)
    # The record's box is in pixels of a frame that is not wanted: its size is.
    size_of_first = _size(_read_stored(record, first, root, archives).frame)
    box, is_clipped = clip_to_frame(FaceBox(*record.face), size_of_first)
    return box.scaled_to(size_of_first, size), is_clipped


def _size(frame: NDArray[Any]) -> tuple[int, int]:
    """Return a frame's (width, height) in pixels."""
    return frame.shape[1], frame.shape[0]


def _names(modalities: Collection[Modality]) -> str:
    return ", ".join(m.value for m in modalities)
