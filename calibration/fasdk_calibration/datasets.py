"""Labelled captures on disk: a list in JSON Lines beside the frames it names.

One line a capture, UTF-8, paths relative to the list's folder:

    {"id": "train-000001", "rgb": "train/000001.rgb.png", "depth": "train/000001.depth.png",
     "ir": "train/000001.ir.png", "face": [96, 40, 118, 150], "label": "attack",
     "species": "print", "subject": "s0042", "domain": "synthetic", "presentation": "train-000001"}

rgb is 8-bit colour (PNG or JPEG), depth 16-bit single-channel PNG in millimetres (0: nothing seen),
ir 8-bit grey PNG; an absent modality is left out. `face` is x, y, width, height in pixels of the
first frame present in the order rgb, depth, ir.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fasdk.atomic import atomic_write
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BONA_FIDE_SPECIES = "bona fide"
Progress = Callable[[int], None]  # called with the number of captures done so far

_EXPECTED = {
    Modality.RGB: "8-bit colour, three channels (PNG or JPEG)",
    Modality.DEPTH: "16-bit, one channel, in millimetres (PNG)",
    Modality.IR: "8-bit grey (PNG or JPEG)",
}


class Label(str, Enum):
    """ISO/IEC 30107-3 kind of a presentation."""

    BONA_FIDE = "bona fide"
    ATTACK = "attack"


class CaptureRecord(BaseModel):
    """One line of a capture list.

    Attributes:
        id: Unique in its list.
        rgb: Path of the colour frame, relative to the list's folder, or None.
        depth: Path of the depth frame, or None.
        ir: Path of the near-infrared frame, or None.
        face: x, y, width, height in pixels of the first frame present, or None.
        label: Bona fide or attack.
        species: Attack species (ISO/IEC 30107-3 PAI species); "bona fide" for bona fide.
        subject: Who is seen; splits must not share one.
        domain: Where it was captured, such as a data set's or a site's name.
        presentation: Captures of one presentation are not independent and share this.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    rgb: str | None = None
    depth: str | None = None
    ir: str | None = None
    face: tuple[int, int, int, int] | None = None
    label: Label
    species: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    presentation: str = Field(min_length=1)

    @field_validator("rgb", "depth", "ir")
    @classmethod
    def _stays_below_the_list(cls, path: str | None) -> str | None:
        if path is not None:
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or not pure.parts:
                raise ValueError(f"path {path!r} must lie below the list's folder")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> CaptureRecord:
        if not (self.rgb or self.depth or self.ir):
            raise ValueError("names no frame: give at least one of rgb, depth, ir")
        if (self.label is Label.BONA_FIDE) != (self.species == BONA_FIDE_SPECIES):
            raise ValueError(f"label {self.label.value!r} and species {self.species!r} contradict")
        return self

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE


@dataclass(frozen=True, eq=False)
class LabelledCapture:
    """A capture with what is known of it; the fields are those of `CaptureRecord`."""

    capture: Capture
    id: str
    label: Label
    species: str
    subject: str
    domain: str
    presentation: str

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE


def read_frame(path: Path, modality: Modality) -> NDArray[Any]:
    """Return one frame from an image file, as `fasdk.Capture` takes it.

    A JPEG's EXIF orientation is applied, as viewers and face detectors do.

    Returns:
        rgb: uint8 [H, W, 3], red first. depth: uint16 [H, W], millimetres. ir: uint8 [H, W]; a
        three-channel file is reduced when its planes are equal.

    Raises:
        CaptureError: The file is missing, truncated or no image, or has another bit depth or
            number of channels than its modality.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(
            f"cannot read {modality.value} frame {path}: {error.strerror}"
        ) from error
    frame = _decode(data)
    if frame is None:
        raise CaptureError(
            f"{modality.value} frame {path} does not decode as an image: "
            f"expected {_EXPECTED[modality]}"
        )
    planes = frame[..., None] if frame.ndim == 2 else frame
    wanted = np.uint16 if modality is Modality.DEPTH else np.uint8
    channels = planes.shape[2]
    if planes.dtype == wanted:
        if modality is Modality.RGB and channels == 3:
            return np.ascontiguousarray(planes[..., ::-1])
        if modality is not Modality.RGB and channels == 1:
            return np.ascontiguousarray(planes[..., 0])
        if modality is Modality.IR and channels == 3 and _is_grey(planes):
            return np.ascontiguousarray(planes[..., 0])
    unequal = ", planes not equal" if modality is Modality.IR and channels == 3 else ""
    raise CaptureError(
        f"{modality.value} frame {path} is {planes.dtype.itemsize * 8}-bit with {channels} "
        f"channel{'s' if channels > 1 else ''}{unequal}, expected {_EXPECTED[modality]}"
    )


def read_list(path: Path) -> list[CaptureRecord]:
    """Return the records of a capture list.

    Raises:
        DatasetError: The list is missing, empty, not UTF-8, repeats an id, or a line is malformed;
            the line and field are named.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"cannot read capture list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"capture list {path} is not UTF-8 text: {error.reason}") from error
    records: list[CaptureRecord] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = CaptureRecord.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise DatasetError(f"{path}:{number}: {where}: {first['msg']}") from error
        if record.id in seen:
            raise DatasetError(f"{path}:{number}: id {record.id!r} appears twice")
        seen.add(record.id)
        records.append(record)
    if not records:
        raise DatasetError(f"capture list {path} is empty: one JSON object a line is expected")
    return records


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


def write_captures(
    captures: Iterable[LabelledCapture],
    folder: Path,
    list_name: str,
    progress: Progress | None = None,
) -> Path:
    """Write captures as PNG files and a list, `folder/list_name.jsonl` and `folder/list_name/`.

    Everything is written under a temporary name first: on any error the folder is as it was, an
    older list of that name included.

    Args:
        captures: What to write; consumed one by one, so a generator needs no memory.
        folder: Made if it does not exist.
        list_name: A plain file name without extension.
        progress: Called with the number of captures written.

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
        lines = _write_frames(captures, fresh, list_name, progress)
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


def _write_frames(
    captures: Iterable[LabelledCapture], fresh: Path, list_name: str, progress: Progress | None
) -> list[str]:
    lines: list[str] = []
    seen: set[str] = set()
    for number, item in enumerate(captures):
        if item.id in seen:
            raise DatasetError(f"capture id {item.id!r} appears twice")
        seen.add(item.id)
        names: dict[str, str] = {}
        for modality in item.capture.present:
            name = f"{number:06d}.{modality.value}.png"
            (fresh / name).write_bytes(_encode(item.capture.frame(modality)))
            names[modality.value] = f"{list_name}/{name}"
        face = None if item.capture.face is None else FaceBox.of(item.capture.face)
        record = CaptureRecord(
            id=item.id,
            **names,
            face=None if face is None else (face.x, face.y, face.width, face.height),
            label=item.label,
            species=item.species,
            subject=item.subject,
            domain=item.domain,
            presentation=item.presentation,
        )
        lines.append(record.model_dump_json(exclude_none=True) + "\n")
        if progress is not None:
            progress(len(lines))
    if not lines:
        raise DatasetError(f"no captures to write to list {list_name!r}")
    return lines


def _encode(frame: NDArray[Any]) -> bytes:
    import cv2

    planes = frame[..., ::-1] if frame.ndim == 3 else frame
    # Level 1 costs a few per cent of size and a third of the time.
    encoded, data = cv2.imencode(".png", planes, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise DatasetError(f"OpenCV cannot encode a {frame.dtype} {list(frame.shape)} frame as PNG")
    return bytes(data.tobytes())


def _decode(data: bytes) -> NDArray[Any] | None:
    """Return the image as stored, blue first, or None when it is damaged or no image."""
    import cv2

    if not _is_whole(data):
        return None
    buffer = np.frombuffer(data, np.uint8)
    try:
        frame = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        if frame is not None and frame.ndim == 3 and b"Exif\0\0" in data[:65536]:
            frame = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if frame is None else np.asarray(frame)


def _is_whole(data: bytes) -> bool:
    """Return whether a PNG or JPEG has its end; some OpenCV releases decode half a file."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-64:]
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return len(data) > 0


def _is_grey(planes: NDArray[Any]) -> bool:
    return bool(
        (planes[..., 0] == planes[..., 1]).all() and (planes[..., 1] == planes[..., 2]).all()
    )
