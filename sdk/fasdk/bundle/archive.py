"""Archive format of a bundle: a zip file with one canonical sequence of bytes.

Members are stored (not compressed) in a given order, with zero timestamps, no flags, extra fields,
comments or directories. Any unzip opens it; this reader accepts only the canonical bytes, checked
in full before a member is handed out.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import IO, TYPE_CHECKING

from fasdk.errors import BundleError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_EPOCH_TIME, _EPOCH_DATE = 0, 0x21  # 1980-01-01, the earliest a zip file can hold
_FILE_MODE = 0o100644 << 16
MAX_BYTES = 0xFFFFFFFF
"""Largest archive in bytes: sizes and offsets are 32-bit, and zip64 is not canonical."""
_MAX_MEMBERS = 4096
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}(/[a-z0-9][a-z0-9._-]{0,99})?")


def write_archive(file: IO[bytes], members: Mapping[str, bytes]) -> None:
    """Write `members` in their order as a canonical archive.

    Raises:
        BundleError: There is no member, or too many; a name is not canonical; or the archive
            would pass 4 GiB. Nothing is written then.
    """
    require_writable(members)
    central = bytearray()
    offset = 0
    for name, content in members.items():
        local, entry = _headers(name, len(content), zlib.crc32(content), offset)
        file.write(local)
        file.write(content)
        central += entry
        offset += len(local) + len(content)
    file.write(central)
    file.write(_end(len(members), len(central), offset))


def read_archive(data: bytes, name: str) -> dict[str, memoryview]:
    """Return the members of a canonical archive, in order, as views into `data`.

    Args:
        data: The whole file.
        name: Name of the file in error messages.

    Raises:
        BundleError: The file is not an archive or is truncated.
        TamperedError: It is whole, and a byte differs from the canonical form of its own members.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"{name}: {len(data)} bytes, a bundle has at most {MAX_BYTES}")
    view = memoryview(data)
    members: dict[str, memoryview] = {}
    central = bytearray()
    offset = 0
    while bytes(view[offset : offset + 4]) == b"PK\x03\x04":
        if len(members) == _MAX_MEMBERS:
            raise BundleError(f"{name}: more than {_MAX_MEMBERS} members")
        member, content, entry = _read_member(view, offset, name)
        if member in members:
            raise BundleError(f"{name}: member {member} appears twice")
        members[member] = content
        central += entry
        offset += _LOCAL.size + len(member) + len(content)
    if not members:
        raise BundleError(f"{name} is not a fasdk bundle: it does not start with a zip member")
    tail = bytes(central) + _end(len(members), len(central), offset)
    found = len(view) - offset
    if found < len(tail):
        raise BundleError(
            f"{name}: truncated: {found} of the {len(tail)} bytes after the last member are there"
        )
    if view[offset:] != tail:
        raise TamperedError(
            f"{name}: altered after the last member: byte {offset} on differs from the canonical "
            "directory"
        )
    return members


def require_writable(members: Mapping[str, bytes]) -> None:
    """Check that members make a canonical archive.

    Raises:
        BundleError: There is no member, or too many; a name is not canonical; or the archive
            would pass 4 GiB.
    """
    if not 1 <= len(members) <= _MAX_MEMBERS:
        raise BundleError(f"{len(members)} members, a bundle has 1 to {_MAX_MEMBERS}")
    total = _END.size
    for name, content in members.items():
        if not _NAME.fullmatch(name):
            raise BundleError(f"member name {name!r} is not canonical: use {_NAME.pattern}")
        total += _LOCAL.size + _CENTRAL.size + 2 * len(name) + len(content)
        if total > MAX_BYTES:
            raise BundleError(f"member {name} takes the bundle past 4 GiB")


def _read_member(view: memoryview, offset: int, name: str) -> tuple[str, memoryview, bytes]:
    header = view[offset : offset + _LOCAL.size]
    if len(header) < _LOCAL.size:
        raise BundleError(f"{name}: truncated in a member header at byte {offset}")
    *_, crc, _packed, size, name_length, _extra = _LOCAL.unpack(header)
    start = offset + _LOCAL.size + name_length
    raw_name = bytes(view[offset + _LOCAL.size : start])
    content = view[start : start + size]
    if len(raw_name) < name_length or len(content) < size:
        raise BundleError(f"{name}: truncated in the member at byte {offset}")
    member = raw_name.decode("ascii", "replace")
    if not _NAME.fullmatch(member):
        shown = f"{member[:40]!r}{'...' if len(member) > 40 else ''}"
        raise BundleError(f"{name}: member name {shown} at byte {offset} is not canonical")
    local, entry = _headers(member, size, crc, offset)
    if view[offset:start] != local:
        raise TamperedError(f"{name}: header of member {member} is not canonical")
    if zlib.crc32(content) != crc:
        raise TamperedError(f"{name}: member {member} is damaged (CRC differs)")
    return member, content, entry


def _headers(name: str, size: int, crc: int, offset: int) -> tuple[bytes, bytes]:
    encoded = name.encode("ascii")
    common = (_VERSION, 0, 0, _EPOCH_TIME, _EPOCH_DATE, crc, size, size, len(encoded), 0)
    local = _LOCAL.pack(b"PK\x03\x04", *common) + encoded
    made_by = (3 << 8) | _VERSION  # Unix, so that the file mode below is understood
    entry = _CENTRAL.pack(b"PK\x01\x02", made_by, *common, 0, 0, 0, _FILE_MODE, offset) + encoded
    return local, entry


def _end(count: int, directory_size: int, directory_offset: int) -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, count, count, directory_size, directory_offset, 0)
