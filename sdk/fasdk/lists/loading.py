"""Frames of one capture of a list, with every fault of its files and its face box.

`examine_files` alone decides whether files make a capture: the check of a data set reports its
faults, a replay and every offline verb refuse the capture for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import is_file
from fasdk.capture import Capture, FaceBox, Modality, scaled_landmarks
from fasdk.errors import CaptureError
from fasdk.frames import FrameUnits, NotedFrame, read_depth_levels, read_noted_frame
from fasdk.lists.boxes import clip_to_frame

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLIPPED = "face boxes that reach out of their frames are clipped to them"
LEVEL = "level"  # depth_unit of depth drawn in 8 bits


@dataclass(frozen=True)
class CaptureFault:
    """One reason why files make no capture.

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
    """Frames of a capture as they are kept, and what is wrong with them.

    Attributes:
        frames: Frames that could be read; depth may still be 8-bit levels.
        face: Face in pixels of the first frame read, within it, or None.
        faults: Why they make no capture; empty where they do.
        notes: What was decided about the files, each a kind of remark.
        landmarks: Float32 [5, 2] in pixels of that frame, as `Capture.landmarks`, or None.
        faces: Face in pixels of another frame that shows another view, within it, by modality.
        frame_landmarks: Landmarks in such a frame, float32 [5, 2], by modality.
    """

    frames: Mapping[Modality, NDArray[Any]]
    face: FaceBox | None
    faults: tuple[CaptureFault, ...]
    notes: tuple[str, ...]
    landmarks: NDArray[np.float32] | None = None
    faces: Mapping[Modality, FaceBox] = field(default_factory=dict)
    frame_landmarks: Mapping[Modality, NDArray[np.float32]] = field(default_factory=dict)

    def capture(self, taken_ms: Mapping[Modality, float] | None = None) -> Capture:
        """Return them as a capture.

        Args:
            taken_ms: Times of exposure, as `Capture.taken_ms`; none by default.

        Raises:
            CaptureError: A frame is of another dtype than a capture has.
        """
        frames = {modality: self.frames.get(modality) for modality in Modality}
        return Capture(
            rgb=frames[Modality.RGB],
            depth=frames[Modality.DEPTH],
            ir=frames[Modality.IR],
            face=self.face,
            faces=self.faces,
            landmarks=self.landmarks,
            frame_landmarks=self.frame_landmarks,
            taken_ms=taken_ms or {},
        )


@dataclass(frozen=True)
class CaptureFiles:
    """Files of a capture, and how they are to be read.

    Attributes:
        paths: File of each modality, in the order rgb, depth, ir.
        face: x, y, width, height in pixels of the first frame, or None.
        face_crop: Whether the frames are cut to the face, which then fills each of them.
        depth_unit: "millimeter", or "level" for depth drawn in 8 bits.
        units: Units of the depth and infrared files.
        landmarks: Five points (x, y) in pixels of the first frame, as `Capture.landmarks`, or None.
        faces: x, y, width, height in pixels of another frame that shows another view, by modality.
        frame_landmarks: Landmarks in such a frame, by modality.
    """

    paths: Mapping[Modality, Path]
    face: tuple[int, int, int, int] | None = None
    face_crop: bool = False
    depth_unit: str = "millimeter"
    units: FrameUnits | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    faces: Mapping[Modality, tuple[int, int, int, int]] = field(default_factory=dict)
    frame_landmarks: Mapping[Modality, tuple[tuple[float, float], ...]] = field(
        default_factory=dict
    )

    def read(self, modality: Modality) -> NotedFrame:
        """Return one frame as it is kept: depth may still be 8-bit levels.

        Raises:
            CaptureError: The frame is unreadable or of another kind than its modality.
        """
        path = self.paths[modality]
        if modality is Modality.DEPTH and self.depth_unit == LEVEL:
            return NotedFrame(read_depth_levels(path))
        return read_noted_frame(path, modality, self.units)


def examine_files(
    files: CaptureFiles,
    modalities: Collection[Modality] = tuple(Modality),
    read: Callable[[Modality], NotedFrame] | None = None,
) -> StoredCapture:
    """Return the frames of a capture with every fault of its files and its face box.

    Args:
        files: Files to read.
        modalities: Frames of no other modality are opened.
        read: Reads one frame; `files.read` by default.
    """
    read = read or files.read
    frames: dict[Modality, NDArray[Any]] = {}
    faults: list[CaptureFault] = []
    notes: dict[str, None] = {}
    for modality, path in files.paths.items():
        if modality not in modalities:
            continue
        try:
            found = read(modality)
        except CaptureError as error:
            faults.append(CaptureFault(str(path), str(error), is_missing=not is_file(path)))
        else:
            frames[modality] = found.frame
            notes |= dict.fromkeys(found.notes)
    face = landmarks = None
    faces: dict[Modality, FaceBox] = {}
    points = {m: np.array(files.frame_landmarks[m], np.float32) for m in files.frame_landmarks}
    if frames and not faults:
        about = next(iter(files.paths))
        try:
            face, is_clipped = _face(files, frames, read)
            landmarks = _landmarks(files, frames, read)
            for about in [m for m in frames if m in files.faces]:
                faces[about], cut = clip_to_frame(
                    FaceBox(*files.faces[about]), _size(frames[about])
                )
                is_clipped = is_clipped or cut
        except CaptureError as error:
            faults.append(CaptureFault(str(files.paths[about]), str(error), is_box=True))
        else:
            notes |= {CLIPPED: None} if is_clipped else {}
    others = {m: at for m, at in points.items() if m in frames}
    for first in [m for m in list(frames)[:1] if m in faces]:
        # The list's first frame, which shows another view, is not wanted.
        if face is not None:
            sizes = {m: _size(frame) for m, frame in frames.items()}
            scaled = {m: face.scaled_to(sizes[first], sizes[m]) for m in frames if m not in faces}
            faces |= scaled
        face, landmarks = faces.pop(first), others.pop(first, None)
    return StoredCapture(frames, face, tuple(faults), tuple(notes), landmarks, faces, others)


def _face(
    files: CaptureFiles,
    frames: Mapping[Modality, NDArray[Any]],
    read: Callable[[Modality], NotedFrame],
) -> tuple[FaceBox | None, bool]:
    """Return the face in pixels of the first frame loaded, and whether it had to be clipped."""
    size = _size(next(iter(frames.values())))
    if files.face_crop:
        return FaceBox(0, 0, *size), False
    if files.face is None:
        return None, False
    first = next(iter(files.paths))
    if first in frames:
        return clip_to_frame(FaceBox(*files.face), size)
    # The box is in pixels of a frame that is not wanted: its size is.
    size_of_first = _size(read(first).frame)
    box, is_clipped = clip_to_frame(FaceBox(*files.face), size_of_first)
    return box.scaled_to(size_of_first, size), is_clipped


def _landmarks(
    files: CaptureFiles,
    frames: Mapping[Modality, NDArray[Any]],
    read: Callable[[Modality], NotedFrame],
) -> NDArray[np.float32] | None:
    """Return the landmarks in pixels of the first frame loaded."""
    if files.landmarks is None:
        return None
    points, first = np.array(files.landmarks, np.float32), next(iter(files.paths))
    if first in frames:
        return points
    given_in, size = _size(read(first).frame), _size(next(iter(frames.values())))
    return scaled_landmarks(points, given_in, size)


def _size(frame: NDArray[Any]) -> tuple[int, int]:
    """Return a frame's (width, height) in pixels."""
    return frame.shape[1], frame.shape[0]
