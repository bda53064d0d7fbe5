"""Non-canonical archives that other zip readers accept or misread.

Every builder starts from the same good archive, so that what it changes is all that is wrong.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from fasdk.bundle.archive import write_archive

MEMBERS = {"manifest.json": b"{}", "model.onnx": b"graph", "golden/0.npz": b"zip"}


def canonical(members: dict[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    write_archive(file, MEMBERS if members is None else members)
    return file.getvalue()


def zipped(
    members: list[tuple[str, bytes]],
    *,
    compression: int = zipfile.ZIP_STORED,
    date=(1980, 1, 1, 0, 0, 0),
    extra: bytes = b"",
    member_comment: bytes = b"",
    archive_comment: bytes = b"",
    sink: io.BytesIO | None = None,
    zip64: bool = False,
) -> bytes:
    """Write what Python's own zipfile writes."""
    file = sink or io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.comment = archive_comment
        for name, content in members:
            info = zipfile.ZipInfo(name, date)
            info.compress_type, info.extra, info.comment = compression, extra, member_comment
            info.external_attr = 0o100644 << 16
            with archive.open(info, "w", force_zip64=zip64) as member:
                member.write(content)
    return file.getvalue()


class Unseekable(io.BytesIO):
    """A sink that makes zipfile write data descriptors after each member."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError("not seekable")

    def tell(self) -> int:
        raise OSError("not seekable")


def raw_member(name: bytes, content: bytes = b"x", *, size: int | None = None) -> bytes:
    """Return a local header and content as written, whatever the name or the size claimed."""
    claimed = len(content) if size is None else size
    head = (20, 0, 0, 0, 0x21, zlib.crc32(content), claimed, claimed, len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", *head) + name + content


def patched(offset: int, new: bytes) -> bytes:
    data = canonical()
    return data[:offset] + new + data[offset + len(new) :]


def swapped() -> bytes:
    """Exchange two members but leave the directory as it was."""
    data = canonical()
    first = 30 + len("manifest.json") + 2
    second = first + 30 + len("model.onnx") + 5
    return data[first:second] + data[:first] + data[second:]


def renamed_in_the_directory() -> bytes:
    """Name a member one thing to a streaming reader and another to one that seeks."""
    head, found, tail = canonical().rpartition(b"model.onnx")
    assert found
    return head + b"other.onnx" + tail


PAIRS = list(MEMBERS.items())


@dataclass(frozen=True)
class Attack:
    """How to build it, and the words of its refusal."""

    build: Callable[[], bytes]
    refusal: str


ATTACKS: dict[str, Attack] = {
    "nothing": Attack(lambda: b"", "does not start with a zip member"),
    "no member": Attack(lambda: zipped([]), "does not start with a zip member"),
    "another file": Attack(lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), "does not start with"),
    "a pickle": Attack(lambda: b"\x80\x04K\x01.", "does not start with a zip member"),
    "bytes before": Attack(lambda: b"#!/bin/sh\n" + canonical(), "does not start with"),
    "bytes after": Attack(lambda: canonical() + b"\0", "differs from the canonical directory"),
    "two archives": Attack(lambda: canonical() * 2, "differs from the canonical directory"),
    "a gap before the directory": Attack(
        lambda: canonical().replace(b"PK\x01\x02", b"\0PK\x01\x02", 1), "canonical directory"
    ),
    "members swapped": Attack(swapped, "canonical directory"),
    "directory names another member": Attack(renamed_in_the_directory, "canonical directory"),
    "directory missing": Attack(lambda: raw_member(b"manifest.json"), "truncated"),
    "duplicate name": Attack(
        lambda: raw_member(b"manifest.json") * 2 + b"PK\x01\x02", "appears twice"
    ),
    "parent folder": Attack(lambda: raw_member(b"../evil"), "'../evil'"),
    "parent folder inside": Attack(lambda: raw_member(b"golden/../../evil"), "not canonical"),
    "absolute name": Attack(lambda: raw_member(b"/etc/passwd"), "'/etc/passwd'"),
    "drive letter": Attack(lambda: raw_member(b"c:evil"), "'c:evil'"),
    "backslash": Attack(lambda: raw_member(b"golden\\0.npz"), "not canonical"),
    "nested folder": Attack(lambda: raw_member(b"golden/a/0.npz"), "not canonical"),
    "a folder": Attack(lambda: raw_member(b"golden/", b""), "not canonical"),
    "hidden name": Attack(lambda: raw_member(b".manifest.json"), "not canonical"),
    "no name": Attack(lambda: raw_member(b""), "member name '' at byte 0"),
    "name ends in a newline": Attack(lambda: raw_member(b"manifest.json\n"), "not canonical"),
    "name with a zero byte": Attack(lambda: raw_member(b"manifest.json\0.sh"), "not canonical"),
    "name in another case": Attack(lambda: raw_member(b"Manifest.json"), "not canonical"),
    "name not ASCII": Attack(lambda: raw_member("m\u00e4nifest".encode()), "not canonical"),
    "very long name": Attack(lambda: raw_member(b"a" * 65535), "not canonical"),
    "size past the end": Attack(lambda: raw_member(b"manifest.json", size=10_000), "truncated"),
    "size of zip64": Attack(lambda: raw_member(b"manifest.json", size=0xFFFFFFFF), "truncated"),
    "zip64": Attack(lambda: zipped(PAIRS, zip64=True), "truncated"),
    "deflated": Attack(lambda: zipped(PAIRS, compression=zipfile.ZIP_DEFLATED), "not canonical"),
    "data descriptors": Attack(lambda: zipped(PAIRS, sink=Unseekable()), "not canonical"),
    "a timestamp": Attack(lambda: zipped(PAIRS, date=(2026, 1, 1, 0, 0, 0)), "not canonical"),
    "an extra field": Attack(
        lambda: zipped(PAIRS, extra=struct.pack("<2H4s", 0xCAFE, 4, b"evil")), "not canonical"
    ),
    "a member comment": Attack(
        lambda: zipped(PAIRS, member_comment=b"evil"), "canonical directory"
    ),
    "an archive comment": Attack(
        lambda: zipped(PAIRS, archive_comment=b"evil"), "canonical directory"
    ),
    "encrypted flag": Attack(lambda: patched(6, b"\x01"), "not canonical"),
    "content altered": Attack(lambda: patched(30 + 13, b"[]"), "CRC differs"),
    "CRC altered": Attack(lambda: patched(14, b"\0\0\0\0"), "CRC differs"),
}
