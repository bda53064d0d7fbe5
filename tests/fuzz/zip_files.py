"""Zip archives, read leniently and written quickly."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache

UNREADABLE = (
    zipfile.BadZipFile,
    ValueError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
)
"""Exceptions of zipfile on a damaged archive."""

_ENTRY = struct.Struct("<5H3I2H")
_DAY = (0, 0x21)  # 1 January 1980, midnight
_DEFLATED = 8


@lru_cache(maxsize=256)
def zip_members(data: bytes) -> Mapping[str, bytes]:
    """Return what a zip archive holds by name; nothing where it cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except UNREADABLE:
        return {}


def write_zip(members: Mapping[str, bytes], *, deflated: bool = False) -> bytes:
    """Return an archive of members, several times faster than zipfile writes one."""
    written, directory = bytearray(), bytearray()
    for text, content in members.items():
        name = text.encode("utf-8", "surrogatepass")
        packed = _deflate(content) if deflated else content
        sizes = (zlib.crc32(content), len(packed), len(content))
        method = _DEFLATED if deflated else 0
        entry = _ENTRY.pack(20, 0x800, method, *_DAY, *sizes, len(name), 0)
        directory += b"PK\1\2\x14\0" + entry + struct.pack("<3H2I", 0, 0, 0, 0, len(written)) + name
        written += b"PK\3\4" + entry + name + packed
    end = struct.pack("<4H2IH", 0, 0, len(members), len(members), len(directory), len(written), 0)
    return bytes(written + directory + b"PK\5\6" + end)


def _deflate(content: bytes) -> bytes:
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()
