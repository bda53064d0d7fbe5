"""Image containers walked from their start to their end: size, end, orientation and bits."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from fasdk.errors import CaptureError
from fasdk.file_signatures import FirstBytes
from fasdk.image_extent import (
    MAX_PARTS,
    Extent,
    exif_orientation,
    require_bounded,
    too_many_parts,
    truncated,
)
from fasdk.jpeg_file import jpeg_extent

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_OF_SEVERAL = "of several pictures in a file the first is taken"
# What the decoder gets of a PNG: nothing of animations, profiles and texts.
_PNG_DECODED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # by color type; a palette may hold opacity
_DEFLATE_RATIO = 1032  # deflate shrinks nothing further
_TIFF_COLORS = {0, 1, 2, 3, 5}  # gray, RGB, palette, CMYK: what OpenCV converts
# Most bytes that a stored byte becomes: without compression, LZW, deflate twice, PackBits.
_TIFF_RATIOS = {1: 1, 5: 2000, 8: _DEFLATE_RATIO, 32946: _DEFLATE_RATIO, 32773: 64}
_TIFF_BITS = {8, 16, 32, 64}
_WHOLE_STRIP = 2**32 - 1  # rows of a strip that holds the picture


class _Tag:
    """Tags of a TIFF that bound its decoding."""

    WIDTH, HEIGHT, BITS, COMPRESSION, COLOR = 256, 257, 258, 259, 262
    STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES = 273, 274, 277, 278, 279
    TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325


_TIFF_TAGS = {value for name, value in vars(_Tag).items() if name.isupper()}


def extent_of(data: bytes, *, header_only: bool = False) -> Extent | None:
    """Return what a walk over a file's container finds; None for other files.

    Args:
        data: The whole file, or with `header_only` its first bytes: PNG, JPEG, TIFF or WebP.
        header_only: Stop where the size is known.

    Raises:
        CaptureError: The container is truncated or damaged, larger than a frame, or of a kind that
            is not decoded right.
    """
    if data.startswith(FirstBytes.PNG):
        return _png_extent(data, header_only=header_only)
    if data.startswith(FirstBytes.JPEG):
        return jpeg_extent(data, header_only=header_only)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_extent(data, header_only=header_only)
    if data.startswith(FirstBytes.TIFF):
        return _tiff_extent(data, header_only=header_only)
    return None


def _webp_extent(data: bytes, *, header_only: bool) -> Extent:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) and not header_only:
        raise truncated(f"the WebP file has {len(data)} of {end} bytes")
    at, orientation = 12, 1
    notes: tuple[str, ...] = ()
    sizes: list[tuple[int, int]] = []
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            break
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + min(length, 2**16)]
        if kind == b"ANIM":
            notes = (_FIRST_OF_SEVERAL,)
        if kind == b"EXIF":
            orientation = exif_orientation(body.removeprefix(b"Exif\0\0"))
        size = _webp_size(kind, body)
        if size is not None:
            sizes.append(size)
        at += 8 + length + length % 2
    else:
        raise too_many_parts("chunks of a WebP file")
    if not sizes:
        raise CaptureError("it is damaged: its WebP header holds no size: copy the file again")
    if any(size[0] > sizes[0][0] or size[1] > sizes[0][1] for size in sizes):
        raise CaptureError("it is damaged: a WebP picture is larger than its canvas")
    # Opacity is decoded too, and the canvas of an animation once more.
    return Extent(min(end, len(data)), sizes[0], 4, 1, orientation, notes=notes)


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    """Return width and height that a chunk states, or None."""
    if kind == b"VP8X" and len(body) >= 10:
        wide, high = body[4:7], body[7:10]
    elif kind == b"ANMF" and len(body) >= 16:
        wide, high = body[6:9], body[9:12]
    elif kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        return None
    return 1 + int.from_bytes(wide, "little"), 1 + int.from_bytes(high, "little")


def _png_extent(data: bytes, *, header_only: bool) -> Extent:
    if len(data) < 33:
        raise truncated("the PNG file ends inside its header")
    if data[12:16] != b"IHDR":
        raise CaptureError("it is damaged: a PNG file begins with its header: copy the file again")
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    channels, sample_bytes = _PNG_CHANNELS.get(color, 4), 2 if depth > 8 else 1
    if header_only:
        return Extent(len(data), (width, height), channels, sample_bytes)
    require_bounded(width, height, channels * sample_bytes)
    end, bits, orientation, packed = 8, None, 1, 0
    notes: tuple[str, ...] = ()
    kept = [data[:8]]
    for kind, begin, end in _png_chunks(data):
        body = data[begin + 8 : min(end - 4, begin + 2**16)]
        if kind == b"sBIT" and body:
            bits = max(body)
        elif kind == b"acTL":
            notes = (_FIRST_OF_SEVERAL,)
        elif kind == b"eXIf":
            orientation = exif_orientation(body)
        elif kind == b"IDAT":
            packed += end - begin - 12
        if kind in _PNG_DECODED:
            kept.append(data[begin:end])
    stored = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(color, 4) * depth
    if height * (width * stored // 8) > packed * _DEFLATE_RATIO:
        raise truncated(f"the PNG file has {packed} bytes for {width}x{height} pixels")
    return Extent(
        end, (width, height), channels, sample_bytes, orientation, bits, notes, b"".join(kept)
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of every chunk up to the last one, its checksum proven.

    Raises:
        CaptureError: A checksum is wrong, or the last chunk is not reached.
    """
    at = 8
    for _ in range(MAX_PARTS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        begin, at = at, at + 12 + length
        if at > len(data):
            raise truncated("the PNG file has no end")
        if zlib.crc32(data[begin + 4 : at - 4]) != int.from_bytes(data[at - 4 : at], "big"):
            raise CaptureError(
                f"it is damaged: the checksum of PNG chunk {kind.decode('latin-1')!r} is wrong: "
                "copy the file again"
            )
        yield kind, begin, at
        if kind == b"IEND":
            return
    raise too_many_parts("chunks of a PNG file")


def _tiff_extent(data: bytes, *, header_only: bool) -> Extent:
    """Read the directory of the first picture; what bounds decoding must be stated, and once."""
    found, has_next = _tiff_directory(data)
    width, height = found.get(_Tag.WIDTH, (0,))[0], found.get(_Tag.HEIGHT, (0,))[0]
    samples, bits = found.get(_Tag.SAMPLES, (1,))[0], found.get(_Tag.BITS, (1,))
    color = found.get(_Tag.COLOR, (1,))[0]
    if color not in _TIFF_COLORS:
        raise CaptureError(f"its TIFF color space {color} is not read: store it as PNG")
    if not 1 <= samples <= 4 or set(bits) - _TIFF_BITS or len(set(bits)) != 1:
        shown = ", ".join(map(str, bits[:5]))
        raise CaptureError(
            f"its TIFF pixels are {samples} samples of {shown} bits, expected 1 to 4 of 8, 16, 32 "
            "or 64 bits: store it as PNG"
        )
    sample_bytes = bits[0] // 8
    channels = max(samples, 3) if color in (3, 5) else samples
    require_bounded(width, height, channels * sample_bytes)
    ratio = _TIFF_RATIOS.get(found.get(_Tag.COMPRESSION, (1,))[0])
    if ratio is None:
        raise CaptureError(
            f"its TIFF compression {found[_Tag.COMPRESSION][0]} is not read: store it as PNG"
        )
    rows = found.get(_Tag.STRIP_ROWS, (_WHOLE_STRIP,))[0]
    tile = found.get(_Tag.TILE_WIDTH, (width,))[0], found.get(_Tag.TILE_HEIGHT, (1,))[0]
    for across, down in (tile, (width, 1 if rows == _WHOLE_STRIP else rows)):
        require_bounded(across, down, channels * sample_bytes)
    extent = Extent(
        len(data),
        (width, height),
        channels,
        sample_bytes,
        found.get(_Tag.ORIENTATION, (1,))[0],
        notes=(_FIRST_OF_SEVERAL,) if has_next else (),
    )
    if not header_only:
        _require_stored(data, found, width * height * samples * sample_bytes // ratio)
    return extent


def _require_stored(data: bytes, found: dict[int, tuple[int, ...]], least: int) -> None:
    """Refuse a TIFF whose strips or tiles leave the file, or are too few bytes for its pixels."""
    stored = 0
    for offsets, counts in (
        (_Tag.STRIP_OFFSETS, _Tag.STRIP_BYTES),
        (_Tag.TILE_OFFSETS, _Tag.TILE_BYTES),
    ):
        lengths = found.get(counts, ())
        ends = [a + b for a, b in zip(found.get(offsets, ()), lengths, strict=False)]
        if ends and max(ends) > len(data):
            raise truncated(f"the TIFF file has {len(data)} of {max(ends)} bytes")
        stored += sum(lengths)
    if min(stored, len(data)) < least:
        raise truncated(f"the TIFF file has {min(stored, len(data))} bytes for its pixels")


def _tiff_directory(data: bytes) -> tuple[dict[int, tuple[int, ...]], bool]:
    """Return the values of the first directory's tags that bound decoding, and if one follows."""
    order = "<" if data.startswith(b"II") else ">"
    found: dict[int, tuple[int, ...]] = {}
    try:
        (at,) = struct.unpack(f"{order}I", data[4:8])
        (count,) = struct.unpack(f"{order}H", data[at : at + 2])
        for index in range(count):
            entry = at + 2 + 12 * index
            tag, kind, number = struct.unpack(f"{order}HHI", data[entry : entry + 8])
            if tag not in _TIFF_TAGS:
                continue
            width = {3: 2, 4: 4}.get(kind)
            if tag in found or width is None or not 1 <= number <= MAX_PARTS:
                raise CaptureError(f"it is damaged: TIFF tag {tag} is none: store it as PNG")
            start = entry + 8
            if number * width > 4:
                (start,) = struct.unpack(f"{order}I", data[start : start + 4])
            raw = data[start : start + number * width]
            found[tag] = struct.unpack(f"{order}{number}{'H' if width == 2 else 'I'}", raw)
        following = at + 2 + 12 * count
        (next_page,) = struct.unpack(f"{order}I", data[following : following + 4])
    except struct.error:
        raise truncated("the TIFF file ends inside its directory") from None
    return found, bool(next_page)
