"""Unpacking of WMCA's HDF5 files to frames as the MMDG benchmark has them, and a capture list."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.progress import Progress
from fasdk_calibration.datasets.capture_list import json_line
from fasdk_calibration.datasets.frames import encode_jpeg
from fasdk_calibration.datasets.readers.base import LocatedCapture
from fasdk_calibration.datasets.readers.wmca import WmcaReader
from fasdk_calibration.datasets.wmca_files import PackedVideo, find_videos
from fasdk_calibration.datasets.writing import new_folder

if TYPE_CHECKING:
    from fasdk_calibration.datasets.records import CaptureRecord

_FOLDER = PurePosixPath("WMCA-Image/R_CDIT")  # what the benchmark's lists write before a video
_LIST = "wmca.jsonl"
_PLACES = {Modality.RGB: "color", Modality.DEPTH: "depth", Modality.IR: "ir"}


@dataclass(frozen=True)
class UnpackReport:
    """Report on an unpacking.

    Attributes:
        list: The capture list of what was asked for.
        videos: Number of videos in it.
        captures: Number of captures in it.
        already_there: Number of the videos that an earlier run had unpacked.
        unpaired_frames: Number of frames without color, or without depth and infrared; left out.
    """

    list: str
    videos: int
    captures: int
    already_there: int
    unpaired_frames: int


def unpack_wmca(
    sources: Sequence[Path],
    out: Path,
    *,
    frames: Collection[int] = (),
    progress: Progress | None = None,
) -> UnpackReport:
    """Write WMCA's videos as `WMCA-Image/R_CDIT/<video>/{color,depth,ir}/NNNN.jpg` and a list.

    Frames are JPEG of quality 100, as the benchmark's; one is in memory at a time. A video's folder
    appears when it is whole, and a run that was cut short goes on with the next; the list,
    `wmca.jsonl`, appears at the end.

    Args:
        sources: Folders that hold the parts RGB and CDIT of the distribution, at any depth.
        out: Folder to write to; made if it does not exist.
        frames: Numbers of the frames to write; empty for all.
        progress: Receiver of progress reports, in files and in videos.

    Raises:
        DatasetError: See `find_videos`; data are damaged, no video has those frames, the folder
            holds a video with others, another process writes there, or the disk is full.
        FasdkError: The list cannot be written.
        PackageError: h5py or OpenCV is not installed.
    """
    out = Path(out)
    videos = find_videos(sources, progress)
    chosen = [(v, [n for n in v.frames if not frames or n in frames]) for v in videos]
    chosen = [(video, numbers) for video, numbers in chosen if numbers]
    if not chosen:
        wanted = ", ".join(map(str, sorted(frames)))
        raise DatasetError(f"no video has a frame {wanted}: leave --frame out for all of them")
    whole = there = captures = 0
    try:
        (out / _FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot write to {out}: {error.strerror or error}") from error
    with _alone(out), atomic_write(out / _LIST) as listing:
        for video, numbers in chosen:
            try:
                there += _unpack(video, numbers, out / _FOLDER)
            except DatasetError as error:
                raise DatasetError(
                    f"{error}: {whole} of {len(chosen)} videos are unpacked, and the same command "
                    "goes on once that is mended"
                ) from error
            whole += 1
            for record in _records(video, numbers):
                listing.write(json_line(record).encode())
            captures += len(numbers)
            if progress is not None:
                progress.update("unpacking", whole, len(chosen))
    return UnpackReport(
        list=str(out / _LIST),
        videos=whole,
        captures=captures,
        already_there=there,
        unpaired_frames=sum(video.unpaired for video in videos),
    )


def _unpack(video: PackedVideo, numbers: Sequence[int], folder: Path) -> bool:
    """Write one video's folder, whole or not at all; return whether it was there."""
    final = folder / video.name
    if os.path.lexists(final):
        _require_whole(final, numbers)
        return True
    for abandoned in folder.glob(f".{video.name}.*.part"):  # of a process that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    with new_folder(final) as staging:
        for place in _PLACES.values():
            (staging / place).mkdir()
        for number, planes in video.read(numbers):
            for modality, place in _PLACES.items():
                path = staging / place / _file_name(number)
                path.write_bytes(encode_jpeg(planes[modality]))
    return False


def _require_whole(final: Path, numbers: Sequence[int]) -> None:
    wanted = {_file_name(number) for number in numbers}
    for place in _PLACES.values():
        lacking = wanted - {file.name for file in (final / place).glob("*.jpg")}
        if lacking:
            raise DatasetError(
                f"{final} is there and lacks {place}/{min(lacking)}: it was unpacked with other "
                "frames; delete it, or choose another folder"
            )


def _records(video: PackedVideo, numbers: Sequence[int]) -> Iterator[CaptureRecord]:
    presentation = WmcaReader.presentation_of(video.name)
    folder = _FOLDER / video.name
    for number in numbers:
        paths = {m: str(folder / place / _file_name(number)) for m, place in _PLACES.items()}
        yield LocatedCapture(paths, presentation).record(f"{video.name}/{number:04d}")


def _file_name(number: int) -> str:
    return f"{number:04d}.jpg"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder against another process that unpacks into it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(f"another process unpacks into {folder}: wait for its end") from None
        yield
    finally:
        os.close(descriptor)
