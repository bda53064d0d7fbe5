"""Files that never end: an attacker who may name or place a key, list, frame, rig, score file,
checkpoint or description puts a FIFO, a device, a bomb of gzip or a sparse file there.

Each is refused at once, in little memory, by an error that names the file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fasdk.errors import FasdkError

from support.bounded_reading import MOST_MB, READERS, readings, require_bounded


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["fifo", "folder", "zero", "absent", "loop"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "given"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "absent":
        path.symlink_to("/dev/zero" if kind == "zero" else path)
    with pytest.raises(FasdkError) as refused:
        READERS[reader](path)
    assert str(path) in str(refused.value)


def bombs(folder: Path) -> dict[str, list[Path]]:
    """Files by reader that are small, or hold next to nothing, and grow when they are read."""
    lines = b'{"rgb": "a.png", "label": 1}\n' * 40_000
    texts = {"blank.gz": gzip.compress(b"\n" * 2**27), "rows.gz": gzip.compress(lines * 150)}
    packed = texts | {
        "blank.bz2": bz2.compress(b"\n" * 2**26),
        "blank.xz": lzma.compress(b"\n" * 2**27),
        "member.zip": zipped("scores.csv", b"\n" * 2**27),
        "huge.npz": zipped("score.npy", npy_of_zeros(2**27)),
        "directory.zip": zip_of_many_members(2**16),
    }
    files = {"list": list(texts), "scores": list(packed)}
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    for reader in READERS:
        for name, start in (("zeros", b""), ("start", b"0.5,1\n{}\nPK\3\4" * 600)):
            path = folder / f"{reader}.{name}"
            with path.open("wb") as file:
                file.write(start)
                file.truncate(2**28 - 2**16)
            files.setdefault(reader, []).append(path.name)
    return {reader: [folder / name for name in names] for reader, names in files.items()}


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def npy_of_zeros(count: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(8, np.uint8))
    return file.getvalue().replace(b"(8,)", b"(%d,)" % (2 * count)) + bytes(count)


def zip_of_many_members(count: int) -> bytes:
    entry = b"PK\x01\x02" + bytes(24) + b"\1\0" + bytes(16) + b"a"
    assert len(entry) == 47
    tail = b"PK\x05\x06" + bytes(4) + b"\xff\xff\xff\xff"
    size = 3 * count * len(entry)
    directory = entry * (3 * count)
    return b"PK\3\4" + directory + tail + size.to_bytes(4, "little") + b"\4\0\0\0\0\0"


@pytest.mark.slow
def test_a_bomb_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    warm.write_bytes(b"?")
    for reader, files in bombs(tmp_path).items():
        found = readings(reader, files, warm=warm)
        assert len(found) == len(files)
        require_bounded(found, str(tmp_path))
        assert all(reading.grown_mb < MOST_MB for reading in found)
