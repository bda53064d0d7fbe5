"""Image files decoded to planes.

The content decides what a file is, not its name. A container is walked to its end before it is
decoded, so that half a file is refused and bytes after the end are left out.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import CaptureError
from fasdk.image_container import JPEG, TIFF, extent_of, truncated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_FILE_BYTES = 2**30
MAX_PIXELS = 2**27  # 134 million: larger than any camera's frame, 400 MB as 8-bit color

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
# First bytes of what is often saved under an image's name and is none that can be read here.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file: store the array as a 32-bit TIFF or as .npy instead"),
    (b"%PDF", "a PDF document: store the picture as PNG"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video: store its frames as PNG"),
    (b"\x1f\x8b", "a gzip file: unpack it"),
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
    extent = extent_of(data)
    _require_bounded(extent.size)
    notes = list(extent.notes)
    if extent.end < len(data):
        notes.append("bytes after the image's end are left out")
    planes = _decode_with_opencv(data[: extent.end])
    planes = planes[..., None] if planes.ndim == 2 else planes
    lossy = data.startswith(JPEG) or b"VP8 " in data[8:32]
    # OpenCV turns a TIFF itself.
    is_tiff = data.startswith(TIFF)
    upright = planes if is_tiff else _upright(planes, extent.orientation)
    return Image(upright, lossy, extent.bits, tuple(notes))


def stored_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as a viewer shows them, from the header alone.

    Returns:
        None where the format's header is not read here, or is damaged.
    """
    try:
        extent = extent_of(data, header_only=True)
    except CaptureError:
        return None
    if extent.size is None:
        return None
    width, height = extent.size
    return (height, width) if extent.orientation >= 5 else (width, height)


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
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<") and any(word in start for word in (b"<!doctype html", b"<html")):
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
            raise truncated(f"the .npy file lacks samples of its {list(shape)}")
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
