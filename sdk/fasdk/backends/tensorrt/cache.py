"""Cache of plans built on this machine, kept beside the bundle and bound to graph, GPU and machine.

A plan is executable code, so none is handed out unless its digest and a MAC under the folder's key
hold over the very bytes returned. The MAC names this machine and its GPU, so that a folder copied
from another machine is of no use. Who can write the folder can forge plans, the key in it being
readable to them: it must belong to root or this account, and nobody else may write there. An
account that only reads it can use the plans and cannot change them.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import logging
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, open_bounded
from fasdk.errors import FasdkError, PlanError
from fasdk.file_access import is_own_or_roots, is_writable_by_others
from fasdk.machine import machine_tag

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.plan import BuiltPlan

KEY_FILE = "mac.key"
_KEY_BYTES = 32
_SHA256 = r"^[0-9a-f]{64}$"
_PURPOSE = "plans"
# What opening a link, a device, a FIFO or a folder answers: no file of the cache's.
_NO_FILE_OF_OURS = {errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.ENXIO}


class PlanKey(BaseModel):
    """All that a plan depends on; two plans with one key are interchangeable.

    Attributes:
        graph_sha256: Digest of the ONNX graph.
        module: "tensorrt" or "tensorrt-rtx".
        version: Version of that library.
        cuda: Newest CUDA version the driver knows.
        device: The GPU's name: boards of one generation differ in what was tuned.
        compute_capability: The GPU's generation.
        gpu_uuid: UUID of the very GPU, or "" where the driver gives none.
        shapes: (C, H, W), or (values,), by input name.
        max_batch: Largest batch of the plan.
        workspace_mib: Scratch memory allowed while building, in MiB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph_sha256: str = Field(pattern=_SHA256)
    module: str
    version: str
    cuda: str
    device: str
    compute_capability: str
    gpu_uuid: str = ""
    shapes: dict[str, tuple[int, ...]]
    max_batch: int = Field(ge=1)
    workspace_mib: int = Field(ge=1)

    @property
    def digest(self) -> str:
        """SHA-256 of the key's fields: the file name in the cache."""
        ordered = self.model_copy(update={"shapes": dict(sorted(self.shapes.items()))})
        return hashlib.sha256(ordered.model_dump_json().encode()).hexdigest()


class _PlanRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: PlanKey
    plan_sha256: str = Field(pattern=_SHA256)
    plan_bytes: int = Field(ge=1)
    build_seconds: float = Field(ge=0.0)
    mac: str = Field(pattern=_SHA256)


class _RefusedError(Exception):
    """A file of the cache is not one that a plan may be taken from."""


class PlanCache:
    """A folder with `<key>.plan`, `<key>.json` and the key of their MACs.

    Files that are new get the group of the folder, and its members may read them if they may read
    the folder: an installer makes plans that a service uses and cannot change.

    Attributes:
        folder: Folder of the cached plans; it is made when the first plan is stored.

    Args:
        folder: Folder of the cached plans.
        machine: Tag of the machine the plans are for; None for this one's.
    """

    def __init__(self, folder: Path, machine: str | None = None) -> None:
        self.folder = folder
        self._machine = machine or machine_tag(_PURPOSE)

    @classmethod
    def beside(cls, bundle: Path) -> PlanCache:
        """Return the default cache of a bundle: `<bundle>.plans/`."""
        return cls(bundle.with_name(f"{bundle.name}.plans"))

    @property
    def is_writable(self) -> bool:
        """Whether this account can keep plans here."""
        place = self.folder if os.path.lexists(self.folder) else self.folder.parent
        return os.access(place, os.W_OK | os.X_OK, effective_ids=True)

    def require_writable(self) -> None:
        """Check that this account can keep plans here.

        Raises:
            PlanError: It cannot, or the folder is not one that plans may be taken from.
        """
        self._require_sound()
        if not self.is_writable:
            raise PlanError(
                f"plan cache {self.folder} holds no plan for this machine, GPU and release, and "
                f"account {os.geteuid()} cannot write one: run `fasdk build-plan` on the bundle as "
                "the account that installs it"
            )

    def load(self, key: PlanKey) -> bytes | None:
        """Return the plan stored under `key`, or None.

        A plan whose record, digest or MAC does not hold counts as absent and is deleted where this
        account can do so.

        Raises:
            PlanError: The folder is a link or no folder, belongs to another account than this one
                and root, or may be written by others; or a file in it cannot be read.
        """
        if not self._require_sound():
            return None
        plan_file, record_file = self._files(key)
        try:
            record = self._checked_record(key, _read(record_file, FileKind.STATE))
            return self._checked_plan(record, plan_file)
        except FileNotFoundError:
            if self.is_writable:
                self.discard(key)  # one half without the other is of no use
            return None
        except OSError as error:
            raise PlanError(
                f"cannot read plan {error.filename or plan_file}: {error.strerror}"
            ) from error
        except _RefusedError as fault:
            what = "it is deleted" if self.is_writable else "it is not used"
            logging.getLogger("fasdk.tensorrt").warning(
                "%s: %s; %s and built again", plan_file, fault, what
            )
        if self.is_writable:
            self.discard(key)
        return None

    def store(self, key: PlanKey, plan: BuiltPlan) -> Path:
        """Write a plan and its record atomically, and return the plan's path.

        Raises:
            PlanError: The folder is not one that plans may be taken from; see `load`.
            FasdkError: The folder is not writable or the disk is full.
        """
        if not self._require_sound():
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise FasdkError(
                    f"cannot make plan cache {self.folder}: {error.strerror}"
                ) from error
            self._require_sound()
        mac_key = self._mac_key() or self._new_mac_key()
        record = _PlanRecord(
            key=key,
            plan_sha256=hashlib.sha256(plan.data).hexdigest(),
            plan_bytes=len(plan.data),
            build_seconds=plan.seconds,
            mac="0" * 64,
        )
        record = record.model_copy(update={"mac": self._mac(mac_key, record)})
        plan_file, record_file = self._files(key)
        # The record last: until it is there, the plan is never used.
        self._write(plan_file, plan.data)
        self._write(record_file, record.model_dump_json(indent=1).encode())
        return plan_file

    def discard(self, key: PlanKey) -> None:
        """Delete the plan stored under `key`, if any.

        Raises:
            FasdkError: It is there and cannot be deleted.
        """
        for file in reversed(self._files(key)):
            _delete(file)

    def _files(self, key: PlanKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.plan", self.folder / f"{key.digest}.json"

    def _require_sound(self) -> bool:
        """Return whether the folder exists; refuse one whose plans could be anyone's."""
        try:
            found = self.folder.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise PlanError(f"cannot look at plan cache {self.folder}: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode):
            what = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
            raise PlanError(f"plan cache {self.folder} is {what}, expected a folder: remove it")
        if not is_own_or_roots(found):
            raise PlanError(
                f"plan cache {self.folder} belongs to account {found.st_uid}, expected "
                f"{os.geteuid()} or root: remove it, and it is made anew"
            )
        if is_writable_by_others(found):
            raise PlanError(
                f"plan cache {self.folder} has mode {stat.S_IMODE(found.st_mode):04o}, others can "
                "write there: remove it, and it is made anew"
            )
        return True

    def _checked_record(self, key: PlanKey, raw: bytes) -> _PlanRecord:
        try:
            record = _PlanRecord.model_validate_json(raw)
        except ValidationError as error:
            raise _RefusedError(f"its record does not parse: {error.errors()[0]['msg']}") from error
        if record.key != key:
            raise _RefusedError("its record names another key")
        mac_key = self._mac_key()
        if mac_key is None or not hmac.compare_digest(self._mac(mac_key, record), record.mac):
            raise _RefusedError("its MAC does not hold under this machine's key")
        return record

    def _checked_plan(self, record: _PlanRecord, file: Path) -> bytes:
        data = _read(file, FileKind.PLAN, expected_bytes=record.plan_bytes)
        if hashlib.sha256(data).hexdigest() != record.plan_sha256:
            raise _RefusedError("its digest does not match its record")
        return data

    def _mac_key(self) -> bytes | None:
        """Return the MAC key, or None where there is none that only this folder's readers have."""
        try:
            key = _read(self.folder / KEY_FILE, FileKind.KEY, secret=True)
        except (OSError, _RefusedError):
            return None
        return key if len(key) == _KEY_BYTES else None

    def _new_mac_key(self) -> bytes:
        key = secrets.token_bytes(_KEY_BYTES)
        self._write(self.folder / KEY_FILE, key)
        return key

    def _mac(self, mac_key: bytes, record: _PlanRecord) -> str:
        """Return the MAC of a record, whose key names the GPU, on this machine."""
        message = (
            f"fasdk plan 2\n{self._machine}\n{record.key.digest}\n{record.plan_sha256}\n"
            f"{record.plan_bytes}"
        )
        return hmac.new(mac_key, message.encode(), hashlib.sha256).hexdigest()

    def _write(self, path: Path, data: bytes) -> None:
        found = self.folder.stat()
        is_shared = bool(found.st_mode & stat.S_IRGRP)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            _delete(path)
        with atomic_write(path, mode=0o600) as file:
            if is_shared:
                os.fchown(file.fileno(), -1, found.st_gid)
                os.fchmod(file.fileno(), 0o640)
            file.write(data)


def _read(
    path: Path, kind: FileKind, *, expected_bytes: int | None = None, secret: bool = False
) -> bytes:
    """Return a file's bytes, if only root and this account can have written it.

    Raises:
        OSError: It is not there or cannot be read.
        _RefusedError: It is a link or no regular file, of another owner, may be written by others,
            is a secret that others can read, or has another size than expected.
    """
    try:
        with open_bounded(path, kind, flags=os.O_NOFOLLOW) as file:
            found = os.fstat(file.fileno())
            if not is_own_or_roots(found):
                raise _RefusedError(f"{path.name} belongs to account {found.st_uid}")
            if is_writable_by_others(found) or (secret and found.st_mode & stat.S_IROTH):
                raise _RefusedError(f"{path.name} has mode {stat.S_IMODE(found.st_mode):04o}")
            if expected_bytes is not None and found.st_size != expected_bytes:
                raise _RefusedError(f"{path.name} has {found.st_size} bytes, not {expected_bytes}")
            return file.read(found.st_size)
    except OSError as error:
        if error.errno in _NO_FILE_OF_OURS:
            raise _RefusedError(f"{path.name}: {error.strerror}") from error
        raise


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FasdkError(
            f"cannot delete plan {error.filename}: {error.strerror}; delete it by hand"
        ) from error
