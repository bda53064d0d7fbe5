"""Image containers: their kind, size, end and orientation, and the planes they hold.

The content decides what a file is, not its name. A container is walked to its end before it is
decoded, so that half a file is refused and bytes after the end are left out.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_FILE_BYTES = 2**30
MAX_PIXELS = 2**27  # 134 million: larger than any camera's frame, 400 MB as 8-bit color

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*")
_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
# First bytes of what is often saved under an image's name and is none that can be read here.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file: store the array as a 32-bit TIFF or as .npy instead"),
    (b"%PDF", "a PDF document: store the picture as PNG"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video: store its frames as PNG"),
    (b"SIMPLE  =", "a FITS file: store the array as a 32-bit TIFF or as .npy"),
    (b"\x89HDF", "an HDF5 file: store its frames as PNG or .npy"),
    (b"\x80\x04", "a Python pickle, which is never loaded: store the array with numpy.save"),
    (b"\x80\x05", "a Python pickle, which is never loaded: store the array with numpy.save"),
)
_CONTAINER_BRANDS = {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}


@dataclass(frozen=True, eq=False)
class Image:
    """Decoded image.

    Attributes:
        planes: [H, W, channels]: blue, green, red where there are three, then opacity.
        lossy: Whether it was compressed with loss of levels (JPEG, or WebP of that kind).
        bits: Significant bits of a sample as the file states them, None where it does not.
        notes: What was decided about the file, each a kind of remark without its path.
    """

    planes: NDArray[Any]
    lossy: bool = False
    bits: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Extent:
    """What a walk over a container found.

    Attributes:
        end: Number of bytes up to and with its end marker.
        size: Width and height in pixels as stored, or None where they are not known.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        bits: Significant bits of a sample where the container states them.
    """

    end: int
    size: tuple[int, int] | None = None
    orientation: int = 1
    bits: int | None = None
    notes: tuple[str, ...] = field(default=())


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        CaptureError: It cannot be read, is empty, or is larger than 1 GiB.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CaptureError(
                f"{path} has {size} bytes, more than any frame: at most {MAX_FILE_BYTES} are read"
            )
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise CaptureError(
            f"{path} does not decode as an image: it is empty (0 bytes): write it again, or remove "
            "its line"
        )
    return data


def decode(data: bytes, names: Sequence[str] = ()) -> Image:
    """Return the image that a file's bytes hold, EXIF orientation applied.

    Args:
        data: The whole file: PNG, JPEG, BMP, TIFF, WebP, PGM, PPM, PFM, .npy, .npz or another
            format that OpenCV reads.
        names: Names of the array to take from an .npz file that holds several.

    Raises:
        CaptureError: It is truncated, too large or no image; the message completes "FILE does not
            decode as an image: ".
    """
    if data.startswith(_NPY):
        return _array_image(_load_npy(data))
    if data.startswith(_ZIP):
        return _array_image(_from_npz(data, names))
    _refuse_others(data)
    extent = _extent(data)
    _require_bounded(extent.size)
    notes = list(extent.notes)
    if extent.end < len(data):
        notes.append("bytes after the image's end are left out")
    planes = _decode_with_opencv(data[: extent.end])
    planes = planes[..., None] if planes.ndim == 2 else planes
    lossy = data.startswith(_JPEG) or b"VP8 " in data[8:32]
    # OpenCV turns a TIFF itself.
    is_tiff = data.startswith(_TIFF)
    upright = planes if is_tiff else _upright(planes, extent.orientation)
    return Image(upright, lossy, extent.bits, tuple(notes))


def stored_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as a viewer shows them, from the header alone.

    Returns:
        None where the format's header is not read here, or is damaged.
    """
    try:
        extent = _extent(data, header_only=True)
    except CaptureError:
        return None
    if extent.size is None:
        return None
    width, height = extent.size
    return (height, width) if extent.orientation >= 5 else (width, height)


def _extent(data: bytes, *, header_only: bool = False) -> _Extent:
    if data.startswith(_PNG):
        found = _png_extent(data, header_only=header_only)
    elif data.startswith(_JPEG):
        found = _jpeg_extent(data, header_only=header_only)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = _webp_extent(data, header_only=header_only)
    elif data.startswith(b"BM") and len(data) >= 26:
        found = _bmp_extent(data, header_only=header_only)
    elif data.startswith(_TIFF):
        found = _tiff_extent(data)
    elif data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3].isspace():
        found = _pnm_extent(data, header_only=header_only)
    else:
        found = _Extent(len(data))
    return found


def _webp_extent(data: bytes, *, header_only: bool) -> _Extent:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) and not header_only:
        raise _truncated(f"the WebP file has {len(data)} of {end} bytes")
    at, orientation = 12, 1
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            body = data[at + 8 : at + 8 + length]
            orientation = _exif_orientation(body.removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return _Extent(min(end, len(data)), _webp_size(data), orientation)


def _bmp_extent(data: bytes, *, header_only: bool) -> _Extent:
    declared = int.from_bytes(data[2:6], "little")
    width, height = struct.unpack("<ii", data[18:26])
    if declared > len(data) and not header_only:
        raise _truncated(f"the BMP file has {len(data)} of {declared} bytes")
    return _Extent(len(data), (abs(width), abs(height)))


def _png_extent(data: bytes, *, header_only: bool) -> _Extent:
    if len(data) < 33:
        raise _truncated("the PNG file ends inside its header")
    width, height = struct.unpack(">II", data[16:24])
    if header_only:
        return _Extent(len(data), (width, height))
    at, bits, orientation = 8, None, 1
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT" and length:
            bits = max(data[at + 8 : at + 8 + length])
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
            return _Extent(at, (width, height), orientation, bits)
    raise _truncated("the PNG file has no end")


def _jpeg_extent(data: bytes, *, header_only: bool) -> _Extent:
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
            return _Extent(len(data), size, orientation)
        if marker == 0xDA:
            at = _after_scan(data, at)
    if at + 2 <= len(data) and data[at : at + 2] == b"\xff\xd9":
        return _Extent(at + 2, size, orientation)
    raise _truncated("the JPEG file has no end marker")


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
    if not tiff.startswith(_TIFF):
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


def _tiff_extent(data: bytes) -> _Extent:
    order = "<" if data.startswith(b"II") else ">"
    found: dict[int, int] = {}
    try:
        (at,) = struct.unpack(f"{order}I", data[4:8])
        (count,) = struct.unpack(f"{order}H", data[at : at + 2])
        for index in range(count):
            entry = at + 2 + 12 * index
            tag, kind = struct.unpack(f"{order}HH", data[entry : entry + 4])
            raw = data[entry + 8 : entry + (10 if kind == 3 else 12)]
            if kind in (3, 4):
                found[tag] = struct.unpack(f"{order}{'H' if kind == 3 else 'I'}", raw)[0]
        following = at + 2 + 12 * count
        (next_page,) = struct.unpack(f"{order}I", data[following : following + 4])
    except struct.error:
        raise _truncated("the TIFF file ends inside its directory") from None
    size = (found[256], found[257]) if 256 in found and 257 in found else None
    notes = ("of several pages the first is taken",) if next_page else ()
    return _Extent(len(data), size, found.get(274, 1), notes=notes)


def _pnm_extent(data: bytes, *, header_only: bool) -> _Extent:
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
        return _Extent(len(data), (width, height), bits=bits)
    if bits is not None and bits > 8:
        sample *= 2
    end = at + 1 + width * height * sample
    if end > len(data):
        raise _truncated(f"the PGM or PPM file has {len(data)} of {end} bytes")
    return _Extent(end, (width, height), bits=bits)


def _require_bounded(size: tuple[int, int] | None) -> None:
    if size is not None and (0 in size or size[0] * size[1] > MAX_PIXELS):
        raise CaptureError(
            f"its header states {size[0]}x{size[1]} pixels, expected 1 to {MAX_PIXELS}"
        )


def _decode_with_opencv(data: bytes) -> NDArray[Any]:
    import cv2

    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        frame = None
    if frame is None:
        raise CaptureError(
            f"it begins with {bytes(data[:8])!r}, and OpenCV reads no such image: expected PNG, "
            "JPEG, BMP, TIFF, WebP, PGM, PPM or .npy: store it as PNG"
        )
    return np.asarray(frame)


def _upright(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return planes turned and mirrored as EXIF orientation 1 to 8 asks."""
    if orientation >= 5:
        planes = planes.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        planes = planes[:, ::-1]
    if orientation in (3, 4, 7, 8):
        planes = planes[::-1]
    return np.ascontiguousarray(planes)


def _refuse_others(data: bytes) -> None:
    start = data.lstrip()[:256].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        raise CaptureError(
            "it is a web page (HTML), which a failed download leaves behind: fetch the picture "
            "again"
        )
    if start.startswith((b"<?xml", b"<svg", b"<error")):
        raise CaptureError(
            "it is XML text, such as a server's error message or an SVG drawing: fetch the "
            "picture again, or store it as PNG"
        )
    if start.startswith((b"{", b"[")) and b'"' in start:
        raise CaptureError(
            "it is JSON text, such as a server's error message: fetch the picture again"
        )
    for magic, what in _OTHERS:
        if data.startswith(magic):
            raise CaptureError(f"it is {what}")
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _CONTAINER_BRANDS:
            raise CaptureError("it is an HEIC photograph: store it as PNG or JPEG")
        if brand not in {b"avif", b"avis"}:
            raise CaptureError("it is a video (MP4 or MOV): store its frames as PNG")
    if not data.strip(b"\0"):
        raise CaptureError("it holds zero bytes alone: copy the file again")


def _load_npy(data: bytes) -> NDArray[Any]:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(file)
        if kind.hasobject:
            raise CaptureError("its array holds Python objects, which are never loaded")
        count = int(np.prod(shape, dtype=np.float64))
        if count > 4 * MAX_PIXELS:
            raise CaptureError(f"its header states {list(shape)} samples, more than any frame has")
        if len(data) - file.tell() < count * kind.itemsize:
            raise _truncated(f"the .npy file lacks samples of its {list(shape)}")
        file.seek(0)
        return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, EOFError, SyntaxError) as error:
        raise CaptureError(f"it is a damaged .npy file: {error}") from error


def _from_npz(data: bytes, names: Sequence[str]) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            if not members:
                raise CaptureError("it is a zip archive without arrays: store the picture as PNG")
            lowered = {name.lower(): name for name in members}
            chosen = [lowered[name] for name in names if name in lowered]
            if not chosen and len(members) == 1:
                chosen = list(members)
            if len(chosen) != 1:
                raise CaptureError(
                    f"it holds the arrays {', '.join(sorted(members))}, and "
                    f"{'several' if chosen else 'none'} of them is called "
                    f"{' or '.join(names) or 'as the modality'}: name one so"
                )
            info = members[chosen[0]]
            if info.file_size > MAX_FILE_BYTES:
                raise CaptureError(f"its array {chosen[0]} has {info.file_size} bytes, too many")
            return _load_npy(archive.read(info))
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        raise CaptureError(f"it is a damaged .npz file: {error}") from error


def _array_image(array: NDArray[Any]) -> Image:
    """Return an array as an image; color in .npy files is red first."""
    shape = array.shape
    notes: list[str] = []
    if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
        notes.append("planes of an array come first: they are put last")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise CaptureError(
            f"its array is {array.dtype} {list(shape)}, expected [H, W] or [H, W, 3], red first"
        )
    _require_bounded((array.shape[1], array.shape[0]))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.shape[2] >= 3:
        notes.append("color in an array is taken as red first")
        array = np.concatenate([array[..., 2::-1], array[..., 3:]], axis=2)
    return Image(np.ascontiguousarray(array), notes=tuple(notes))


def _truncated(what: str) -> CaptureError:
    return CaptureError(f"it is truncated: {what}: copy the file again")
