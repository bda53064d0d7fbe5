"""What was run already, which outlives a process: the input under test, executions by target."""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fasdk.atomic import atomic_write

from fuzz.target import Target

_HEAD = struct.Struct("<3Q")  # number of the input plus one, accepted before, length
_ROOM = 16 << 20  # of the longest input that is kept whole


class CurrentInput:
    """The input that is being run, in a file that outlives the process.

    Args:
        path: The file, which is made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            os.ftruncate(file.fileno(), _HEAD.size + _ROOM)
            self._map = mmap.mmap(file.fileno(), 0)

    def write(self, number: int, accepted: int, data: bytes) -> None:
        """Keep an input before it is run, with its number and how many were accepted before."""
        length = min(len(data), _ROOM)
        self._map[_HEAD.size : _HEAD.size + length] = data[:length]
        _HEAD.pack_into(self._map, 0, number + 1, accepted, length)


def last_input(path: Path) -> tuple[int, int, bytes] | None:
    """Return number, accepted before, and bytes of the input a process died of; None for none."""
    written = path.read_bytes() if path.exists() else b""
    if len(written) < _HEAD.size:
        return None
    number, accepted, length = _HEAD.unpack_from(written)
    if number == 0:
        return None
    return number - 1, accepted, written[_HEAD.size : _HEAD.size + length]


@dataclass
class Record:
    """What came of the executions of one target.

    Attributes:
        executions: Inputs that were run.
        accepted: Inputs among them that the parser accepted.
        failures: How often each failure came.
        peak_mb: Largest resident memory of a process.
        seconds: Wall-clock time.
    """

    executions: int = 0
    accepted: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    peak_mb: float = 0.0
    seconds: float = 0.0

    def add(self, found: dict[str, Any]) -> None:
        """Add what a worker wrote, if it wrote anything."""
        self.executions += found.get("executions", 0)
        self.accepted += found.get("accepted", 0)
        self.failures.update(found.get("failures", {}))
        self.peak_mb = max(self.peak_mb, found.get("peak_mb", 0.0))


class Records:
    """A folder of records, a JSON file for each target.

    Args:
        folder: The folder, made where it is missing.
        source: Digest of the source that is run; a record of other source counts nothing.
        seed: Seed of the inputs; a record of another seed counts nothing.
    """

    def __init__(self, folder: Path, source: str, seed: int) -> None:
        self._folder = folder
        self._run = {"source": source, "seed": seed}

    def read(self, name: str) -> Record:
        """Return the record of a target, an empty one where there is none of this source."""
        path = self._folder / f"{name}.json"
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        if {key: known.pop(key, None) for key in self._run} != self._run:
            return Record()
        return Record(**known | {"failures": Counter(known["failures"])})

    def write(self, name: str, record: Record) -> None:
        """Keep the record of a target in place of the last one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._folder / f"{name}.json") as file:
            file.write(json.dumps(self._run | vars(record)).encode())


def source_digest(target: Target) -> str:
    """Return the SHA-256 of every module of the project that a target has loaded.

    Its parser must have run before, since a module may be imported by the first call. The modules
    of other targets do not count.
    """
    others = {name for name in sys.modules if name.startswith("fuzz.targets.")}
    others -= {target.prepare.__module__, target.mutate.__module__}
    files = {
        name: Path(module.__file__)
        for name, module in sys.modules.items()
        if name.partition(".")[0] in _PROJECT and name not in others
        if getattr(module, "__file__", None)
    }
    digest = sha256(sys.version.encode())
    for name, path in sorted(files.items()):
        digest.update(name.encode() + sha256(path.read_bytes()).digest())
    return digest.hexdigest()


_PROJECT = {"fasdk", "fasdk_calibration", "fasdk_engines", "fasdk_tools", "fuzz", "support"}
