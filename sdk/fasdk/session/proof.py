"""Proof of an engine by the bundle's golden captures, remembered by this account on this machine.

A record says that a bundle reproduced its golden captures here, so that they need not be replayed
each time it is opened. It counts only if this account wrote it and no other could have.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from fasdk.atomic import atomic_write
from fasdk.backends.specs import spec_of
from fasdk.bounded_file import FileKind, open_bounded
from fasdk.errors import FasdkError
from fasdk.file_access import is_writable_by_others
from fasdk.home import existing_folder, home_folder
from fasdk.machine import machine_tag

if TYPE_CHECKING:
    from fasdk.backends.engine import Engine
    from fasdk.bundle.bundle import Bundle
    from fasdk.scorer import Scorer

_FOLDER = "proven"
_CPU_INFO = Path("/proc/cpuinfo")
_CPU_FIELDS = ("model name", "CPU implementer", "CPU part", "flags", "Features")
_log = logging.getLogger("fasdk.session")


class ProofKey(BaseModel):
    """All that a proof depends on; with another value of any, the captures are replayed.

    Attributes:
        bundle: The bundle's id, which names its graph, golden captures and thresholds.
        backend: Backend that ran the graph.
        version: Version of that backend's library.
        device: CPU that computed it, with its instruction sets.
        machine: Tag of the machine.
        fasdk: Release that preprocessed the captures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    backend: str
    version: str
    device: str
    machine: str
    fasdk: str

    @classmethod
    def of(cls, bundle: Bundle, engine: Engine) -> ProofKey:
        """Return the key of a bundle on an engine, here."""
        return cls(
            bundle=bundle.id,
            backend=engine.backend.value,
            version=engine.version,
            device=_cpu(),
            machine=machine_tag("proof"),
            fasdk=_release(),
        )

    @property
    def content(self) -> bytes:
        """The record's bytes."""
        return self.model_dump_json().encode()

    @property
    def file_name(self) -> str:
        """The record's name in its folder."""
        return f"{hashlib.sha256(self.content).hexdigest()}.json"


def require_proven(scorer: Scorer, engine: Engine) -> None:
    """Replay a bundle's golden captures on an engine unless this account has proven it here.

    An engine whose backend builds plans proves itself while it is opened.

    Args:
        scorer: Scorer of the bundle.
        engine: Engine that runs the bundle's graph; no one else uses it yet.

    Raises:
        PlanError: The engine does not reproduce the bundle, or the bundle holds no golden capture.
        BackendError: The engine failed.
        BundleError: A golden capture cannot be read.
    """
    if spec_of(engine.backend).builds_plans:
        return
    key = ProofKey.of(scorer.bundle, engine)
    if _is_recorded(key):
        return
    drift = scorer.replay_golden(engine.run)
    _log.info(
        "%s: reproduces its golden captures on %s %s, largest score drift %.1e",
        scorer.bundle.path,
        key.backend,
        key.version,
        drift,
    )
    _record(key)


def _is_recorded(key: ProofKey) -> bool:
    """Return whether there is a record that only this account can have written."""
    try:
        folder = existing_folder(_FOLDER)
        if folder is None:
            return False
        with open_bounded(folder / key.file_name, FileKind.STATE, flags=os.O_NOFOLLOW) as file:
            found = os.fstat(file.fileno())
            own = found.st_uid == os.geteuid()
            return (
                own
                and not is_writable_by_others(found)
                and file.read(len(key.content) + 1) == key.content
            )
    except (OSError, FasdkError):
        return False


def _record(key: ProofKey) -> None:
    try:
        path = home_folder(_FOLDER) / key.file_name
        with atomic_write(path, mode=0o600) as file:
            file.write(key.content)
    except (OSError, FasdkError) as error:
        _log.info("the proof is not kept, golden captures are replayed each time: %s", error)


def _release() -> str:
    try:
        return version("fasdk")
    except PackageNotFoundError:  # copied into an application without its metadata
        return "unknown"


def _cpu() -> str:
    """Return what names the CPU and what it computes with, as one digest after its architecture."""
    try:
        lines = _CPU_INFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    facts = sorted({line for line in lines if line.partition(":")[0].strip() in _CPU_FIELDS})
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return f"{platform.machine()} {digest}"
