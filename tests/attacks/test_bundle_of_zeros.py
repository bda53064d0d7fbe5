"""A bundle that is none: an attacker who may write a bundle's file gives 4 GiB of zeros, a sparse
file with a true start, a member far larger than it should be, or no file at all.

Each is refused within a second and 64 MB: manifest and signature are read first, and of the rest
no more than the manifest states.
"""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from pathlib import Path

import pytest

from fasdk.bundle.archive import read_archive, write_archive
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import MAX_MANIFEST_BYTES
from fasdk.errors import BundleError

from support import tiny_bundle
from support.archive_attacks import raw_member
from support.bounded_reading import readings, require_bounded


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "tiny.fasb")


@pytest.fixture
def bundle_members(bundle_path: Path) -> dict[str, bytes]:
    return {k: bytes(v) for k, v in read_archive(bundle_path.read_bytes(), "tiny").items()}


def header(name: bytes, size: int, crc: int = 0) -> bytes:
    fields = (20, 0, 0, 0, 0x21, crc, size, size, len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields) + name


def sparse(path: Path, start: bytes, size: int = 2**32 - 1) -> Path:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path


def test_a_huge_file_is_refused_in_little_memory(
    tmp_path: Path, bundle_path: Path, bundle_members: dict[str, bytes]
) -> None:
    whole = bundle_path.read_bytes()
    manifest = bundle_members["manifest.json"]
    start = raw_member(b"manifest.json", manifest)
    if "manifest.sig" in bundle_members:
        start += raw_member(b"manifest.sig", bundle_members["manifest.sig"])
    files = [
        sparse(tmp_path / "zeros.fasb", b""),
        sparse(tmp_path / "tail.fasb", whole),
        sparse(tmp_path / "manifest.fasb", header(b"manifest.json", 2**32 - 100)),
        sparse(tmp_path / "graph.fasb", start + header(b"model.onnx", 2**31)),
        sparse(tmp_path / "past.fasb", b"PK\3\4", 2**33),
    ]
    for path, begin in ((tmp_path / "n0.fasb", b""), (tmp_path / "n1.fasb", start)):
        # Not sparse: the bytes are there.
        path.write_bytes(begin + header(b"model.onnx", 2**27) * bool(begin) + bytes(2**27))
        files.append(path)
    require_bounded(
        readings("bundle", files, warm=bundle_path),
        "holes",
        "not a fasdk bundle",
        "its manifest states",
        "at most",
    )


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "zero"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.fasb"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null" if kind == "device" else "/dev/zero")
    start = time.perf_counter()
    with pytest.raises(BundleError, match="expected a regular file"):
        open_bundle(path)
    assert time.perf_counter() - start < 10


def test_a_large_manifest_is_refused_unread(tmp_path: Path) -> None:
    content = b" " * (MAX_MANIFEST_BYTES + 1)
    path = tmp_path / "x.fasb"
    path.write_bytes(header(b"manifest.json", len(content), zlib.crc32(content)) + content)
    with pytest.raises(BundleError, match=r"manifest\.json has 1048577 bytes, expected at most"):
        open_bundle(path)


def test_a_member_of_another_size_than_stated_is_refused_unread(
    tmp_path: Path, bundle_members: dict[str, bytes]
) -> None:
    file = io.BytesIO()
    write_archive(file, bundle_members | {"model.onnx": bundle_members["model.onnx"] + b"\0"})
    path = tmp_path / "x.fasb"
    path.write_bytes(file.getvalue())
    with pytest.raises(BundleError, match=r"model\.onnx has \d+ bytes, its manifest states \d+"):
        open_bundle(path)
