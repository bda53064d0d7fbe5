"""Writing of labeled captures as PNG files and a capture list."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
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


def write_captures(
    captures: Iterable[LabeledCapture],
    folder: Path,
    list_name: str,
) -> Path:
    """Write captures as PNG files and a list, `folder/list_name.jsonl` and `folder/list_name/`.

    Everything is written under a temporary name first: on any error the folder is as it was, an
    older list of that name included.

    Args:
        captures: Captures to write; consumed one by one, so a generator needs no memory.
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


def _write_frames(captures: Iterable[LabeledCapture], fresh: Path, list_name: str) -> list[str]:
    lines: list[str] = []
    seen: set[str] = set()
    for number, item in enumerate(captures):
        if item.id in seen:
            raise DatasetError(f"capture id {item.id!r} appears twice")
        seen.add(item.id)
        paths: dict[Modality, str] = {}
        for modality in item.capture.present:
            name = f"{number:06d}.{modality.value}.png"
            (fresh / name).write_bytes(encode_png(item.capture.frame(modality)))
            paths[modality] = f"{list_name}/{name}"
        lines.append(json_line(record_of(item, paths)))
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
