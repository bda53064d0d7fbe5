"""Replay camera: frames from the files of a folder or of a list of captures."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.pacing import Pacer
from fasdk.capture import Capture, FaceBox, Modality, monotonic_ms
from fasdk.errors import CameraError, CaptureError, EndOfStreamError, UsageError
from fasdk.frames import read_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

_FRAME_NAME = re.compile(r"(?P<stem>.+)\.(?P<modality>rgb|depth|ir)\.(png|jpe?g)", re.IGNORECASE)


class ReplayCamera(Camera):
    """Replays captures in order; every capture's frames are stamped with the time of the read.

    Args:
        source: A folder of files STEM.rgb.png, STEM.depth.png and STEM.ir.png, as `fasdk synth`
            writes them, one capture a stem in the order of their names; or a .jsonl list, whose
            face boxes are then used.
        fps: Captures a second; None gives each as soon as it is asked for.
        loop: Begin again after the last.

    Raises:
        UsageError: The source is no folder with frames and no list, or a line of it is malformed.
    """

    def __init__(self, source: Path, *, fps: float | None = None, loop: bool = False) -> None:
        source = Path(source)
        if source.is_dir():
            self._items = _from_folder(source)
        elif source.suffix == ".jsonl" and source.is_file():
            self._items = _from_list(source)
        else:
            raise UsageError(
                f"{source} cannot be replayed: expected a folder of frames or a .jsonl list"
            )
        self.name = f"replay of {source}"
        self.counts = FrameCounts()
        self._loop = loop
        self._pacer = Pacer(fps)
        self._next = 0
        self._closed = False

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next capture; see `Camera.read`.

        Raises:
            EndOfStreamError: All were read.
            CameraError: The next is not due within the timeout, or its files do not make a
                capture; the read after that goes on with the one after it.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        if self._next == len(self._items):
            if not self._loop:
                raise EndOfStreamError(f"{self.name} is over after {len(self._items)} captures")
            self._next = 0
        self._pacer.wait(timeout_ms, self.name)
        taken_ms = monotonic_ms()
        item = self._items[self._next]
        self._next += 1
        try:
            capture = item.load(taken_ms)
        except CaptureError as error:
            self.counts.dropped += 1
            raise CameraError(f"{self.name}: {error}") from error
        self.counts.delivered += 1
        return capture

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True


@dataclass(frozen=True)
class _Item:
    """One capture's files, and where the face is: `whole` frames are cut to it."""

    paths: Mapping[Modality, Path] = field(default_factory=dict)
    face: tuple[int, int, int, int] | None = None
    whole: bool = False
    landmarks: tuple[tuple[float, float], ...] | None = None

    def load(self, taken_ms: float) -> Capture:
        frames = {modality: read_frame(path, modality) for modality, path in self.paths.items()}
        face = None if self.face is None else FaceBox(*self.face)
        if self.whole:
            height, width = next(frames[m] for m in Modality if m in frames).shape[:2]
            face = FaceBox(0, 0, width, height)
        return Capture(
            rgb=frames.get(Modality.RGB),
            depth=frames.get(Modality.DEPTH),
            ir=frames.get(Modality.IR),
            face=face,
            landmarks=None if self.landmarks is None else np.array(self.landmarks, np.float32),
            taken_ms=dict.fromkeys(frames, taken_ms),
        )


class _Line(BaseModel):
    """Fields that a replay reads of a list's line; labels and the rest are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rgb: str | None = None
    depth: str | None = None
    ir: str | None = None
    face: tuple[int, int, int, int] | None = None
    face_crop: bool = False
    landmarks: tuple[tuple[float, float], ...] | None = None
    depth_unit: str = "millimeter"

    @field_validator("rgb", "depth", "ir")
    @classmethod
    def _stays_below_the_list(cls, path: str | None) -> str | None:
        if path is None:
            return path
        there = PureWindowsPath(path)  # which knows either slash
        if there.anchor or ".." in there.parts:
            raise ValueError(f"path {path!r} must lie below the list's folder")
        if "\0" in path:
            raise ValueError(f"path {path!r} holds a zero byte")
        return path

    @field_validator("depth_unit")
    @classmethod
    def _is_millimeter(cls, unit: str) -> str:
        if unit != "millimeter":
            raise ValueError(f"depth in {unit}s is no camera's: only millimeters can be replayed")
        return unit

    def item(self, root: Path) -> _Item:
        names = {Modality.RGB: self.rgb, Modality.DEPTH: self.depth, Modality.IR: self.ir}
        paths = {modality: root / name for modality, name in names.items() if name is not None}
        if not paths:
            raise ValueError("names no frame: give at least one of rgb, depth, ir")
        return _Item(paths, self.face, self.face_crop, self.landmarks)


def _from_folder(folder: Path) -> list[_Item]:
    by_stem: dict[str, dict[Modality, Path]] = {}
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be read: {error.strerror}") from error
    for path in names:
        found = _FRAME_NAME.fullmatch(path.name)
        if found is not None:
            modality = Modality(found["modality"].lower())
            by_stem.setdefault(found["stem"], {})[modality] = path
    if not by_stem:
        lists = [path.name for path in sorted(folder.glob("*.jsonl"))]
        fix = (
            f"give one of its lists instead, such as replay:{folder / lists[0]}"
            if lists
            else "expected files such as 000000.rgb.png, 000000.depth.png, 000000.ir.png"
        )
        raise UsageError(f"folder {folder} holds no frames: {fix}")
    return [_Item(paths) for _, paths in sorted(by_stem.items())]


def _from_list(path: Path) -> list[_Item]:
    items = []
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"list {path} cannot be read: {why}") from error
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            items.append(_Line.model_validate_json(text).item(path.parent))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise UsageError(f"{path}:{number}: {where}: {first['msg']}") from error
        except ValueError as error:
            raise UsageError(f"{path}:{number}: {error}") from error
    if not items:
        raise UsageError(f"list {path} names no capture")
    return items
