"""Pictures that were cut short and end as whole ones do: a frame that is half gray or half old.

A copy that broke off, or an attacker who wants part of a face away. Each is refused; libjpeg alone
would say so to stderr and fill the rest with gray.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from fasdk.errors import CaptureError
from fasdk.image_file import decode

END = b"\xff\xd9"
ROWS, COLUMNS = np.mgrid[0:60, 0:92]
COLOR = np.stack([ROWS * 4, COLUMNS * 2, ROWS + COLUMNS], -1).astype(np.uint8)
JPEG_FORMS = {
    "sequential": (COLOR, ()),
    "gray": (COLOR[..., 1], ()),
    "restarts": (COLOR, (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)),
    "progressive": (COLOR, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    "not subsampled": (COLOR, (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)),
}


def encoded(suffix, frame, *options):
    found, data = cv2.imencode(suffix, frame, options)
    assert found
    return data.tobytes()


@pytest.mark.parametrize("name", JPEG_FORMS)
def test_a_jpeg_that_ends_early_is_refused_although_it_has_an_end_marker(name):
    frame, options = JPEG_FORMS[name]
    whole = encoded(".jpg", frame, *options)
    planes = decode(whole).planes
    scan = whole.index(b"\xff\xda")
    for share in (0.02, 0.3, 0.6, 0.9):
        cut = whole[: scan + 14 + int((len(whole) - scan - 14) * share)].rstrip(b"\xff") + END
        try:
            found = decode(cut).planes
        except CaptureError as error:
            assert "it is truncated" in str(error)
        else:  # of a progressive one the last scan alone, which holds the lowest bits
            assert name == "progressive" and share >= 0.6
            assert np.abs(found.astype(int) - planes).max() < 32


def test_a_scan_that_is_missing_is_missed():
    whole = encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for scan in range(1, whole.count(b"\xff\xda")):
        at = -1
        for _ in range(scan + 1):
            at = whole.index(b"\xff\xda", at + 1)
        with pytest.raises(CaptureError, match="lacks scans"):
            decode(whole[:at] + END)


@pytest.mark.parametrize("gray", [COLOR, COLOR[..., 1]], ids=["color", "gray"])
def test_a_picture_that_is_gray_in_that_corner_stays_one(gray):
    frame = gray.copy()
    frame[-20:, -20:] = 128
    planes = decode(encoded(".jpg", frame, cv2.IMWRITE_JPEG_QUALITY, 98)).planes
    assert (planes[-4:, -4:] == 128).all()


def png_of(content):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">2I5B", 92, 60, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    )


def test_a_png_whose_rows_end_early_is_refused():
    rows = b"".join(b"\0" + row.tobytes() for row in COLOR)
    packed = zlib.compress(rows)
    assert decode(png_of(packed)).planes.shape == COLOR.shape
    for content in (packed[: len(packed) // 2], zlib.compress(rows[:-300])):
        with pytest.raises(CaptureError, match="cannot decode what follows: copy the file again"):
            decode(png_of(content))


@pytest.mark.parametrize("quality", [80, 101], ids=["lossy", "lossless"])
def test_a_webp_whose_picture_ends_early_is_refused(quality):
    whole = encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, quality)
    body = whole[20 : 20 + (len(whole) - 20) // 4 * 2]
    cut = whole[8:16] + struct.pack("<I", len(body)) + body
    with pytest.raises(CaptureError, match="cannot decode what follows"):
        decode(b"RIFF" + struct.pack("<I", len(cut)) + cut)
