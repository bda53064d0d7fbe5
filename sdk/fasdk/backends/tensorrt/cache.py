"""Cache of plans built on this machine, kept beside the bundle and bound to its graph.

A plan is executable code, so none is handed out unless its digest and a MAC under a key of this
machine hold over the very bytes returned. The MAC keeps out what was not written by this account
here: a plan copied from another machine, a damaged file, a plan of another graph. Who can read the
key can forge plans, so the folder needs the same protection as the program itself.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError, PlanError

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.plan import BuiltPlan

KEY_FILE = "mac.key"
_KEY_BYTES = 32
_SHA256 = r"^[0-9a-f]{64}$"


class PlanKey(BaseModel):
    """All that a plan depends on; two plans with one key are interchangeable.

    Attributes:
        graph_sha256: Digest of the ONNX graph.
        module: "tensorrt" or "tensorrt-rtx".
        version: Version of that library.
        cuda: Newest CUDA version the driver knows.
        device: The GPU's name: boards of one generation differ in what was tuned.
        compute_capability: The GPU's generation.
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


class PlanCache:
    """A folder with `<key>.plan`, `<key>.json` and this machine's MAC key.

    Attributes:
        folder: Folder of the cached plans; it is made when the first plan is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, bundle: Path) -> PlanCache:
        """Return the default cache of a bundle: `<bundle>.plans/`."""
        return cls(bundle.with_name(f"{bundle.name}.plans"))

    def load(self, key: PlanKey) -> bytes | None:
        """Return the plan stored under `key`, or None.

        A plan whose record, digest or MAC does not hold is deleted and counts as absent.
        """
        plan_file, record_file = self._files(key)
        try:
            data, record_json = plan_file.read_bytes(), record_file.read_bytes()
        except FileNotFoundError:
            self.discard(key)  # one half without the other is of no use
            return None
        except OSError as error:
            raise PlanError(f"cannot read plan {plan_file}: {error.strerror}") from error
        fault = self._fault(key, data, record_json)
        if fault is None:
            return data
        logging.getLogger("fasdk.tensorrt").warning(
            "%s: %s; it is deleted and built again", plan_file, fault
        )
        self.discard(key)
        return None

    def store(self, key: PlanKey, plan: BuiltPlan) -> Path:
        """Write a plan and its record atomically, and return the plan's path.

        Raises:
            FasdkError: The folder is not writable or the disk is full.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FasdkError(f"cannot make plan cache {self.folder}: {error.strerror}") from error
        mac_key = self._mac_key() or self._new_mac_key()
        digest = hashlib.sha256(plan.data).hexdigest()
        record = _PlanRecord(
            key=key,
            plan_sha256=digest,
            plan_bytes=len(plan.data),
            build_seconds=plan.seconds,
            mac=_mac(mac_key, key, digest),
        )
        plan_file, record_file = self._files(key)
        # The record last: until it is there, the plan is never used.
        with atomic_write(plan_file, mode=0o600) as file:
            file.write(plan.data)
        with atomic_write(record_file, mode=0o600) as file:
            file.write(record.model_dump_json(indent=1).encode())
        return plan_file

    def discard(self, key: PlanKey) -> None:
        """Delete the plan stored under `key`, if any.

        Raises:
            FasdkError: It is there and cannot be deleted.
        """
        try:
            for file in reversed(self._files(key)):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise FasdkError(
                f"cannot delete plan {error.filename}: {error.strerror}; delete it by hand"
            ) from error

    def _files(self, key: PlanKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.plan", self.folder / f"{key.digest}.json"

    def _fault(self, key: PlanKey, data: bytes, record_json: bytes) -> str | None:
        try:
            record = _PlanRecord.model_validate_json(record_json)
        except ValidationError as error:
            return f"its record does not parse: {error.errors()[0]['msg']}"
        digest = hashlib.sha256(data).hexdigest()
        if record.key != key:
            return "its record names another key"
        if digest != record.plan_sha256:
            return "its digest does not match its record"
        mac_key = self._mac_key()
        if mac_key is None or not hmac.compare_digest(_mac(mac_key, key, digest), record.mac):
            return "its MAC does not hold under this machine's key"
        return None

    def _mac_key(self) -> bytes | None:
        """Return the MAC key, or None where there is none that only this account can read."""
        try:
            descriptor = os.open(self.folder / KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            private = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077 == 0
            key = file.read(_KEY_BYTES + 1) if private and found.st_uid == os.geteuid() else b""
        return key if len(key) == _KEY_BYTES else None

    def _new_mac_key(self) -> bytes:
        key = secrets.token_bytes(_KEY_BYTES)
        with atomic_write(self.folder / KEY_FILE, mode=0o600) as file:
            file.write(key)
        return key


def _mac(mac_key: bytes, key: PlanKey, plan_sha256: str) -> str:
    message = f"fasdk plan 1\n{key.digest}\n{plan_sha256}".encode()
    return hmac.new(mac_key, message, hashlib.sha256).hexdigest()
