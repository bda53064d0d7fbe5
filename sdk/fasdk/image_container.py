"""Image containers walked from their start to their end: size, end, orientation and bits."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fasdk.errors import CaptureError
from fasdk.file_signatures import FirstBytes

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PIXELS = 2**25
"""Most pixels of a frame, 33.5 million: a frame of 7680 x 4320 fits."""
MAX_DECODED_BYTES = 2**28
"""Most bytes of a decoded frame: of `MAX_PIXELS`, four samples of 16 bits."""
_FIRST_OF_SEVERAL = "of several pictures in a file the first is taken"
_MAX_PARTS = 2**17  # chunks of a PNG or WebP, segments of a JPEG
# What the decoder gets of a PNG: nothing of animations, profiles and texts.
_PNG_DECODED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # by color type; a palette may hold opacity
_DEFLATE_RATIO = 1032  # deflate shrinks nothing further
_MAX_SCANS = 64  # of a progressive JPEG, each a pass over all pixels; encoders write 10
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
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


@dataclass(frozen=True)
class Extent:
    """What a walk over a container found.

    Attributes:
        end: Number of bytes up to and with its end marker.
        size: Width and height in pixels as stored.
        channels: Most samples that a pixel has once decoded.
        sample_bytes: Bytes of a decoded sample.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        bits: Significant bits of a sample where the container states them.
        notes: What was decided about the container, each a kind of remark.
        decoded: Bytes for the decoder; None for those up to the end.
    """

    end: int
    size: tuple[int, int]
    channels: int = 1
    sample_bytes: int = 1
    orientation: int = 1
    bits: int | None = None
    notes: tuple[str, ...] = field(default=())
    decoded: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse a size that no frame has, before anything is decoded."""
        require_bounded(*self.size, self.channels * self.sample_bytes)


def require_bounded(width: int, height: int, pixel_bytes: int) -> None:
    """Refuse a picture that is empty, or larger than any camera's frame.

    Raises:
        CaptureError: It has no pixel, more than `MAX_PIXELS`, or more bytes than
            `MAX_DECODED_BYTES` once decoded.
    """
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise CaptureError(
            f"its header states {width}x{height} pixels, expected 1 to {MAX_PIXELS}: give a "
            "camera's frame"
        )
    if width * height * pixel_bytes > MAX_DECODED_BYTES:
        raise CaptureError(
            f"its header states {width}x{height} pixels of {pixel_bytes} bytes, expected at most "
            f"{MAX_DECODED_BYTES} bytes in all: give a camera's frame"
        )


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
        return _jpeg_extent(data, header_only=header_only)
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
    for _ in range(_MAX_PARTS):
        if at + 8 > len(data):
            break
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + min(length, 2**16)]
        if kind == b"ANIM":
            notes = (_FIRST_OF_SEVERAL,)
        if kind == b"EXIF":
            orientation = _exif_orientation(body.removeprefix(b"Exif\0\0"))
        size = _webp_size(kind, body)
        if size is not None:
            sizes.append(size)
        at += 8 + length + length % 2
    else:
        raise _too_many_parts("chunks of a WebP file")
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
            orientation = _exif_orientation(body)
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
    for _ in range(_MAX_PARTS):
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
    raise _too_many_parts("chunks of a PNG file")


@dataclass(frozen=True)
class _JpegFrame:
    """What a JPEG's start of frame states: size in pixels, and the blocks its scans must hold."""

    size: tuple[int, int]
    channels: int
    blocks: int

    @classmethod
    def of(cls, marker: int, body: bytes) -> _JpegFrame:
        """Read the segment.

        Raises:
            CaptureError: It is of a kind that is not decoded right, damaged, or too large.
        """
        if marker not in (0xC0, 0xC1, 0xC2) or body[:1] != b"\x08":
            raise CaptureError(
                "it is a JPEG file of a kind that is not read (arithmetic coded, without loss, "
                "hierarchical, or not of 8 bits): store it as PNG"
            )
        channels = body[5] if len(body) > 5 else 0
        if channels not in (1, 3, 4) or len(body) < 6 + 3 * channels:
            raise CaptureError("it is damaged: its JPEG header is none: copy the file again")
        height, width = struct.unpack(">HH", body[1:5])
        require_bounded(width, height, channels)
        sampling = [body[7 + 3 * i] for i in range(channels)]
        across = 8 * max(1, *(s >> 4 for s in sampling))
        down = 8 * max(1, *(s & 15 for s in sampling))
        return cls((width, height), channels, -(-width // across) * -(-height // down) * channels)


def _jpeg_extent(data: bytes, *, header_only: bool) -> Extent:
    """Walk the segments and scans; a thumbnail inside a segment has an end marker of its own."""
    whole, orientation, scans, coded = 0, 1, 0, 0
    frame: _JpegFrame | None = None
    for marker, body, coded_bytes, end in _jpeg_segments(data):
        whole = end
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise CaptureError("it is damaged: it has two JPEG headers: copy the file again")
            frame = _JpegFrame.of(marker, body)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body[6:])
        elif marker == 0xDA:
            scans, coded = scans + 1, coded + coded_bytes
            if scans > _MAX_SCANS:
                raise CaptureError(
                    f"it is a JPEG file of more than {_MAX_SCANS} scans: store it as PNG"
                )
        if header_only and frame is not None:
            return Extent(len(data), frame.size, frame.channels, 1, orientation)
    if frame is None:
        raise CaptureError("it is damaged: its JPEG header is none: copy the file again")
    if 8 * coded < frame.blocks:  # a block takes a bit at least
        width, height = frame.size
        raise truncated(f"the JPEG file has {coded} bytes for {width}x{height} pixels")
    return Extent(whole, frame.size, frame.channels, 1, orientation)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield marker, body, length of the coded data that follows, and end of every segment.

    Raises:
        CaptureError: No marker stands where one must, or the end marker is not reached.
    """
    at = 2
    for _ in range(_MAX_PARTS):
        if data[at : at + 2] == b"\xff\xd9":
            yield 0xD9, b"", 0, at + 2
            return
        if at + 4 > len(data):
            break
        if data[at] != 0xFF:
            raise CaptureError("it is damaged: no JPEG marker stands where one must")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            begin, at = at + 4, at + 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
            body, coded = data[begin:at], at
            if marker == 0xDA:
                found = _END_OF_SCAN.search(data, at)
                at = len(data) if found is None else found.start()
            yield marker, body, at - coded, at
    else:
        raise _too_many_parts("segments of a JPEG file")
    raise truncated("the JPEG file has no end marker")


def _exif_orientation(tiff: bytes) -> int:
    if not tiff.startswith(FirstBytes.TIFF):
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
            if tag in found or width is None or not 1 <= number <= _MAX_PARTS:
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


def truncated(what: str) -> CaptureError:
    """Return the error for a file that ends too early."""
    return CaptureError(f"it is truncated: {what}: copy the file again")


def _too_many_parts(what: str) -> CaptureError:
    return CaptureError(f"it has more than {_MAX_PARTS} {what}: store it again as PNG")
