"""Timing cache of TensorRT, kept beside the plan caches and shared by the bundles of a folder.

It holds how long kernels took on this GPU, so that another build need not time them again. It is no
code, but native code parses it, and it decides which kernels a plan has: it is taken only if a MAC
under its folder's key holds over it; see `sealed`. A build never needs it, so one that cannot be
taken or kept is dropped with one line in the log.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from fasdk.backends.tensorrt.sealed import RefusedError, SealedFolder, read
from fasdk.bounded_file import FileKind
from fasdk.errors import FasdkError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "tensorrt.timing"
_MAC_DIGITS = 64

_log = logging.getLogger("fasdk.tensorrt")


class TimingKey(BaseModel):
    """All that measured times depend on.

    Attributes:
        module: "tensorrt" or "tensorrt-rtx".
        version: Version of that library.
        cuda: Newest CUDA version the driver knows.
        device: The GPU's name.
        compute_capability: The GPU's generation.
        gpu_uuid: UUID of the very GPU, or "" where the driver gives none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    version: str
    cuda: str
    device: str
    compute_capability: str
    gpu_uuid: str

    @property
    def digest(self) -> str:
        """SHA-256 of the key's fields: the file name in the folder."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class TimingCache:
    """A sealed folder with `<key>.timing`: a MAC, then what TensorRT serialized.

    Attributes:
        folder: The folder; it is made when the first times are kept.

    Args:
        folder: The folder.
        machine: Tag of the machine the times are of; None for this one's.
    """

    def __init__(self, folder: Path, machine: str | None = None) -> None:
        self.folder = folder
        self._sealed = SealedFolder(folder, "timing cache", machine)

    @classmethod
    def beside(cls, bundle: Path) -> TimingCache:
        """Return the cache of a bundle and of all others in its folder: `tensorrt.timing/`."""
        return cls(bundle.with_name(FOLDER))

    def load(self, key: TimingKey) -> bytes:
        """Return the times kept under `key`, or b"" where there are none that may be taken."""
        file = self.file_of(key)
        try:
            if not self._sealed.require_sound():
                return b""
            sealed = read(file, FileKind.TIMING)
            mac, data = sealed[:_MAC_DIGITS], sealed[_MAC_DIGITS:]
            expected = self._sealed.mac(self._message(key, data))
            if expected is None or not hmac.compare_digest(expected.encode(), mac):
                raise RefusedError("its MAC does not hold under this machine's key")
        except FileNotFoundError:
            return b""
        except (OSError, RefusedError, FasdkError) as fault:
            _log.warning("timing cache %s is dropped: %s; the build times its kernels", file, fault)
            return b""
        return data

    def store(self, key: TimingKey, data: bytes) -> None:
        """Keep times under `key`, in place of those before."""
        file = self.file_of(key)
        try:
            if len(data) + _MAC_DIGITS > FileKind.TIMING.max_bytes:
                raise RefusedError(f"it has {len(data)} bytes")
            self._sealed.make()
            mac = self._sealed.sealing_mac(self._message(key, data))
            self._sealed.write(file, mac.encode() + data)
        except (OSError, RefusedError, FasdkError) as fault:
            _log.warning("timing cache %s is not kept: %s", file, fault)

    def file_of(self, key: TimingKey) -> Path:
        """Return where the times of a key are kept."""
        return self.folder / f"{key.digest}.timing"

    def _message(self, key: TimingKey, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        return f"fasdk timing 1\n{self._sealed.machine}\n{key.digest}\n{digest}"
