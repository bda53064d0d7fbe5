"""Contents of compiled CUDA files: code (SASS) and PTX by compute capability.

`cuobjdump --list-elf` says the same, where the toolkit has it. NVIDIA documents no layout; this is
what CUDA 13.0 writes: a header, then one entry a target.
`PYTHONPATH=tests python -m support.fatbin` prints what the installed fatbin holds.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasdk.preprocess.native import native_module

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
    for target, _ in _entries(path.read_bytes()):
        yield target


def _entries(data: bytes) -> Iterator[tuple[Target, bytes]]:
    start = data.find(_MAGIC)
    while start >= 0:
        _, _, header, size = _HEADER.unpack_from(data, start)
        at, end = start + header, start + header + size
        while at < end:
            kind, _, entry_header, payload, target = _ENTRY.unpack_from(data, at)
            assert kind in (_PTX, _ELF), f"entry of unknown kind {kind} at {at}"
            first = at + entry_header
            found = Target(target, kind == _PTX, payload)
            yield found, data[first : first + payload]
            at = first + payload
        start = data.find(_MAGIC, end)


@dataclass(frozen=True)
class _Section:
    """A section of an ELF file."""

    name: str
    data: bytes


_FIRST_ELF = b"\x7fELF"
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, ...
_NV_INFO = ".nv.info."
_PARAMETER_INFO = 0x17  # EIATTR_KPARAM_INFO
_SIZED = 4  # EIFMT_SVAL: the attribute's own size follows
_PARAMETER = struct.Struct("<IHHI")  # index, ordinal, offset, then the size from bit 18 on


def cubins(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield compute capability and ELF file of every entry with code."""
    for target, payload in _entries(path.read_bytes()):
        if not target.is_ptx:
            yield target.compute_capability, payload


def parameters(cubin: bytes) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return offset and size of every parameter, by kernel, as the compiler wrote them down."""
    assert cubin.startswith(_FIRST_ELF), "a compressed entry"
    return {
        section.name.removeprefix(_NV_INFO): tuple(_parameters(section.data))
        for section in _sections(cubin)
        if section.name.startswith(_NV_INFO)
    }


def _parameters(info: bytes) -> list[tuple[int, int]]:
    found = {}
    at = 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form != _SIZED:
            continue
        if attribute == _PARAMETER_INFO:
            _, ordinal, offset, bits = _PARAMETER.unpack_from(info, at)
            found[ordinal] = offset, bits >> 18
        at += size
    return [found[ordinal] for ordinal in sorted(found)]


def _sections(elf: bytes) -> Iterator[_Section]:
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_at = struct.unpack_from("<HHH", elf, 58)
    rows = [_SECTION.unpack_from(elf, table + size * row) for row in range(count)]
    names = elf[rows[names_at][4] : rows[names_at][4] + rows[names_at][5]]
    for row in rows:
        name = names[row[0] : names.index(b"\0", row[0])].decode()
        yield _Section(name, elf[row[4] : row[4] + row[5]])


def installed() -> Path | None:
    """Return the fatbin that was installed with fasdk, or None where none was built."""
    native = native_module()
    path = Path(getattr(native, "__file__", None) or "").parent / "kernels" / "preprocess.fatbin"
    return path if native is not None and path.is_file() else None


def main() -> None:
    """Print what the installed fatbin holds as one JSON line; empty where none was built."""
    path = installed()
    found: dict[str, Any] = {}
    if path is not None:
        module: Any = native_module()
        held = list(targets(path))
        taken = [parameters(cubin) for _, cubin in cubins(path)]
        found = {
            "bytes": path.stat().st_size,
            "code": sorted(t.compute_capability for t in held if not t.is_ptx),
            "ptx": sorted(t.compute_capability for t in held if t.is_ptx),
            "entry_points": sorted(set().union(*taken)),
            "different_parameters": sum(one != module.ROW_PARAMETERS for one in taken),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
