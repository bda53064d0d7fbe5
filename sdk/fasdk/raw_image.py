"""Image files without compression, whose samples are read as they stand: BMP, PGM, PPM and PFM."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import CaptureError
from fasdk.image_extent import require_bounded, truncated

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PNM = re.compile(rb"P([56f])(?:\s+|#[^\n]{0,1000}\n)")
_WORD = re.compile(rb"(?:\s|#[^\n]{0,1000}\n){0,1000}([-+.\deE]{1,20})")
_UNREAD_PNM = re.compile(rb"P[1-4F]\s")
_BITFIELDS = 3
_BGRA_MASKS = (0xFF0000, 0xFF00, 0xFF)


@dataclass(frozen=True)
class RawImage:
    """Header of a file whose samples stand in it as they are.

    Attributes:
        size: Width and height in pixels.
        kind: Type of a sample as stored.
        channels: Samples of a pixel as stored.
        begin: Offset of the first sample in the file.
        row_bytes: Bytes from one row to the next.
        bits: Significant bits of a sample where the file states them.
        bottom_up: Whether the last row is stored first.
        red_first: Whether color is stored red first.
        palette: uint8 [256, 3], blue first, that samples are indices into; None where they are not.
        scale: What samples are divided by.
    """

    size: tuple[int, int]
    kind: np.dtype[Any]
    channels: int
    begin: int
    row_bytes: int
    bits: int | None = None
    bottom_up: bool = False
    red_first: bool = False
    palette: NDArray[np.uint8] | None = None
    scale: float = 1.0

    @property
    def end(self) -> int:
        """Number of bytes up to the last sample."""
        width, height = self.size
        used = width * self.channels * self.kind.itemsize
        return self.begin + (height - 1) * self.row_bytes + used

    def planes(self, data: bytes) -> NDArray[Any]:
        """Return [H, W, channels], blue first, of the whole file.

        Raises:
            CaptureError: The file is truncated.
        """
        if self.end > len(data):
            raise truncated(f"it has {len(data)} of {self.end} bytes")
        width, height = self.size
        rows = np.ndarray(
            (height, width, self.channels),
            self.kind,
            data,
            self.begin,
            (self.row_bytes, self.channels * self.kind.itemsize, self.kind.itemsize),
        )
        if self.bottom_up:
            rows = rows[::-1]
        if self.red_first:
            rows = rows[..., ::-1]
        if self.palette is not None:
            rows = self.palette[rows[..., 0]]
            if bool((self.palette == self.palette[:, :1]).all()):
                rows = rows[..., :1]
        # Machine order, and no view of the file.
        own = np.array(rows, self.kind.newbyteorder("="), order="C")
        return own if self.scale == 1.0 else own / own.dtype.type(self.scale)


def raw_image(data: bytes) -> RawImage | None:
    """Return the header of a BMP, PGM, PPM or PFM file; None for other files.

    Raises:
        CaptureError: It is damaged, larger than a frame, or of a kind that is not read.
    """
    if data.startswith(b"BM") and len(data) >= 54:
        return _bmp(data)
    if _UNREAD_PNM.match(data):
        raise CaptureError(
            "it is a bitmap, a picture in digits or a PFM of color, which are not read: store it "
            "as PNG"
        )
    found = _PNM.match(data)
    return None if found is None else _pnm(data, found[1], 2)


def _bmp(data: bytes) -> RawImage:
    begin, header, width, height = struct.unpack("<IIii", data[10:26])
    planes, bits, compression = struct.unpack("<HHI", data[26:34])
    (colors,) = struct.unpack("<I", data[46:50])
    masks = struct.unpack("<III", data[54:66]) if compression == _BITFIELDS and bits == 32 else ()
    is_read = header >= 40 and planes == 1 and bits in (8, 24, 32) and colors <= 256
    if not is_read or masks not in ((), _BGRA_MASKS) or compression not in (0, _BITFIELDS):
        raise CaptureError(
            "it is a BMP file that is packed, or not of 8, 24 or 32 bits: store it as PNG"
        )
    if compression == _BITFIELDS and bits != 32:
        raise CaptureError("it is a damaged BMP file: store it as PNG")
    require_bounded(width, abs(height), 4)
    palette = None
    if bits == 8:
        entries = data[14 + header : 14 + header + 4 * (colors or 256)]
        if len(entries) < 4 * (colors or 256) or begin < 14 + header + len(entries):
            raise truncated("the BMP file ends inside its palette")
        palette = np.zeros((256, 3), np.uint8)
        read = np.frombuffer(entries, np.uint8).reshape(-1, 4)
        palette[: len(read)] = read[:, :3]
    row_bytes = -(-width * bits // 32) * 4
    return RawImage(
        (width, abs(height)),
        np.dtype(np.uint8),
        bits // 8,
        begin,
        row_bytes,
        bottom_up=height > 0,
        palette=palette,
    )


def _pnm(data: bytes, form: bytes, at: int) -> RawImage:
    words: list[bytes] = []
    for _ in range(3):
        found = _WORD.match(data, at)
        if found is None:
            raise _no_sizes()
        words.append(found[1])
        at = found.end()
    try:
        width, height, last = int(words[0]), int(words[1]), float(words[2])
    except ValueError:
        raise _no_sizes() from None
    if not data[at : at + 1].isspace():
        raise _no_sizes()
    channels = 3 if form == b"6" else 1
    bits: int | None = None
    if form == b"f":
        if not (np.isfinite(last) and last != 0):
            raise _no_sizes()
        kind: np.dtype[Any] = np.dtype("<f4" if last < 0 else ">f4")
    else:
        if not (last.is_integer() and 1 <= last <= 65535):
            raise _no_sizes()
        bits = int(last).bit_length()
        kind = np.dtype(np.uint8 if bits <= 8 else ">u2")
    require_bounded(width, height, channels * kind.itemsize)
    return RawImage(
        (width, height),
        kind,
        channels,
        at + 1,
        width * channels * kind.itemsize,
        bits,
        bottom_up=form == b"f",
        red_first=channels == 3,
        scale=abs(last) if form == b"f" else 1.0,
    )


def _no_sizes() -> CaptureError:
    return CaptureError("it is damaged: its PGM, PPM or PFM header holds no sizes")
