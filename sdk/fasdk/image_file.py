"""Image files decoded to planes.

The content decides what a file is, not its name. A container is walked to its end before it is
decoded, so that half a file is refused, bytes after the end are left out, and a picture larger than
a frame costs nothing. OpenCV decodes PNG, JPEG, TIFF and WebP; other formats of the list are read
as they stand, and no further one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import FileKind, open_bounded, read_bounded
from fasdk.errors import CaptureError
from fasdk.extras import require_package
from fasdk.file_signatures import FirstBytes
from fasdk.image_container import extent_of
from fasdk.image_extent import MAX_DECODED_BYTES, require_bounded, truncated
from fasdk.jpeg_file import require_all_blocks
from fasdk.numpy_file import TruncatedArrayError, bounded_zip, load_member, load_npy
from fasdk.raw_image import RawImage, raw_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fasdk.image_extent import Extent

# First bytes of what is often saved under an image's name and is none that can be read here.
_OTHERS = (
    (FirstBytes.GIT_LFS, "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file: store the array as a 32-bit TIFF or as .npy instead"),
    (FirstBytes.PDF, "a PDF document: store the picture as PNG"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video: store its frames as PNG"),
    (FirstBytes.GZIP, "a gzip file: unpack it"),
    (b"GIF8", "a GIF image: store it as PNG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image: store it as PNG"),
    (b"\xffO\xffQ", "a JPEG 2000 image: store it as PNG"),
    (b"SIMPLE  =", "a FITS file: store the array as a 32-bit TIFF or as .npy"),
    (FirstBytes.HDF5, "an HDF5 file: store its frames as PNG or .npy"),
    *(
        (pickle, "a Python pickle, which is never loaded: store the array with numpy.save")
        for pickle in FirstBytes.PICKLES
    ),
)
_DECODER_USER = "decoding PNG, JPEG, TIFF and WebP"
_CONTAINER_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1", b"hevc"), "an HEIC photograph"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
}


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


def read_bytes(path: Path, name: str = "") -> bytes:
    """Return a file's bytes.

    Args:
        path: The file.
        name: What an error calls it; its path where empty.

    Raises:
        CaptureError: It cannot be read, is no regular file, is empty, or is larger than 256 MiB.
    """
    name = name or str(path)
    try:
        data = read_bounded(path, FileKind.FRAME)
    except OSError as error:
        raise CaptureError(f"cannot read {name}: {error.strerror}") from error
    if not data:
        raise CaptureError(
            f"{name} does not decode as an image: it is empty (0 bytes): write it again, or remove "
            "its line"
        )
    return data


def decode(data: bytes, names: Sequence[str] = ()) -> Image:
    """Return the image that a file's bytes hold, EXIF orientation applied.

    Args:
        data: The whole file: PNG, JPEG, TIFF, WebP, BMP, PGM, PPM, PFM, .npy or .npz.
        names: Names of the array to take from an .npz file that holds several.

    Raises:
        CaptureError: It is truncated, too large or no image; the message completes "FILE does not
            decode as an image: ".
        PackageError: It is PNG, JPEG, TIFF or WebP, and OpenCV is not installed.
    """
    if data.startswith(FirstBytes.NPY):
        return _array_image(_load_npy(data))
    if data.startswith(FirstBytes.ZIP):
        return _array_image(_from_npz(data, names))
    _refuse_others(data)
    found = extent_of(data) or raw_image(data)
    if found is None:
        raise CaptureError(
            f"it begins with {bytes(data[:8])!r}, which is no image that is read: expected PNG, "
            "JPEG, TIFF, WebP, BMP, PGM, PPM or .npy: store it as PNG"
        )
    is_cut = found.end < len(data)
    end_note = ("bytes after the image's end are left out",) if is_cut else ()
    if isinstance(found, RawImage):
        return Image(found.planes(data), bits=found.bits, notes=end_note)
    planes = _decode_with_opencv(found.decoded or data[: found.end], found)
    lossy = data.startswith(FirstBytes.JPEG) or b"VP8 " in data[8:32]
    # OpenCV turns a TIFF itself.
    upright = planes if data.startswith(FirstBytes.TIFF) else _upright(planes, found.orientation)
    return Image(upright, lossy, found.bits, (*found.notes, *end_note))


def require_decoder(path: Path) -> None:
    """Check that what a file's first bytes say it is can be decoded here, where it can be read.

    Raises:
        PackageError: It is PNG, JPEG, TIFF or WebP, and OpenCV is not installed.
    """
    try:
        with open_bounded(path, FileKind.FRAME) as file:
            start = file.read(12)
    except (OSError, ValueError):  # a fault of its own, which reading it reports
        return
    if start.startswith((FirstBytes.PNG, FirstBytes.JPEG, *FirstBytes.TIFF, b"RIFF")):
        require_package("cv2", _DECODER_USER)


def stored_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as a viewer shows them, from the header alone.

    Returns:
        None where the format's header is not read here, or is damaged.
    """
    try:
        found = extent_of(data, header_only=True) or raw_image(data)
    except CaptureError:
        return None
    if found is None:
        return None
    width, height = found.size
    is_turned = not isinstance(found, RawImage) and found.orientation >= 5
    return (height, width) if is_turned else (width, height)


def _decode_with_opencv(data: bytes, extent: Extent) -> NDArray[Any]:
    """Return [H, W, channels] as OpenCV decodes a container whose extent is known."""
    require_package("cv2", _DECODER_USER)
    planes = _imdecode(data)
    if planes is None:
        raise CaptureError(
            f"it begins with {bytes(data[:8])!r}, and OpenCV cannot decode what follows: copy the "
            "file again, or store it as PNG"
        )
    size = planes.shape[1], planes.shape[0]
    if size not in (extent.size, extent.size[::-1]):
        raise CaptureError(
            f"its header states {extent.size[0]}x{extent.size[1]} pixels and it decodes to "
            f"{size[0]}x{size[1]}: store it as PNG"
        )
    if data.startswith(FirstBytes.JPEG):
        require_all_blocks(data, planes, _imdecode, is_cmyk=extent.channels == 4)
    return planes


def _imdecode(data: bytes) -> NDArray[Any] | None:
    """Return [H, W, channels] as OpenCV decodes a file, or None where it reads no such image."""
    import cv2

    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return None if frame is None else np.atleast_3d(np.asarray(frame))


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
        photograph = _CONTAINER_BRANDS.get(data[8:12])
        if photograph is None:
            raise CaptureError("it is a video (MP4 or MOV): store its frames as PNG")
        raise CaptureError(f"it is {photograph}: store it as PNG or JPEG")
    if not data.strip(b"\0"):
        raise CaptureError("it holds zero bytes alone: copy the file again")


def _load_npy(data: bytes) -> NDArray[Any]:
    try:
        return load_npy(data, MAX_DECODED_BYTES)
    except TruncatedArrayError as error:
        raise truncated(f"the .npy file: {error}") from error
    except ValueError as error:
        raise CaptureError(f"it is a damaged .npy file: {error}") from error


def _from_npz(data: bytes, names: Sequence[str]) -> NDArray[Any]:
    try:
        with bounded_zip(data) as archive:
            members = {
                name.removesuffix(".npy"): name
                for name in archive.namelist()
                if name.endswith(".npy")
            }
            if not members:
                raise CaptureError("it is a zip archive without arrays: store the picture as PNG")
            chosen = [name for name in members if name.lower() in names]
            if not chosen and len(members) == 1:
                chosen = list(members)
            if len(chosen) != 1:
                raise CaptureError(
                    f"it holds the arrays {', '.join(sorted(members)[:20])}, and "
                    f"{'several' if chosen else 'none'} of them is called "
                    f"{' or '.join(names) or 'as the modality'}: name one so"
                )
            return load_member(archive, members[chosen[0]], MAX_DECODED_BYTES)
    except ValueError as error:
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
    require_bounded(array.shape[1], array.shape[0], array.shape[2] * array.itemsize)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.shape[2] >= 3:
        notes.append("color in an array is taken as red first")
        array = np.concatenate([array[..., 2::-1], array[..., 3:]], axis=2)
    return Image(np.ascontiguousarray(array), notes=tuple(notes))
