"""Loading of the frames that a capture record names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import read_depth_levels, read_frame
from fasdk_calibration.datasets.capture_list import read_list
from fasdk_calibration.datasets.depth import levels_to_millimeters
from fasdk_calibration.datasets.readers import archive_format_of
from fasdk_calibration.datasets.records import (
    CaptureRecord,
    DepthUnit,
    LabeledCapture,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.preprocess import DepthEncoding

ArchiveFrames = dict[str, "Mapping[Modality, NDArray[np.uint8]]"]  # by path of the archive


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
    archives: ArchiveFrames = {}
    try:
        frames = {
            modality: read_stored(record, modality, root, archives)
            for modality in record.modalities
            if modality in modalities
        }
        if not frames:
            raise DatasetError(
                f"holds {_names(record.modalities)}, and none of {_names(modalities)} is there"
            )
        face = _face(record, frames, root, archives)
        if Modality.DEPTH in frames and record.depth_unit is DepthUnit.LEVEL:
            if depth is None:
                raise DatasetError(
                    "depth is kept as 8-bit levels, which only a model's depth encoding turns into "
                    "millimeters: give one, or leave depth out"
                )
            frames[Modality.DEPTH] = levels_to_millimeters(frames[Modality.DEPTH], depth)
        return Capture.of(frames, face, _landmarks(record, frames, root, archives))
    except (CaptureError, DatasetError) as error:
        raise DatasetError(f"capture {record.id}: {error}") from error


def load_list(path: Path) -> list[LabeledCapture]:
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
    return loaded


def read_stored(
    record: CaptureRecord, modality: Modality, root: Path, archives: ArchiveFrames | None = None
) -> NDArray[Any]:
    """Return one frame as it is kept: depth may still be 8-bit levels.

    Args:
        record: A line of a list.
        modality: Modality to read, one that the record gives a path for.
        root: The folder its paths are relative to.
        archives: Frames of archives read before, by path; what is read is added.

    Raises:
        CaptureError: The frame is unreadable or of another kind than its modality.
    """
    name = str(record.path(modality))
    path = Path(root) / name
    archive = archive_format_of(name)
    if archive is not None:
        archives = {} if archives is None else archives
        if name not in archives:
            archives[name] = archive.read(path)
        return archives[name][modality]
    if modality is Modality.DEPTH and record.depth_unit is DepthUnit.LEVEL:
        return read_depth_levels(path)
    return read_frame(path, modality)


def _face(
    record: CaptureRecord,
    frames: Mapping[Modality, NDArray[Any]],
    root: Path,
    archives: ArchiveFrames,
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
    size_of_first = _size(read_stored(record, first, root, archives))
    box.require_inside(*size_of_first)
    return box.scaled_to(size_of_first, size)


def _landmarks(
    record: CaptureRecord,
    frames: Mapping[Modality, NDArray[Any]],
    root: Path,
    archives: ArchiveFrames,
) -> NDArray[np.float32] | None:
    """Return the landmarks in pixels of the first frame loaded."""
    if record.landmarks is None:
        return None
    points, first = np.array(record.landmarks, np.float32), record.modalities[0]
    if first in frames:
        return points
    given_in = _size(read_stored(record, first, root, archives))
    width, height = _size(next(iter(frames.values())))
    return points * np.array([width / given_in[0], height / given_in[1]], np.float32)


def _size(frame: NDArray[Any]) -> tuple[int, int]:
    """Return a frame's (width, height) in pixels."""
    return frame.shape[1], frame.shape[0]


def _names(modalities: Collection[Modality]) -> str:
    return ", ".join(m.value for m in modalities)
