"""Archive format of a bundle: a zip file with one canonical sequence of bytes.

Members are stored (not compressed) in a given order, with zero timestamps, no flags, extra fields,
comments or directories. Any unzip opens it; this reader accepts only the canonical bytes.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass
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
    """Return the members of a canonical archive, in order.

    Args:
        data: The whole file.
        name: Name of the file in error messages.

    Raises:
        BundleError: The file is not an archive or is truncated.
        TamperedError: It is whole, and a byte differs from the canonical form of its own members.
    """
    reader = ArchiveReader(io.BytesIO(data), len(data), name)
    members = {}
    while (member := reader.next_member()) is not None:
        members[member] = reader.content(member)
    reader.finish()
    return members


class ArchiveReader:
    """Canonical archive read member by member, each checked before the next is looked at.

    No more of the file is read than a caller asks for: it learns a member's name and size first.
    """

    def __init__(self, file: IO[bytes], size: int, name: str) -> None:
        """Take a file that stands at its start.

        Args:
            file: The archive.
            size: Size of the file in bytes.
            name: Name of the file in error messages.

        Raises:
            BundleError: The file is larger than an archive can be.
        """
        if size > MAX_BYTES:
            raise BundleError(f"{name}: {size} bytes, a bundle has at most {MAX_BYTES}")
        self.size = size
        self._file = file
        self._name = name
        self._seen: set[str] = set()
        self._central = bytearray()
        self._offset = 0  # of what was not read yet
        self._start = b""  # of the member that comes next, or of the directory
        self._next: _Header | None = None

    def next_member(self) -> str | None:
        """Return the name of the member that comes next, or None after the last one.

        Raises:
            BundleError: The file is no archive or is truncated, or a name is not canonical.
        """
        if self._next is not None:
            return self._next.member
        self._start = self._start or self._file.read(_LOCAL.size)
        if self._start[:4] != b"PK\x03\x04":
            if not self._seen:
                raise BundleError(
                    f"{self._name} is not a fasdk bundle: it does not start with a zip member"
                )
            if len(self._start) < _LOCAL.size:  # the directory is longer
                raise BundleError(f"{self._name}: truncated at byte {self.size}, after a member")
            return None
        if len(self._seen) == _MAX_MEMBERS:
            raise BundleError(f"{self._name}: more than {_MAX_MEMBERS} members")
        self._next = self._header()
        return self._next.member

    def size_of(self, member: str) -> int:
        """Return how many bytes the member that comes next has."""
        return self._upcoming(member).size

    def content(self, member: str) -> memoryview:
        """Read the member that comes next.

        Raises:
            BundleError: The file is truncated.
            TamperedError: A byte of its header or content is not as it must be.
        """
        header = self._upcoming(member)
        if header.local != header.canonical:
            raise TamperedError(f"{self._name}: header of member {member} is not canonical")
        content = self._file.read(header.size)
        if len(content) < header.size:
            raise self._cut_in_member()
        if zlib.crc32(content) != header.crc:
            raise TamperedError(f"{self._name}: member {member} is damaged (CRC differs)")
        self._seen.add(member)
        self._central += header.central
        self._offset += len(header.local) + header.size
        self._start, self._next = b"", None
        return memoryview(content)

    def finish(self) -> None:
        """Check what follows the last member.

        Raises:
            BundleError: The file is truncated.
            TamperedError: A byte differs from the canonical directory.
        """
        tail = bytes(self._central) + _end(len(self._seen), len(self._central), self._offset)
        found = self._start + self._file.read(len(tail) + 1 - len(self._start))
        if len(found) < len(tail):
            raise BundleError(
                f"{self._name}: truncated: {len(found)} of the {len(tail)} bytes after the last "
                "member are there"
            )
        if found != tail:
            raise TamperedError(
                f"{self._name}: altered after the last member: byte {self._offset} on differs from "
                "the canonical directory"
            )

    def _upcoming(self, member: str) -> _Header:
        header = self._next
        if header is None or header.member != member:
            raise ValueError(f"{member} is not the member that comes next")
        return header

    def _header(self) -> _Header:
        if len(self._start) < _LOCAL.size:
            raise BundleError(f"{self._name}: truncated in a member header at byte {self._offset}")
        *_, crc, _packed, size, name_length, _extra = _LOCAL.unpack(self._start)
        raw_name = self._file.read(name_length)
        if self._offset + _LOCAL.size + name_length + size > self.size:
            raise self._cut_in_member()
        member = raw_name.decode("ascii", "replace")
        if not _NAME.fullmatch(member):
            shown = f"{member[:40]!r}{'...' if len(member) > 40 else ''}"
            raise BundleError(
                f"{self._name}: member name {shown} at byte {self._offset} is not canonical"
            )
        if member in self._seen:
            raise BundleError(f"{self._name}: member {member} appears twice")
        canonical, central = _headers(member, size, crc, self._offset)
        return _Header(member, size, crc, self._start + raw_name, canonical, central)

    def _cut_in_member(self) -> BundleError:
        return BundleError(f"{self._name}: truncated in the member at byte {self._offset}")


@dataclass(frozen=True)
class _Header:
    """Header of a member: what it states, its bytes, and the bytes it must have.

    Attributes:
        member: Name of the member.
        size: Size of its content in bytes.
        crc: CRC-32 of its content.
        local: Its local header and name as they stand in the file.
        canonical: The same as they must be.
        central: Its entry in the directory.
    """

    member: str
    size: int
    crc: int
    local: bytes
    canonical: bytes
    central: bytes


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


def _headers(name: str, size: int, crc: int, offset: int) -> tuple[bytes, bytes]:
    encoded = name.encode("ascii")
    common = (_VERSION, 0, 0, _EPOCH_TIME, _EPOCH_DATE, crc, size, size, len(encoded), 0)
    local = _LOCAL.pack(b"PK\x03\x04", *common) + encoded
    made_by = (3 << 8) | _VERSION  # Unix, so that the file mode below is understood
    entry = _CENTRAL.pack(b"PK\x01\x02", made_by, *common, 0, 0, 0, _FILE_MODE, offset) + encoded
    return local, entry


def _end(count: int, directory_size: int, directory_offset: int) -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, count, count, directory_size, directory_offset, 0)
