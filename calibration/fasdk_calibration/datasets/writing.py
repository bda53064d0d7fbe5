"""Writing of labeled captures as PNG files and a capture list."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from fasdk.atomic import atomic_write
from fasdk.capture import FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets.capture_list import json_line
from fasdk_calibration.datasets.frames import encode_png
from fasdk_calibration.datasets.records import Box, CaptureRecord, LabeledCapture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def require_new_folder(folder: Path) -> None:
    """Check that nothing has the name of a folder to be made.

    Raises:
        DatasetError: Something has it.
    """
    if os.path.lexists(folder):
        raise DatasetError(f"{folder} exists: give the name of a new folder, or remove it first")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` that takes its name only if the block ends without an error.

    Raises:
        DatasetError: `folder` exists already, or cannot be made.
    """
    require_new_folder(folder)
    folder = Path(folder).absolute()
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(
            tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent)
        )
        yield staging
        staging.chmod(0o777 & ~_umask())
        staging.rename(folder)
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_captures(
    captures: Iterable[LabeledCapture],
    folder: Path,
    list_name: str,
) -> Path:
    """Write captures as PNG files and a list; see `write_records`.

    Args:
        captures: Captures to write; consumed one by one, so a generator needs no memory.
        folder: Folder to write to; made if it does not exist.
        list_name: Name of the list: a plain file name without extension.

    Returns:
        The list's path.
    """
    return write_records(map(_with_frames, captures), folder, list_name)


def write_records(
    captures: Iterable[tuple[CaptureRecord, Mapping[Modality, NDArray[Any]]]],
    folder: Path,
    list_name: str,
) -> Path:
    """Write frames as PNG files and a list, `folder/list_name.jsonl` and `folder/list_name/`.

    Everything is written under a temporary name first: on any error the folder is as it was, an
    older list of that name included.

    Args:
        captures: Records with their frames, whose paths replace those of the record; consumed one
            by one, so a generator needs no memory.
        folder: Folder to write to; made if it does not exist.
        list_name: Name of the list: a plain file name without extension.

    Returns:
        The list's path.

    Raises:
        DatasetError: There is nothing to write, an id repeats, or the folder holds something of
            that name that is not an older list's.
        FasdkError: The disk is full or the folder not writable.
    """
    folder = Path(folder)
    if PurePosixPath(list_name).name != list_name or list_name.startswith("."):
        raise DatasetError(f"list name {list_name!r} is not a plain file name")
    frames, listing = folder / list_name, folder / f"{list_name}.jsonl"
    if frames.exists() and not listing.is_file():
        raise DatasetError(f"{frames} exists and is no capture list's: choose another folder")
    staging: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{list_name}.", suffix=".part", dir=folder))
        fresh, retired = staging / "new", staging / "old"
        fresh.mkdir()
        lines = _write_frames(captures, fresh, list_name)
        if frames.exists():
            frames.replace(retired)
        fresh.replace(frames)
        with atomic_write(listing) as file:
            file.write("".join(lines).encode())
    except OSError as error:
        raise DatasetError(f"cannot write captures to {folder}: {error.strerror}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return listing


def _with_frames(item: LabeledCapture) -> tuple[CaptureRecord, Mapping[Modality, NDArray[Any]]]:
    """Return a capture's record, with names in the place of its paths, and its frames."""
    frames = {modality: item.capture.frame(modality) for modality in item.capture.present}
    return record_of(item, {modality: modality.value for modality in frames}), frames


def _write_frames(
    captures: Iterable[tuple[CaptureRecord, Mapping[Modality, NDArray[Any]]]],
    fresh: Path,
    list_name: str,
) -> list[str]:
    lines: list[str] = []
    seen: set[str] = set()
    for number, (record, frames) in enumerate(captures):
        if record.id in seen:
            raise DatasetError(f"capture id {record.id!r} appears twice")
        seen.add(record.id)
        names: dict[str, str | None] = dict.fromkeys(modality.value for modality in Modality)
        for modality, frame in frames.items():
            name = f"{number:06d}.{modality.value}.png"
            (fresh / name).write_bytes(encode_png(frame))
            names[modality.value] = f"{list_name}/{name}"
        lines.append(json_line(record.model_copy(update=names)))
    if not lines:
        raise DatasetError(f"no captures to write to list {list_name!r}")
    return lines


def record_of(item: LabeledCapture, paths: Mapping[Modality, str]) -> CaptureRecord:
    """Return the line of a list that describes a capture.

    Args:
        item: Capture with what is known of it.
        paths: Path of each of its frames, relative to the list's folder.
    """
    capture = item.capture
    first, *others = capture.present
    faces = {m: capture.faces.get(m) for m in others}
    landmarks = {m: capture.frame_landmarks.get(m) for m in others}
    return CaptureRecord(
        id=item.id,
        rgb=paths.get(Modality.RGB),
        depth=paths.get(Modality.DEPTH),
        ir=paths.get(Modality.IR),
        face=_box(capture.face_in(first)),
        landmarks=_points(capture.landmarks_in(first)),
        depth_face=_box(faces.get(Modality.DEPTH)),
        ir_face=_box(faces.get(Modality.IR)),
        depth_landmarks=_points(landmarks.get(Modality.DEPTH)),
        ir_landmarks=_points(landmarks.get(Modality.IR)),
        label=item.label,
        species=item.species,
        subject=item.subject,
        domain=item.domain,
        presentation=item.presentation,
    )


def _box(face: FaceBox | None) -> Box | None:
    return None if face is None else (face.x, face.y, face.width, face.height)


def _points(landmarks: NDArray[np.float32] | None) -> Any:
    return None if landmarks is None else [tuple(point) for point in landmarks.tolist()]
