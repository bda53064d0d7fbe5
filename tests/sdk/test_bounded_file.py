"""Files read up to a size, whatever stands at their path."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fasdk.bounded_file import Compression, FileKind, open_bounded, read_bounded, read_rest

PACK = {
    Compression.GZIP: gzip.compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
}
NOISE = np.random.default_rng(4).bytes(200_000)


def test_a_regular_file_and_a_link_to_one_are_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"x", NOISE):
        file.write_bytes(content)
        assert read_bounded(file, FileKind.LIST) == content
    (tmp_path / "link").symlink_to(file)
    assert read_bounded(str(tmp_path / "link"), FileKind.LIST) == NOISE
    with open_bounded(file, FileKind.BUNDLE) as opened:
        assert opened.read() == NOISE
    with pytest.raises(OSError, match="symbolic links"):
        read_bounded(tmp_path / "link", FileKind.LIST, flags=os.O_NOFOLLOW)


def test_a_file_that_grows_once_it_is_open_is_read_up_to_its_kind_size(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"x")
    with open_bounded(file, FileKind.KEY) as opened:
        assert opened.read(1) == b"x"
        with file.open("ab") as more:
            more.write(bytes(FileKind.KEY.max_bytes - 1))
        assert len(read_rest(opened, file, FileKind.KEY)) == FileKind.KEY.max_bytes - 1
        opened.seek(0)
        with file.open("ab") as more:
            more.write(b"y")
        with pytest.raises(OSError, match="a key has at most 65536"):
            read_rest(opened, file, FileKind.KEY)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("fifo", "FIFO"),
        ("folder", "directory"),
        ("socket", "socket"),
        ("zero", "character device"),
        ("absent", "No such file"),
        ("zero byte", "its name"),
        ("loop", "symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str, what: str) -> None:
    path = tmp_path / "x"
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as server:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            path = Path(short) / "s"
            server.bind(str(path))
        elif kind == "zero":
            path.symlink_to("/dev/zero")
        elif kind == "zero byte":
            path = tmp_path / "a\0b"
        elif kind == "loop":
            path.symlink_to(path)
        with pytest.raises(OSError, match=what) as refused:
            read_bounded(path, FileKind.BUNDLE)
    assert refused.value.strerror


def test_a_file_past_its_kinds_size_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"k" * FileKind.KEY.max_bytes)
    assert len(read_bounded(file, FileKind.KEY)) == FileKind.KEY.max_bytes
    file.write_bytes(b"k" * (FileKind.KEY.max_bytes + 1))
    with pytest.raises(OSError, match="it has 65537 bytes, a key has at most 65536"):
        read_bounded(file, FileKind.KEY)


def test_zeros_and_holes_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as opened:
        opened.truncate(2**23)
    with pytest.raises(OSError, match="begins with zero bytes alone"):
        read_bounded(file, FileKind.CHECKPOINT)
    with file.open("wb") as opened:
        opened.write(b'{"a": 1}\n' * 1000)
        opened.truncate(2**28)
    with pytest.raises(OSError, match="the others are holes"):
        read_bounded(file, FileKind.LIST)


@pytest.mark.parametrize("form", Compression)
def test_a_compressed_file_is_unpacked_whole_or_refused(form: Compression) -> None:
    pack = PACK[form]
    for content in (b"", b"x", NOISE, b"\n" * 2**20):
        packed = pack(content)
        assert Compression.of(packed) is form
        assert form.unpack(packed, len(content)) == content
        assert form.unpack(packed + packed + bytes(70_000), 2 * len(content)) == 2 * content
        for cut in range(1, min(len(packed) - 6, 40)):
            with pytest.raises(ValueError, match=r"too early|end|corrupt|Compressed"):
                form.unpack(packed[:-cut], 2**22)
    with pytest.raises(ValueError, match="more than 199999 bytes"):
        form.unpack(pack(NOISE), 199_999)
    with pytest.raises(ValueError, match="100 times its size"):
        form.unpack(pack(b"\n" * 2**20) * 17, 2**28)
