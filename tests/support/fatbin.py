"""Contents of compiled CUDA files: code (SASS) and PTX by compute capability.

`cuobjdump --list-elf` says the same, where the toolkit has it. NVIDIA documents no layout; this is
what CUDA 13.0 writes: a header, then one entry a target.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = struct.pack("<I", 0xBA55ED50)
_HEADER = struct.Struct("<IHHQ")  # magic, version, header's size, all entries' size
_ENTRY = struct.Struct("<HHIQ12xI")  # kind, version, header's size, payload's size, ..., target
_PTX, _ELF = 1, 2


@dataclass(frozen=True, order=True)
class Target:
    """One architecture's code, such as sm_87; or PTX, which any later one compiles."""

    compute_capability: int
    is_ptx: bool
    size: int


def targets(path: Path) -> Iterator[Target]:
    """Yield what every fat binary in the file holds."""
    data = path.read_bytes()
    start = data.find(_MAGIC)
    while start >= 0:
        _, _, header, size = _HEADER.unpack_from(data, start)
        at, end = start + header, start + header + size
        while at < end:
            kind, _, entry_header, payload, target = _ENTRY.unpack_from(data, at)
            assert kind in (_PTX, _ELF), f"entry of unknown kind {kind} at {at}"
            yield Target(target, kind == _PTX, payload)
            at += entry_header + payload
        start = data.find(_MAGIC, end)
