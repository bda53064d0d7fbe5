"""Files of cameras' attempts, below the account's state folder."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, read_bounded
from fasdk.capture import monotonic_ms
from fasdk.errors import AttemptError, FasdkError, StateError
from fasdk.file_lock import take_lock
from fasdk.home import existing_folder, home_folder, home_path
from fasdk.plain_text import plain_line
from fasdk.tracking.attempts import AttemptState, TimeMs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)
_BELOW = ("state", "attempts")
_SUFFIX = ".attempts"
_LARGEST_FILE = 1 << 18
_LOCK_WAIT_S = 1.0  # a write is done in less; frames wait for it
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class AttemptRecord(BaseModel):
    """Content of one camera's file.

    Attributes:
        version: Version of the form.
        camera_id: Name of the camera.
        boot_id: Boot of the machine whose clock the times are of; empty where it has no name.
        written_ms: Time of writing, in milliseconds of that clock.
        state: The camera's state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    version: Literal[1] = 1
    camera_id: str
    boot_id: str
    written_ms: TimeMs
    state: AttemptState


class FileStore:
    """Store of a camera's state in a file, shared by all tracks of that camera on the machine.

    Every change is made under a lock and is whole on the disk before it counts. Times are of the
    clock of one boot: after another boot the time that the machine was off counts as none, since
    no clock says it reliably, so a wait or a lock-out goes on where the last write left it.

    A file that cannot be read counts as the strictest state it may have held, with a warning. One
    that is absent is a camera seen for the first time, also with a warning: its deletion looks the
    same, and takes write access to this account's folder. A track that is running writes its state
    back.

    Args:
        camera_id: Name of the camera.
        worst: Function of the time that returns the state a damaged file counts as.
        folder: Folder of the files; None for that of the account, created where absent.

    Raises:
        HomeError: The account's folder cannot be used.
    """

    def __init__(
        self,
        camera_id: str,
        worst: Callable[[float], AttemptState],
        folder: Path | None = None,
    ) -> None:
        self.camera_id = camera_id
        self._worst = worst
        self._folder = home_folder(*_BELOW) if folder is None else folder
        self.path = self._folder / file_name(camera_id)
        self._lock = threading.Lock()  # of the fields below
        self._is_sound = False  # whether the file holds the state
        self._waited_in_vain = False  # for the lock of the folder, when it was last asked for
        self._state: AttemptState | None = None
        self._signature: tuple[int, int, int] | None = None

    def read(self, now_ms: float) -> AttemptState:
        """Return the state; see `AttemptStore.read`. The file is opened only where it changed."""
        with self._lock:
            if self._state is None or self._signature != self._find_signature():
                with self._locked():
                    self._state = self._load(now_ms)
            return self._state

    def update(self, change: Callable[[AttemptState], AttemptState], now_ms: float) -> AttemptState:
        """Change the state on the disk and return it; see `AttemptStore.update`."""
        with self._lock, self._locked():
            before = self._load(now_ms)
            state = change(before)
            if state != before or not self._is_sound:
                self._write(state, now_ms)
            self._state = state
            return state

    def _load(self, now_ms: float) -> AttemptState:
        """Read the file, which other tracks do not change meanwhile."""
        known, self._signature = self._signature, self._find_signature()
        self._is_sound = False
        if self._signature is None:
            if self._state is None:
                _log.warning(
                    "%s is absent: camera %s begins with no attempts",
                    self.path,
                    plain_line(self.camera_id),
                )
            elif known is not None:
                _log.warning("%s was removed: its attempts are written again", self.path)
            return self._state or AttemptState()
        try:
            record = read_record(self.path)
        except AttemptError as error:
            _log.warning("%s: it counts as the longest wait", error)
            return self._state or self._worst(now_ms)
        self._is_sound = True
        if record.boot_id == boot_id() and record.boot_id and record.written_ms <= now_ms:
            return record.state
        return record.state.shifted(now_ms - record.written_ms)

    def _write(self, state: AttemptState, now_ms: float) -> None:
        write_record(
            self.path,
            AttemptRecord(
                camera_id=self.camera_id.encode("utf-8", "backslashreplace").decode(),
                boot_id=boot_id(),
                written_ms=now_ms,
                state=state,
            ),
        )
        self._signature, self._is_sound = self._find_signature(), True

    def _find_signature(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AttemptError(f"cannot look at {self.path}: {error.strerror or error}") from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock, which the kernel releases when a process ends."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise AttemptError(
                f"cannot use {self._folder}: {error.strerror or error}: make it writable for this "
                "account, or name another home in FASDK_HOME"
            ) from error
        try:
            self._take_lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take_lock(self, descriptor: int) -> None:
        # Frames that come after one that waited in vain do not queue up behind the holder.
        wait_s = 0.0 if self._waited_in_vain else _LOCK_WAIT_S
        try:
            take_lock(descriptor, self._folder, wait_s)
        except StateError as error:
            self._waited_in_vain = True
            raise AttemptError(
                f"attempts cannot be recorded, so nobody is judged: {error}"
            ) from error
        self._waited_in_vain = False


def file_name(camera_id: str) -> str:
    """Return the name of a camera's file: legible, and its own."""
    legible = re.sub(r"[^A-Za-z0-9._-]+", "-", camera_id).strip("-.")[:40]
    digest = hashlib.sha256(camera_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{legible}-{digest}{_SUFFIX}".lstrip("-")


def read_record(path: Path) -> AttemptRecord:
    """Return the content of a camera's file.

    Raises:
        AttemptError: It is absent, no regular file, too large, altered, or malformed.
    """
    try:
        content = read_bounded(path, FileKind.STATE, flags=os.O_NOFOLLOW)
    except OSError as error:
        raise AttemptError(f"cannot read {path}: {error.strerror or error}") from error
    digest, _, body = content.partition(b"\n")
    if len(content) > _LARGEST_FILE or digest != _digest(body):
        raise AttemptError(f"{path} is damaged: its content is not what its digest says")
    try:
        return AttemptRecord.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise AttemptError(f"{path} is damaged: {where}: {error.errors()[0]['msg']}") from error


def write_record(path: Path, record: AttemptRecord) -> None:
    """Write a camera's file; it is whole on the disk when this returns.

    Raises:
        AttemptError: It cannot be written.
    """
    body = record.model_dump_json().encode()
    try:
        with atomic_write(path, mode=0o600) as file:
            file.write(_digest(body) + b"\n" + body)
    except FasdkError as error:
        raise AttemptError(
            f"attempts cannot be recorded, so nobody is judged: {error}: make room, or name a "
            "folder this account can write in FASDK_HOME"
        ) from error


def recorded() -> list[Path]:
    """Return the files of every camera of this account, in the order of their names.

    Raises:
        HomeError: The account's folder is not to be relied on.
    """
    folder = existing_folder(*_BELOW)
    return [] if folder is None else sorted(folder.glob(f"*{_SUFFIX}"))


def release_camera(camera_id: str) -> None:
    """Forget a camera's attempts and end its lock-out; a running track follows at once.

    A damaged file is written anew.

    Args:
        camera_id: Name of the camera.

    Raises:
        AttemptError: The camera has no account, or it cannot be written.
        HomeError: The account's folder is not to be relied on.
    """
    known = recorded()
    if file_name(camera_id) not in {path.name for path in known}:
        raise AttemptError(
            f"camera {camera_id!r} has no account of attempts in {home_path().joinpath(*_BELOW)}: "
            "`fasdk attempts` lists those that have, for this account of the system and FASDK_HOME"
        )
    store = FileStore(camera_id, lambda _: AttemptState())
    store.update(lambda _: AttemptState(), monotonic_ms())


def boot_id() -> str:
    """Return the name of the machine's present boot, or nothing where it has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
