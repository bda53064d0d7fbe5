"""Replay camera: frames from the files of a folder or of a list of captures."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from fasdk.bounded_file import is_file, is_folder
from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.identity import file_identity
from fasdk.cameras.pacing import Pacer
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.errors import (
    BadCaptureError,
    CameraError,
    CaptureError,
    DatasetError,
    EndOfStreamError,
    UsageError,
)
from fasdk.image_file import require_decoder
from fasdk.lists import read_frame_list
from fasdk.lists.loading import LEVEL, CaptureFiles, examine_files
from fasdk.settings import as_path

_LOG = logging.getLogger(__name__)
DEPTH = Modality.DEPTH
_FRAME_NAME = re.compile(r"(?P<stem>.+)\.(?P<modality>rgb|depth|ir)\.(png|jpe?g)", re.IGNORECASE)


class ReplayCamera(Camera):
    """Replays captures in order; every capture's frames are stamped with the time of the read.

    Args:
        source: A folder of files STEM.rgb.png, STEM.depth.png and STEM.ir.png, as `fasdk synth`
            writes them, one capture a stem in the order of their names; or a list of captures
            (see `fasdk.lists`), whose face boxes are then used.
        fps: Captures a second; None gives each as soon as it is asked for.
        loop: Begin again after the last.

    Raises:
        UsageError: The source is no folder with frames and no list, or none of its lines is sound.
        PackageError: OpenCV is needed for its first capture, and is not installed.
    """

    def __init__(self, source: Path, *, fps: float | None = None, loop: bool = False) -> None:
        source = as_path("source", source)
        if is_folder(source):
            self._items = _from_folder(source)
        elif is_file(source):
            self._items = _from_list(source)
        else:
            raise UsageError(
                f"{source} cannot be replayed: expected a folder of frames or a list of captures"
            )
        for path in self._items[0].files.paths.values():
            require_decoder(path)
        self.name = f"replay of {source}"
        self._source = source
        self.counts = FrameCounts()
        self._loop = loop
        self._pacer = Pacer(fps)
        self._next = 0
        self._said: set[str] = set()
        self._closed = False

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next capture; see `Camera.read`.

        Raises:
            EndOfStreamError: All were read.
            BadCaptureError: Its line is malformed, or its files are missing or damaged, or with
                its face box make no capture; the next read goes on with the one after it.
            CameraError: The next is not due within the timeout.
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
            capture = self._load(item, taken_ms)
        except CaptureError as error:
            self.counts.dropped += 1
            raise BadCaptureError(f"{self.name}: {item.place}{error}") from error
        self.counts.delivered += 1
        return capture

    def _load(self, item: _Item, taken_ms: float) -> Capture:
        """Return an item's capture; what is decided about its files is said once a kind.

        Raises:
            CaptureError: Its files make no capture.
        """
        if item.fault:
            raise CaptureError(item.fault)
        stored = examine_files(item.files)
        if stored.faults:
            raise CaptureError(stored.faults[0].reason)
        for note in stored.notes:
            if note not in self._said:
                _LOG.warning("%s: %s", self.name, note)
        self._said |= set(stored.notes)
        return stored.capture(dict.fromkeys(stored.frames, taken_ms))

    def identity(self) -> str:
        """Return the source's path with links followed; see `Camera.identity`."""
        return f"replay:{file_identity(self._source)}"

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True


@dataclass(frozen=True)
class _Item:
    """One capture's files.

    Attributes:
        files: File of each modality, and where the face is.
        place: Line of the list, for messages; "" of a folder.
        fault: Why the line describes no capture; "" where it does.
    """

    files: CaptureFiles
    place: str = ""
    fault: str = ""


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
    return [
        _Item(CaptureFiles({m: paths[m] for m in Modality if m in paths}))
        for _, paths in sorted(by_stem.items())
    ]


def _from_list(path: Path) -> list[_Item]:
    try:
        listed = read_frame_list(path, keep_faulty=True)
    except DatasetError as error:
        raise UsageError(f"list {path} cannot be replayed: {error}") from error
    if listed.notes:
        _LOG.warning("%s is read so: %s", path, "; ".join(listed.notes))
    levels = [row.line for row in listed.rows if row.depth_unit == LEVEL and DEPTH in row.paths]
    if levels:
        raise UsageError(
            f"{path}:{levels[0]}: depth_unit: depth in levels is no camera's: only millimeters can "
            "be replayed"
        )
    return [_Item(row.files(listed.root), f"line {row.line}: ", row.fault) for row in listed.rows]
