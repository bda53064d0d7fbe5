"""Pictures that grow: an attacker who may place frames in a folder, or a list, gives small files
whose headers state huge pictures, or whose formats few know.

Each is refused by its header, within a second and 64 MB, before a decoder sees it.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.bounded_file import FileKind
from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk.frames import read_frame
from fasdk.image_extent import MAX_PIXELS

from support.bounded_reading import readings, require_bounded

TINY = np.full((8, 8, 3), 90, np.uint8)


def encoded(suffix: str, frame: np.ndarray = TINY, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, frame, list(options))
    assert done
    return bytes(data)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, depth: int = 8, color: int = 2, body: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    idat = body or zlib.compress(bytes(4096))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded(".jpg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def scans_of_jpeg(count: int) -> bytes:
    data = encoded(".jpg", TINY, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    at = data.rindex(b"\xff\xda")
    return data[:-2] + data[at:-2] * count + data[-2:]


def webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    inner = encoded(".webp", TINY, cv2.IMWRITE_WEBP_QUALITY, 101)[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_with_larger_picture() -> bytes:
    inner = encoded(".webp", np.zeros((64, 64, 3), np.uint8), cv2.IMWRITE_WEBP_QUALITY, 101)[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\7\0\0\7\0\0" + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(**tags: int) -> bytes:
    """A TIFF of one strip of 64 bytes; names of `TAGS` replace its values."""
    values = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 64}
    values |= {TAGS[name]: value for name, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", k, 4, 1, v) for k, v in sorted(values.items()))
    directory = struct.pack("<H", len(values)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + directory


TAGS = {
    "width": 256,
    "height": 257,
    "bits": 258,
    "compression": 259,
    "samples": 277,
    "rows": 278,
    "tile_width": 322,
    "tile_height": 323,
}


def npy(shape: tuple[int, ...], kind: str = "|u1", body: bytes = b"") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


def npz(content: bytes, zeros: int = 0) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("rgb.npy", "w") as member,
    ):
        member.write(content)
        for _ in range(zeros >> 20):
            member.write(bytes(2**20))
    return file.getvalue()


BOMBS = {
    "PNG of 16 gigapixels": lambda: png(2**17, 2**17),
    "PNG of 65000x65000, as gray": lambda: png(65000, 65000, color=0, depth=16),
    "PNG of 33 megapixels in 4 kB": lambda: png(7680, 4320),
    "PNG just too large": lambda: png(5793, 5793),
    "PNG of width 0": lambda: png(0, 2**31),
    "JPEG of 65500x65500": lambda: jpeg(65500, 65500),
    "JPEG of 33 megapixels in 600 bytes": lambda: jpeg(7680, 4320),
    "JPEG of 70 scans": lambda: scans_of_jpeg(70),
    "WebP of 16383x16383": lambda: webp(16383, 16383),
    "WebP picture larger than its canvas": webp_with_larger_picture,
    "TIFF of 2^31 pixels across": lambda: tiff(width=2**31, height=2),
    "TIFF of 30000x30000": lambda: tiff(width=30000, height=30000),
    "TIFF of 5000x5000 in 64 bytes": lambda: tiff(width=5000, height=5000),
    "TIFF of 5000x5000, deflated from 64 bytes": lambda: tiff(
        width=5000, height=5000, compression=8
    ),
    "TIFF of 65535 samples": lambda: tiff(samples=65535),
    "TIFF of strips of 2^31 rows": lambda: tiff(rows=2**31),
    "TIFF of tiles of 2^30 pixels": lambda: tiff(tile_width=2**15, tile_height=2**15),
    "TIFF of JPEG": lambda: tiff(compression=7),
    "TIFF without a size": lambda: tiff().replace(struct.pack("<HH", 256, 4), b"\xff\0\4\0"),
    "TIFF whose width is stated twice": lambda: tiff().replace(
        struct.pack("<HH", 257, 4), struct.pack("<HH", 256, 4)
    ),
    "BMP of 30000x30000": lambda: (
        encoded(".bmp")[:18] + struct.pack("<ii", 30000, 30000) + encoded(".bmp")[26:]
    ),
    "PPM of 2^20 squared": lambda: b"P6 1048576 1048576 255\n" + bytes(64),
    "array of 2^40 samples": lambda: npy((2**20, 2**20)),
    "array of 2^200 samples": lambda: npy((2**100, 2**100)),
    "array of negative extents": lambda: npy((-(2**20), -(2**20))),
    "array of large samples": lambda: npy((64, 64), "|S1000000"),
    "packed array of 1 GiB": lambda: npz(npy((2**15, 2**15)), 2**22),
}
OTHERS = {
    "GIF": b"GIF89a\1\0\1\0\0\0\0;",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),
    "JPEG 2000 codestream": b"\xffO\xffQ" + bytes(64),
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(64),
    "Sun raster": b"\x59\xa6\x6a\x95" + bytes(64),
    "Radiance": b"#?RADIANCE\n" + bytes(64),
    "PAM": b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0",
    "PBM": b"P4\n1 1\n\0",
    "PGM in digits": b"P2\n1 1\n255\n7\n",
    "BigTIFF": b"II+\0\x08\0\0\0" + bytes(64),
    "icon": b"\0\0\1\0\1\0" + bytes(64),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < 2**21
    with pytest.raises(CaptureError, match=r"states|truncated|damaged|store it as PNG"):
        read_frame(path, Modality.RGB)


@pytest.mark.parametrize("name", OTHERS)
def test_another_format_is_refused_under_the_name_of_a_known_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(OTHERS[name])
    with pytest.raises(CaptureError, match=r"store it as PNG"):
        read_frame(path, Modality.RGB)


def test_a_bomb_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(encoded(".png"))
    bombs = []
    for number, make in enumerate(BOMBS.values()):
        bombs.append(tmp_path / f"{number}.png")
        bombs[-1].write_bytes(make())
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.write(encoded(".png"))
        file.truncate(FileKind.FRAME.max_bytes)
    zero, large = tmp_path / "zero.png", tmp_path / "large.png"
    zero.symlink_to("/dev/zero")
    with large.open("wb") as file:
        file.truncate(2**33)
    found = readings("color", [*bombs, sparse, zero, large], warm=good)
    require_bounded(found, "states", "truncated", "damaged", "store it as PNG", "holes", "cannot")


def test_the_largest_frame_of_the_limit_is_read(tmp_path: Path) -> None:
    assert 7680 * 4320 <= MAX_PIXELS < 5793 * 5793
    path = tmp_path / "x.png"
    path.write_bytes(png(1024, 2, body=zlib.compress(bytes(2 * (1 + 3 * 1024)))))
    assert read_frame(path, Modality.RGB).shape == (2, 1024, 3)
