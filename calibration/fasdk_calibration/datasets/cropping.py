"""Cutting of captures to the face, as published data sets keep them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.atomic import atomic_write
from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.preprocess import CropBounds, CropRule, PreprocessSpec, region_of
from fasdk_calibration.datasets.loading import examine_capture
from fasdk_calibration.datasets.records import CaptureRecord
from fasdk_calibration.datasets.writing import new_folder, write_records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.faces import FaceFinder
    from fasdk.lists.loading import StoredCapture
    from fasdk.progress import Progress
    from fasdk_calibration.datasets.dataset import Dataset

LIST_NAME = "captures"
FAILURES_FILE = "failures.jsonl"

_OF_OTHER_VIEWS = ("depth_face", "ir_face", "depth_landmarks", "ir_landmarks")

Frames = Mapping[Modality, "NDArray[Any]"]


@dataclass(frozen=True)
class CropFailure:
    """A capture that was not cut.

    Attributes:
        id: Identifier of the capture.
        file: Path of its first frame.
        reason: Why there is no face to cut it to.
    """

    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class CropResult:
    """Captures cut to the face.

    Attributes:
        list: The new list.
        captures: Number of captures in it.
        found: Number of those whose face the finder found; the others' was in their list.
        failures: Captures that were left out.
        failures_file: File that names them, one a line; None where there are none.
    """

    list: str
    captures: int
    found: int
    failures: tuple[CropFailure, ...]
    failures_file: str | None


def crop_dataset(
    dataset: Dataset,
    folder: Path,
    finder: FaceFinder | None,
    scale: float = 1.0,
    progress: Progress | None = None,
) -> CropResult:
    """Cut every capture to its face and write the crops and their list to a new folder.

    The face is the box of the list; else the largest that the finder finds in the color frame, or
    in the infrared one. A frame without a box of its own is taken for the same view, whatever its
    size. Crops are PNG files without loss: depth stays millimeters, or the 8-bit levels it was.

    Args:
        dataset: Captures to cut, one at a time in memory.
        folder: Folder to make: `captures.jsonl`, `captures/`, `failures.jsonl` where there are any.
        finder: Face detector; None leaves captures without a box out.
        scale: Factor on the sides of the box, above 0 up to 16; what leaves the frame is cut off.
        progress: Receiver of progress reports, in captures.

    Raises:
        DatasetError: The folder exists, a capture is cut to the face already, a frame cannot be
            read, or no capture has a face.
        FaceFinderError: The detector failed.
        FasdkError: The disk is full or the folder not writable.
    """
    cut = next((record for record in dataset.records if record.face_crop), None)
    if cut is not None:
        raise dataset.fault(cut, "its frames are cut to the face already: use the list as it is")
    run = _Cropping(dataset, finder, scale, progress)
    with new_folder(folder) as fresh:
        write_records(run.crops(), fresh, LIST_NAME)
        if run.failures:
            with atomic_write(fresh / FAILURES_FILE) as file:
                for failure in run.failures:
                    file.write(json.dumps(vars(failure)).encode() + b"\n")
    folder = Path(folder)
    return CropResult(
        list=str(folder / f"{LIST_NAME}.jsonl"),
        captures=run.written,
        found=run.found,
        failures=tuple(run.failures),
        failures_file=str(folder / FAILURES_FILE) if run.failures else None,
    )


@dataclass
class _Cropping:
    """A run of `crop_dataset`, with what it has counted so far."""

    dataset: Dataset
    finder: FaceFinder | None
    scale: float
    progress: Progress | None
    written: int = 0
    found: int = 0
    failures: list[CropFailure] = field(default_factory=list)

    def crops(self) -> Iterator[tuple[CaptureRecord, Frames]]:
        """Yield every capture that has a face, cut to it."""
        records = self.dataset.records
        for done, record in enumerate(records, start=1):
            stored = examine_capture(record, self.dataset.root)
            if stored.faults:
                raise self.dataset.fault(record, stored.faults[0].reason)
            frames = self._cut(stored)
            if isinstance(frames, str):
                first = str(record.path(record.modalities[0]))
                self.failures.append(CropFailure(record.id, first, frames))
            else:
                self.written += 1
                yield _cropped(record), frames
            if self.progress is not None:
                self.progress.update("captures", done, len(records))
        if not self.written:
            raise DatasetError(
                f"{self.dataset.name}: no capture has a face: {self.failures[0].reason} "
                f"({self.failures[0].file})"
            )

    def _cut(self, stored: StoredCapture) -> Frames | str:
        """Return the frames cut to the face, or why there is none."""
        first = next(iter(stored.frames))
        seen, box = first, stored.face
        if box is None:
            if self.finder is None:
                return "its list has no face box, and no face model was given"
            pictures = [m for m in (Modality.RGB, Modality.IR) if m in stored.frames]
            if not pictures:
                return "it has neither a color nor an infrared frame to find a face in"
            seen = pictures[0]
            faces = self.finder.find(stored.frames[seen])
            if not faces:
                return f"no face was found in its {seen.value} frame"
            box = faces[0].box
            self.found += 1
        size, rule = _size(stored.frames[seen]), _rule(self.scale)
        cut = {}
        for modality, frame in stored.frames.items():
            there = _size(frame)
            face = stored.faces.get(modality) or box.scaled_to(size, there)
            left, top, right, bottom = region_of(there, face, rule)
            cut[modality] = frame[top : bottom + 1, left : right + 1]
        return cut


def _rule(scale: float) -> PreprocessSpec:
    """Return the crop as a model's preprocessing states one; only its region is used."""
    return PreprocessSpec(
        width=1,
        height=1,
        crop=CropRule.FACE,
        crop_scale=scale,
        crop_bounds=CropBounds.CLIP,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def _cropped(record: CaptureRecord) -> CaptureRecord:
    """Return the record of a capture whose frames are crops, read and so in the usual units."""
    return record.model_copy(
        update={
            "face": None,
            "landmarks": None,
            **dict.fromkeys(_OF_OTHER_VIEWS),
            "face_crop": True,
            "depth_scale_mm": None,
            "ir_shift": None,
        }
    )


def _size(frame: NDArray[Any]) -> tuple[int, int]:
    return frame.shape[1], frame.shape[0]
