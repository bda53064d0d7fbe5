"""Image containers walked from their start to their end: size, end, orientation and bits."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from fasdk.errors import CaptureError

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*")
# Width, height, photometric interpretation, strips, orientation, tiles.
_TIFF_TAGS = {256, 257, 262, 273, 274, 279, 324, 325}
_TIFF_COLORS = {0, 1, 2, 3, 5, 6}  # gray, RGB, palette, CMYK, YCbCr: what OpenCV converts
_FIRST_OF_SEVERAL = "of several pictures in a file the first is taken"


@dataclass(frozen=True)
class Extent:
    """What a walk over a container found.

    Attributes:
        end: Number of bytes up to and with its end marker.
        size: Width and height in pixels as stored, or None where they are not known.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        bits: Significant bits of a sample where the container states them.
        notes: What was decided about the container, each a kind of remark.
    """

    end: int
    size: tuple[int, int] | None = None
    orientation: int = 1
    bits: int | None = None
    notes: tuple[str, ...] = field(default=())


def extent_of(data: bytes, *, header_only: bool = False) -> Extent:
    """Return what a walk over a file's container finds.

    Args:
        data: The whole file, or with `header_only` its first bytes.
        header_only: Stop where the size is known.

    Raises:
        CaptureError: The container is truncated or damaged, or of a kind that is not decoded right.
    """
    if data.startswith(PNG):
        found = _png_extent(data, header_only=header_only)
    elif data.startswith(JPEG):
        found = _jpeg_extent(data, header_only=header_only)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = _webp_extent(data, header_only=header_only)
    elif data.startswith(b"BM") and len(data) >= 26:
        found = _bmp_extent(data, header_only=header_only)
    elif data.startswith(TIFF):
        found = _tiff_extent(data)
    elif data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3].isspace():
        found = _pnm_extent(data, header_only=header_only)
    else:
        found = Extent(len(data))
    return found


def _webp_extent(data: bytes, *, header_only: bool) -> Extent:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) and not header_only:
        raise truncated(f"the WebP file has {len(data)} of {end} bytes")
    at, orientation = 12, 1
    notes: tuple[str, ...] = ()
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANIM":
            notes = (_FIRST_OF_SEVERAL,)
        if data[at : at + 4] == b"EXIF":
            body = data[at + 8 : at + 8 + length]
            orientation = _exif_orientation(body.removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return Extent(min(end, len(data)), _webp_size(data), orientation, notes=notes)


def _bmp_extent(data: bytes, *, header_only: bool) -> Extent:
    declared = int.from_bytes(data[2:6], "little")
    width, height = struct.unpack("<ii", data[18:26])
    if declared > len(data) and not header_only:
        raise truncated(f"the BMP file has {len(data)} of {declared} bytes")
    return Extent(len(data), (abs(width), abs(height)))


def _png_extent(data: bytes, *, header_only: bool) -> Extent:
    if len(data) < 33:
        raise truncated("the PNG file ends inside its header")
    width, height = struct.unpack(">II", data[16:24])
    if header_only:
        return Extent(len(data), (width, height))
    at, bits, orientation = 8, None, 1
    notes: tuple[str, ...] = ()
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT" and length:
            bits = max(data[at + 8 : at + 8 + length])
        if kind == b"acTL":
            notes = (_FIRST_OF_SEVERAL,)
        if kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
        if at > len(data):
            break
        body = data[at - 8 - length : at - 4]
        if zlib.crc32(body) != int.from_bytes(data[at - 4 : at], "big"):
            raise CaptureError(
                f"it is damaged: the checksum of PNG chunk {kind.decode('latin-1')!r} is wrong: "
                "copy the file again"
            )
        if kind == b"IEND":
            return Extent(at, (width, height), orientation, bits, notes)
    raise truncated("the PNG file has no end")


def _jpeg_extent(data: bytes, *, header_only: bool) -> Extent:
    """Walk the segments and scans; a thumbnail inside a segment has an end marker of its own."""
    at, size, orientation = 2, None, 1
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise CaptureError("it is damaged: no JPEG marker stands where one must")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 5:
            height, width = struct.unpack(">HH", body[1:5])
            size = (width, height)
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body[6:])
        at += 2 + length
        if header_only and size is not None:
            return Extent(len(data), size, orientation)
        if marker == 0xDA:
            at = _after_scan(data, at)
    if at + 2 <= len(data) and data[at : at + 2] == b"\xff\xd9":
        return Extent(at + 2, size, orientation)
    raise truncated("the JPEG file has no end marker")


def _after_scan(data: bytes, at: int) -> int:
    """Return where the next marker after entropy-coded data stands, or the end of the data."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        following = data[at + 1]
        if following != 0 and not 0xD0 <= following <= 0xD7 and following != 0xFF:
            return at
        at += 1 if following == 0xFF else 2


def _exif_orientation(tiff: bytes) -> int:
    if not tiff.startswith(TIFF):
        return 1
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (at,) = struct.unpack(f"{order}I", tiff[4:8])
        (count,) = struct.unpack(f"{order}H", tiff[at : at + 2])
        for index in range(count):
            entry = at + 2 + 12 * index
            tag, kind = struct.unpack(f"{order}HH", tiff[entry : entry + 4])
            if tag == 0x0112 and kind == 3:
                (value,) = struct.unpack(f"{order}H", tiff[entry + 8 : entry + 10])
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        wide, high = data[24:27], data[27:30]
        return 1 + int.from_bytes(wide, "little"), 1 + int.from_bytes(high, "little")
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def _tiff_extent(data: bytes) -> Extent:
    order = "<" if data.startswith(b"II") else ">"
    found: dict[int, tuple[int, ...]] = {}
    try:
        (at,) = struct.unpack(f"{order}I", data[4:8])
        (count,) = struct.unpack(f"{order}H", data[at : at + 2])
        for index in range(count):
            entry = at + 2 + 12 * index
            tag, kind, number = struct.unpack(f"{order}HHI", data[entry : entry + 8])
            width = {3: 2, 4: 4}.get(kind)
            if tag in _TIFF_TAGS and width is not None:
                start = entry + 8
                if number * width > 4:
                    (start,) = struct.unpack(f"{order}I", data[start : start + 4])
                raw = data[start : start + number * width]
                found[tag] = struct.unpack(f"{order}{number}{'H' if width == 2 else 'I'}", raw)
        following = at + 2 + 12 * count
        (next_page,) = struct.unpack(f"{order}I", data[following : following + 4])
    except struct.error:
        raise truncated("the TIFF file ends inside its directory") from None
    for offsets, counts in ((273, 279), (324, 325)):  # of strips, of tiles
        ends = [a + b for a, b in zip(found.get(offsets, ()), found.get(counts, ()), strict=False)]
        if ends and max(ends) > len(data):
            raise truncated(f"the TIFF file has {len(data)} of {max(ends)} bytes")
    photometric = found.get(262, (1,))[0]
    if photometric not in _TIFF_COLORS:
        raise CaptureError(f"its TIFF color space {photometric} is not read: store it as PNG")
    size = (found[256][0], found[257][0]) if 256 in found and 257 in found else None
    notes = (_FIRST_OF_SEVERAL,) if next_page else ()
    return Extent(len(data), size, found.get(274, (1,))[0], notes=notes)


def _pnm_extent(data: bytes, *, header_only: bool) -> Extent:
    kind = data[1:2]
    wanted = 2 if kind in b"14" else 3
    values: list[bytes] = []
    at = 2
    while len(values) < wanted and at < len(data):
        if data[at : at + 1].isspace():
            at += 1
        elif data[at : at + 1] == b"#":
            at = (data + b"\n").index(b"\n", at)
        else:
            end = at
            while end < len(data) and not data[end : end + 1].isspace():
                end += 1
            values.append(data[at:end])
            at = end
    try:
        width, height = int(values[0]), int(values[1])
        bits = int(values[2]).bit_length() if wanted == 3 and kind not in b"fF" else None
    except (ValueError, IndexError):
        raise CaptureError("it is damaged: its PGM or PPM header holds no sizes") from None
    sample = {b"5": 1, b"6": 3, b"f": 4, b"F": 12}.get(kind)
    if sample is None or header_only:
        return Extent(len(data), (width, height), bits=bits)
    if bits is not None and bits > 8:
        sample *= 2
    end = at + 1 + width * height * sample
    if end > len(data):
        raise truncated(f"the PGM or PPM file has {len(data)} of {end} bytes")
    return Extent(end, (width, height), bits=bits)


def truncated(what: str) -> CaptureError:
    """Return the error for a file that ends too early."""
    return CaptureError(f"it is truncated: {what}: copy the file again")
