"""Cache of plans built on this machine, kept beside the bundle and bound to graph, GPU and machine.

A plan is executable code, so none is handed out unless its digest and a MAC under the folder's key
hold over the very bytes returned. The MAC names this machine and its GPU, so that a folder copied
from another machine is of no use. See `sealed` for whose files count.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.backends.tensorrt.sealed import RefusedError, SealedFolder, delete, read
from fasdk.bounded_file import FileKind
from fasdk.errors import PlanError

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk.backends.plan_options import PlanOptions
    from fasdk.backends.tensorrt.plan import BuiltPlan

_SHA256 = r"^[0-9a-f]{64}$"


class PlanKey(BaseModel):
    """All that decides whether a plan can be used; plans with one key answer alike.

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
    workspace_mib: int
    optimization_level: int
    aux_streams: int
    mac: str = Field(pattern=_SHA256)

    def is_built_by(self, options: PlanOptions) -> bool:
        """Return whether the plan was built by these options, as far as they show in a plan."""
        return (self.workspace_mib, self.optimization_level, self.aux_streams) == (
            options.workspace_mib,
            options.optimization_level,
            options.aux_streams,
        )


class PlanCache:
    """A sealed folder with `<key>.plan` and `<key>.json`.

    Attributes:
        folder: Folder of the cached plans; it is made when the first plan is stored.

    Args:
        folder: Folder of the cached plans.
        machine: Tag of the machine the plans are for; None for this one's.
    """

    def __init__(self, folder: Path, machine: str | None = None) -> None:
        self.folder = folder
        self._sealed = SealedFolder(folder, "plan cache", machine)

    @classmethod
    def beside(cls, bundle: Path) -> PlanCache:
        """Return the default cache of a bundle: `<bundle>.plans/`."""
        return cls(bundle.with_name(f"{bundle.name}.plans"))

    @property
    def is_writable(self) -> bool:
        """Whether this account can keep plans here."""
        return self._sealed.is_writable

    def require_writable(self) -> None:
        """Check that this account can keep plans here.

        Raises:
            PlanError: It cannot, or the folder is not one that plans may be taken from.
        """
        self._sealed.require_sound()
        if not self.is_writable:
            raise PlanError(
                f"plan cache {self.folder} holds no such plan for this machine, GPU and release, "
                f"and account {os.geteuid()} cannot write one: run `fasdk build-plan` on the "
                "bundle as the account that installs it"
            )

    def load(self, key: PlanKey, options: PlanOptions | None = None) -> bytes | None:
        """Return the plan stored under `key`, or None.

        A plan whose record, digest or MAC does not hold counts as absent and is deleted where this
        account can do so.

        Args:
            key: What the plan must be for.
            options: What it must be built by; None for whatever it was built by.

        Raises:
            PlanError: The folder is a link or no folder, belongs to another account than this one
                and root, or may be written by others; or a file in it cannot be read.
        """
        if not self._sealed.require_sound():
            return None
        plan_file, record_file = self._files(key)
        try:
            record = self._checked_record(key, read(record_file, FileKind.STATE))
            plan = self._checked_plan(record, plan_file)
            return plan if options is None or record.is_built_by(options) else None
        except FileNotFoundError:
            if self.is_writable:
                self.discard(key)  # one half without the other is of no use
            return None
        except OSError as error:
            raise PlanError(
                f"cannot read plan {error.filename or plan_file}: {error.strerror}"
            ) from error
        except RefusedError as fault:
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
        self._sealed.make()
        record = _PlanRecord(
            key=key,
            plan_sha256=hashlib.sha256(plan.data).hexdigest(),
            plan_bytes=len(plan.data),
            build_seconds=plan.seconds,
            workspace_mib=plan.options.workspace_mib,
            optimization_level=plan.options.optimization_level,
            aux_streams=plan.options.aux_streams,
            mac="0" * 64,
        )
        mac = self._sealed.sealing_mac(self._message(record))
        record = record.model_copy(update={"mac": mac})
        plan_file, record_file = self._files(key)
        # The record last: until it is there, the plan is never used.
        self._sealed.write(plan_file, plan.data)
        self._sealed.write(record_file, record.model_dump_json(indent=1).encode())
        return plan_file

    def discard(self, key: PlanKey) -> None:
        """Delete the plan stored under `key`, if any.

        Raises:
            FasdkError: It is there and cannot be deleted.
        """
        for file in reversed(self._files(key)):
            delete(file)

    def _files(self, key: PlanKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.plan", self.folder / f"{key.digest}.json"

    def _checked_record(self, key: PlanKey, raw: bytes) -> _PlanRecord:
        try:
            record = _PlanRecord.model_validate_json(raw)
        except ValidationError as error:
            raise RefusedError(f"its record does not parse: {error.errors()[0]['msg']}") from error
        if record.key != key:
            raise RefusedError("its record names another key")
        mac = self._sealed.mac(self._message(record))
        if mac is None or not hmac.compare_digest(mac, record.mac):
            raise RefusedError("its MAC does not hold under this machine's key")
        return record

    def _checked_plan(self, record: _PlanRecord, file: Path) -> bytes:
        data = read(file, FileKind.PLAN, expected_bytes=record.plan_bytes)
        if hashlib.sha256(data).hexdigest() != record.plan_sha256:
            raise RefusedError("its digest does not match its record")
        return data

    def _message(self, record: _PlanRecord) -> str:
        """Return what the MAC of a record, whose key names the GPU, is over."""
        return (
            f"fasdk plan 3\n{self._sealed.machine}\n{record.key.digest}\n{record.plan_sha256}\n"
            f"{record.plan_bytes}\n{record.workspace_mib}\n{record.optimization_level}\n"
            f"{record.aux_streams}"
        )
