"""Image files as cameras, editors and downloads leave them: read right or refused usefully.

`image_rows` tries every variant. A refusal counts only where its message names the fix, and the
file is read right once that fix is made.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasdk.capture import Modality
from fasdk.errors import CaptureError
from fasdk.frames import FrameUnits, read_depth_levels, read_noted_frame

from support.list_variants import VariantRow

RGB, DEPTH, IR = Modality
_RNG = np.random.default_rng(3)
# Smooth and of weak colors, so that a JPEG's halved color planes differ little.
_LIGHT = cv2.resize(_RNG.integers(40, 200, (6, 8), np.uint8), (64, 48)).astype(np.uint8)
COLOR: NDArray[np.uint8] = np.dstack([_LIGHT + 30, _LIGHT, _LIGHT + 10]).astype(np.uint8)
GRAY: NDArray[np.uint8] = np.ascontiguousarray(COLOR[..., 0])
MILLIMETERS: NDArray[np.uint16] = (GRAY.astype(np.uint16) * 4 + 300).astype(np.uint16)
MILLIMETERS[:4] = 0  # nothing seen
_LOSS = 12  # levels a JPEG or WebP of good quality may differ by
_PALETTE_LOSS = 40  # levels that 256 colors may differ by


@dataclass(frozen=True)
class ImageVariant:
    """One file.

    Attributes:
        name: Name of the variant.
        modality: Modality it is read as.
        data: Its bytes.
        expected: The frame it must give; None for what can only be replaced by another file.
        units: Units said by the caller.
        loss: Levels by which the frame may differ.
        suffix: Suffix of its name.
        says: What its notes, or its refusal, must say.
        fix: Units, or bytes of another file, that a refusal asks for; None where it is read as is.
        as_levels: Whether depth is read as 8-bit levels.
    """

    name: str
    modality: Modality
    data: bytes
    expected: NDArray[Any]
    units: FrameUnits | None = None
    loss: int = 0
    suffix: str = ".png"
    says: str = ""
    fix: FrameUnits | bytes | None = None
    as_levels: bool = False


def image_rows(folder: Path) -> list[VariantRow]:
    """Return the outcome of every variant."""
    folder.mkdir(parents=True, exist_ok=True)
    return [try_image(variant, folder) for variant in IMAGE_VARIANTS]


def try_image(variant: ImageVariant, folder: Path) -> VariantRow:
    """Return the outcome of one variant."""
    path = folder / f"frame{variant.suffix}"
    path.write_bytes(variant.data)
    try:
        frame, notes = _read(variant, path, variant.units)
    except CaptureError as error:
        return VariantRow(variant.name, *_refused(variant, path, str(error)))
    if variant.fix is not None:
        return VariantRow(variant.name, "read without a doubt", passed=False)
    if variant.says not in "; ".join(notes):
        return VariantRow(variant.name, f"read, and says: {notes}", passed=False)
    return VariantRow(variant.name, *_compared(variant, frame, "read"))


def _refused(variant: ImageVariant, path: Path, message: str) -> tuple[str, bool]:
    """Follow the fix of a refusal."""
    if variant.fix is None or variant.says not in message or str(path) not in message:
        return f"refused, and says: {message}", False
    units = variant.fix if isinstance(variant.fix, FrameUnits) else variant.units
    if isinstance(variant.fix, bytes):
        path.write_bytes(variant.fix)
    try:
        frame, _ = _read(variant, path, units)
    except CaptureError as again:
        return f"the fix does not work: {again}", False
    return _compared(variant, frame, "refused, fix works")


def _read(
    variant: ImageVariant, path: Path, units: FrameUnits | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    if variant.as_levels:
        return read_depth_levels(path), ()
    read = read_noted_frame(path, variant.modality, units)
    return read.frame, read.notes


def _compared(variant: ImageVariant, frame: NDArray[Any], outcome: str) -> tuple[str, bool]:
    if frame.shape != variant.expected.shape or frame.dtype != variant.expected.dtype:
        return f"gives {frame.dtype} {frame.shape}", False
    apart = np.abs(frame.astype(np.int64) - variant.expected.astype(np.int64)).max()
    return (outcome, True) if apart <= variant.loss else (f"{apart} apart", False)


def _encoded(suffix: str, frame: NDArray[Any], *parameters: int) -> bytes:
    planes = frame[..., [2, 1, 0, *range(3, frame.shape[2])]] if frame.ndim == 3 else frame
    done, data = cv2.imencode(suffix, planes, list(parameters))
    assert done, suffix
    return bytes(data.tobytes())


def _pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _npy(array: NDArray[Any], **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def _npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _pnm(kind: str, frame: NDArray[Any], largest: int) -> bytes:
    height, width = frame.shape[:2]
    body = frame.astype(">u2").tobytes() if largest > 255 else frame.astype(np.uint8).tobytes()
    return f"{kind}\n# a comment\n{width} {height}\n{largest}\n".encode() + body


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _turned(frame: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return what is stored for a viewer to show `frame` by this orientation."""
    undo = {3: 2, 6: 1, 8: 3}[orientation]  # quarter turns counterclockwise
    return np.ascontiguousarray(np.rot90(frame, undo))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_with(data: bytes, kind: bytes, body: bytes) -> bytes:
    return data[:33] + _chunk(kind, body) + data[33:]


_PNG, _GRAY_PNG = _encoded(".png", COLOR), _encoded(".png", GRAY)
_DEPTH_PNG = _encoded(".png", MILLIMETERS)
_JPEG = _encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_QUALITY, 98)
_GRAY_JPEG = _encoded(".jpg", GRAY, cv2.IMWRITE_JPEG_QUALITY, 98)
_TEN_BITS = (GRAY.astype(np.uint16) << 2) | 1
_TWELVE_BITS = (GRAY.astype(np.uint16) << 4) | 3
_SIXTEEN_BITS = (GRAY.astype(np.uint16) << 8) | 77
_METERS = (MILLIMETERS / np.float32(1000)).astype(np.float32)
_WITH_GAPS = np.where(MILLIMETERS == 0, np.nan, _METERS).astype(np.float32)
_ALPHA = np.dstack([COLOR, np.full(GRAY.shape, 255, np.uint8)])
_CUT_OUT = np.dstack([COLOR, np.where(GRAY > 100, 255, 0).astype(np.uint8)])
_WIDE = COLOR.astype(np.uint16) * 257
_HUGE = _PNG[:16] + struct.pack(">II", 60_000, 60_000) + _PNG[24:]
_HUGE = _HUGE[:29] + struct.pack(">I", zlib.crc32(_HUGE[12:29])) + _HUGE[33:]
_TRAILER = b"\0\0trailing data, with \xff\xd9 and IEND in it" * 3
_PALETTE = Image.fromarray(COLOR).quantize(256)
_METER = FrameUnits(depth_scale_mm=1000)


def _color(name: str, data: bytes, **more: Any) -> ImageVariant:
    return ImageVariant(name, RGB, data, COLOR, **more)


def _ir(name: str, data: bytes, **more: Any) -> ImageVariant:
    return ImageVariant(name, IR, data, GRAY, **more)


def _depth(name: str, data: bytes, **more: Any) -> ImageVariant:
    return ImageVariant(name, DEPTH, data, MILLIMETERS, **more)


IMAGE_VARIANTS: tuple[ImageVariant, ...] = (
    # Color.
    _color("PNG", _PNG),
    _color("JPEG", _JPEG, loss=_LOSS, suffix=".jpg"),
    _color(
        "progressive JPEG",
        _pillow(Image.fromarray(COLOR), "JPEG", quality=98, progressive=True),
        loss=_LOSS,
        suffix=".jpg",
    ),
    _color(
        "JPEG with restart marks",
        _encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        loss=_LOSS,
        suffix=".jpg",
    ),
    _color(
        "JPEG with a comment and a profile",
        _pillow(
            Image.fromarray(COLOR),
            "JPEG",
            quality=98,
            comment=b"\xff\xd8 made \xff\xd9",
            icc_profile=bytes(3000),
        ),
        loss=_LOSS,
        suffix=".jpg",
    ),
    _color(
        "CMYK JPEG",
        _pillow(Image.fromarray(COLOR).convert("CMYK"), "JPEG", quality=98),
        loss=_LOSS,
        suffix=".jpg",
    ),
    _color("BMP", _encoded(".bmp", COLOR), suffix=".bmp"),
    _color(
        "BMP with 32 bits",
        _pillow(Image.fromarray(_ALPHA), "BMP"),
        suffix=".bmp",
    ),
    _color("TIFF", _encoded(".tiff", COLOR), suffix=".tiff"),
    _color("TIFF without compression", _pillow(Image.fromarray(COLOR), "TIFF"), suffix=".tif"),
    _color(
        "TIFF of two pages",
        _pillow(
            Image.fromarray(COLOR), "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]
        ),
        suffix=".tif",
        says="the first is taken",
    ),
    _color(
        "WebP",
        _encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 95),
        loss=2 * _LOSS,
        suffix=".webp",
    ),
    _color(
        "WebP without loss", _encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 101), suffix=".webp"
    ),
    _color("PPM", _pnm("P6", COLOR, 255), suffix=".ppm"),
    _color("PNG under the name .jpg", _PNG, suffix=".jpg"),
    _color("JPEG under the name .png", _JPEG, loss=_LOSS),
    _color("JPEG under the name .bmp", _JPEG, loss=_LOSS, suffix=".bmp"),
    _color("PNG without a suffix", _PNG, suffix=""),
    _color("bytes after a PNG", _PNG + _TRAILER, says="after the image's end"),
    _color("bytes after a JPEG", _JPEG + _TRAILER, loss=_LOSS, says="after the image's end"),
    _color(
        "a second JPEG after the first",
        _JPEG + _GRAY_JPEG,
        loss=_LOSS,
        says="after the image's end",
    ),
    _color("zeros after a JPEG", _JPEG + bytes(4096), loss=_LOSS, says="after the image's end"),
    _color("RGBA", _encoded(".png", _ALPHA), says="opacity"),
    _color("RGBA, cut out", _encoded(".png", _CUT_OUT), says="opacity"),
    _color("palette PNG", _pillow(_PALETTE, "PNG"), loss=_PALETTE_LOSS),
    _color(
        "palette PNG with transparency",
        _pillow(_PALETTE, "PNG", transparency=0),
        loss=_PALETTE_LOSS,
        says="opacity",
    ),
    _color("optimized PNG", _pillow(Image.fromarray(COLOR), "PNG", optimize=True)),
    _color("16-bit color PNG", _encoded(".png", _WIDE), says="upper 8 bits"),
    _color("16-bit color TIFF", _encoded(".tiff", _WIDE), suffix=".tiff", says="upper 8 bits"),
    _color(
        "12-bit color in 16-bit PNG",
        _encoded(".png", COLOR.astype(np.uint16) << 4),
        says="shift them to 8 bits",
        fix=_PNG,
    ),
    *(
        _color(
            f"EXIF orientation {turn}",
            _pillow(Image.fromarray(_turned(COLOR, turn)), "JPEG", quality=98, exif=_exif(turn)),
            loss=_LOSS,
            suffix=".jpg",
        )
        for turn in (3, 6, 8)
    ),
    _color(
        "EXIF orientation of a PNG",
        _pillow(Image.fromarray(_turned(COLOR, 6)), "PNG", exif=_exif(6)),
    ),
    _color(
        "orientation of a TIFF",
        _pillow(Image.fromarray(_turned(COLOR, 6)), "TIFF", tiffinfo={274: 6}),
        suffix=".tif",
    ),
    ImageVariant(
        "gray for color", RGB, _GRAY_PNG, np.dstack([GRAY] * 3), says="three equal planes"
    ),
    ImageVariant(
        "gray JPEG for color",
        RGB,
        _GRAY_JPEG,
        np.dstack([GRAY] * 3),
        loss=_LOSS,
        says="three equal planes",
    ),
    _color("array, red first", _npy(COLOR), suffix=".npy", says="red first"),
    _color("array, planes first", _npy(COLOR.transpose(2, 0, 1)), suffix=".npy", says="put last"),
    _color("archive with the array rgb", _npz(rgb=COLOR, ir=GRAY), suffix=".npz"),
    _color("archive of one array", _npz(arr_0=COLOR), suffix=".npz"),
    _color(
        "archive without the name",
        _npz(a=COLOR, b=GRAY),
        suffix=".npz",
        says="name one so",
        fix=_npz(color=COLOR, b=GRAY),
    ),
    _color(
        "floating-point color",
        _npy(COLOR / np.float32(255)),
        suffix=".npy",
        says="expected 8-bit color",
        fix=_npy(COLOR),
    ),
    _color("truncated PNG", _PNG[: len(_PNG) // 2], says="truncated", fix=_PNG),
    _color("PNG without its last byte", _PNG[:-1], says="truncated", fix=_PNG),
    _color("truncated JPEG", _JPEG[: len(_JPEG) // 2], says="truncated", fix=_JPEG, loss=_LOSS),
    _color("JPEG without its last byte", _JPEG[:-1], says="truncated", fix=_JPEG, loss=_LOSS),
    _color("truncated BMP", _encoded(".bmp", COLOR)[:-9], says="truncated", fix=_PNG),
    _color("truncated PPM", _pnm("P6", COLOR, 255)[:-9], says="truncated", fix=_PNG),
    _color("truncated WebP", _encoded(".webp", COLOR)[:-9], says="truncated", fix=_PNG),
    _color("truncated array", _npy(COLOR)[:-9], says="truncated", fix=_npy(COLOR)),
    _color(
        "a flipped bit", _PNG[:60] + bytes([_PNG[60] ^ 16]) + _PNG[61:], says="checksum", fix=_PNG
    ),
    _color("zero bytes", b"", says="empty (0 bytes)", fix=_PNG),
    _color("zeros alone", bytes(5000), says="zero bytes alone", fix=_PNG),
    _color(
        "truncated TIFF",
        _pillow(Image.fromarray(COLOR), "TIFF")[:-99],
        says="truncated",
        fix=_PNG,
    ),
    _color(
        "TIFF in Lab",
        _pillow(Image.fromarray(COLOR).convert("LAB"), "TIFF"),
        says="color space 8 is not read",
        fix=_PNG,
    ),
    _color(
        "PNG of several pictures",
        _pillow(
            Image.fromarray(COLOR),
            "PNG",
            save_all=True,
            append_images=[Image.fromarray(COLOR[::-1])],
        ),
        says="the first is taken",
    ),
    _color("gzip", gzip.compress(_PNG), says="a gzip file: unpack it", fix=_PNG),
    _color(
        "a web page",
        b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
        suffix=".jpg",
        says="a web page (HTML)",
        fix=_JPEG,
        loss=_LOSS,
    ),
    _color(
        "a server's XML",
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        suffix=".jpg",
        says="XML text",
        fix=_JPEG,
        loss=_LOSS,
    ),
    _color(
        "a server's JSON",
        b'{"error": "not found"}',
        suffix=".jpg",
        says="JSON text",
        fix=_JPEG,
        loss=_LOSS,
    ),
    _color(
        "a Git LFS pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        says="git lfs pull",
        fix=_PNG,
    ),
    _color("plain text", b"hello", says="no image that is read", fix=_PNG),
    _color(
        "an HEIC photograph",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        suffix=".jpg",
        says="HEIC",
        fix=_JPEG,
        loss=_LOSS,
    ),
    _color(
        "a video",
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
        suffix=".jpg",
        says="video",
        fix=_JPEG,
        loss=_LOSS,
    ),
    _color("a pickle", b"\x80\x04\x95\x00", suffix=".npy", says="pickle", fix=_npy(COLOR)),
    _color(
        "an array of objects",
        _npy(np.array([{}], object), allow_pickle=True),
        suffix=".npy",
        says="Python objects",
        fix=_npy(COLOR),
    ),
    _color("a header of 3.6 billion pixels", _HUGE, says="60000x60000 pixels", fix=_PNG),
    # Infrared.
    _ir("8-bit gray", _GRAY_PNG),
    _ir("three equal planes", _encoded(".png", np.dstack([GRAY] * 3))),
    _ir(
        "color JPEG of a gray picture",
        _encoded(".jpg", np.dstack([GRAY] * 3), cv2.IMWRITE_JPEG_QUALITY, 98),
        loss=_LOSS,
    ),
    _ir(
        "gray with opacity",
        _pillow(Image.merge("LA", [Image.fromarray(GRAY)] * 2), "PNG"),
        says="opacity",
    ),
    _ir(
        "EXIF orientation of gray",
        _pillow(Image.fromarray(_turned(GRAY, 8)), "JPEG", quality=98, exif=_exif(8)),
        loss=_LOSS,
        suffix=".jpg",
    ),
    _ir("PGM", _pnm("P5", GRAY, 255), suffix=".pgm"),
    _ir("PGM of 10 bits", _pnm("P5", _TEN_BITS, 1023), suffix=".pgm", says="shifted by 2"),
    _ir(
        "bytes after a PGM",
        _pnm("P5", GRAY, 255) + _TRAILER,
        suffix=".pgm",
        says="after the image's end",
    ),
    _ir("10 bits, told", _encoded(".png", _TEN_BITS), units=FrameUnits(ir_shift=2)),
    _ir("12 bits, told", _encoded(".png", _TWELVE_BITS), units=FrameUnits(ir_shift=4)),
    _ir("16 bits, told", _encoded(".png", _SIXTEEN_BITS), units=FrameUnits(ir_shift=8)),
    _ir(
        "12 bits as the PNG states",
        _png_with(_encoded(".png", _TWELVE_BITS), b"sBIT", b"\x0c"),
        says="shifted by 4",
    ),
    _ir(
        "16-bit TIFF, told",
        _encoded(".tiff", _TEN_BITS),
        units=FrameUnits(ir_shift=2),
        suffix=".tiff",
    ),
    _ir("16-bit array, told", _npy(_TEN_BITS), units=FrameUnits(ir_shift=2), suffix=".npy"),
    _ir(
        "10 bits, not told",
        _encoded(".png", _TEN_BITS),
        says="ir_shift 2",
        fix=FrameUnits(ir_shift=2),
    ),
    _ir(
        "12 bits, not told",
        _encoded(".png", _TWELVE_BITS),
        says="ir_shift 4",
        fix=FrameUnits(ir_shift=4),
    ),
    _ir(
        "12 bits, told 10",
        _encoded(".png", _TWELVE_BITS),
        units=FrameUnits(ir_shift=2),
        says="give ir_shift 4",
        fix=FrameUnits(ir_shift=4),
    ),
    _ir(
        "8 bits, told 10",
        _GRAY_PNG,
        units=FrameUnits(ir_shift=2),
        says="leave ir_shift out",
        fix=FrameUnits(),
    ),
    _ir("color", _PNG, says="planes not equal", fix=_GRAY_PNG),
    # Depth.
    _depth("16-bit PNG", _DEPTH_PNG),
    _depth("16-bit TIFF", _encoded(".tiff", MILLIMETERS), suffix=".tiff"),
    _depth("16-bit PGM", _pnm("P5", MILLIMETERS, 65535), suffix=".pgm"),
    _depth("16-bit array", _npy(MILLIMETERS), suffix=".npy"),
    _depth("big-endian array", _npy(MILLIMETERS.astype(">u2")), suffix=".npy"),
    _depth("32-bit whole numbers", _npy(MILLIMETERS.astype(np.int32)), suffix=".npy"),
    _depth("three equal planes of 16 bits", _encoded(".png", np.dstack([MILLIMETERS] * 3))),
    _depth(
        "units of 250 micrometers",
        _encoded(".png", MILLIMETERS * 4),
        units=FrameUnits(depth_scale_mm=0.25),
    ),
    _depth(
        "units of 100 micrometers",
        _encoded(".png", MILLIMETERS * 10),
        units=FrameUnits(depth_scale_mm=0.1),
    ),
    _depth(
        "units of 125 micrometers",
        _encoded(".png", MILLIMETERS * 8),
        units=FrameUnits(depth_scale_mm=0.125),
    ),
    _depth(
        "meters in a TIFF", _encoded(".tiff", _METERS), units=_METER, suffix=".tiff", says="rounded"
    ),
    _depth("meters in an array", _npy(_METERS), units=_METER, suffix=".npy", says="rounded"),
    _depth("meters with NaN", _npy(_WITH_GAPS), units=_METER, suffix=".npy"),
    _depth(
        "meters with infinity",
        _npy(np.where(MILLIMETERS == 0, np.inf, _METERS)),
        units=_METER,
        suffix=".npy",
    ),
    _depth(
        "meters with -1 for nothing",
        _npy(np.where(MILLIMETERS == 0, -1, _METERS)),
        units=_METER,
        suffix=".npy",
    ),
    _depth(
        "millimeters in floating point",
        _npy(MILLIMETERS.astype(np.float64)),
        units=FrameUnits(depth_scale_mm=1),
        suffix=".npy",
    ),
    _depth(
        "half precision",
        _npy(MILLIMETERS.astype(np.float16)),
        units=FrameUnits(depth_scale_mm=1),
        suffix=".npy",
    ),
    _depth("archive with the array depth", _npz(depth=MILLIMETERS, rgb=COLOR), suffix=".npz"),
    _depth(
        "PFM in meters",
        b"Pf\n64 48\n-1.0\n" + _METERS[::-1].astype("<f4").tobytes(),
        units=_METER,
        suffix=".pfm",
        says="rounded",
    ),
    _depth(
        "floating point without a unit",
        _encoded(".tiff", _METERS),
        suffix=".tiff",
        says="depth_scale_mm 1000 for meters",
        fix=_METER,
    ),
    _depth(
        "OpenEXR",
        b"\x76\x2f\x31\x01\x02\0\0\0",
        units=_METER,
        suffix=".exr",
        says="32-bit TIFF",
        fix=_encoded(".tiff", _METERS),
    ),
    _depth("8 bits without a unit", _GRAY_PNG, says='depth_unit "level"', fix=_DEPTH_PNG),
    ImageVariant("8-bit levels", DEPTH, _GRAY_PNG, GRAY, as_levels=True),
    ImageVariant("8-bit levels as JPEG", DEPTH, _GRAY_JPEG, GRAY, loss=_LOSS, as_levels=True),
    ImageVariant(
        "levels that are millimeters",
        DEPTH,
        _DEPTH_PNG,
        GRAY,
        as_levels=True,
        says="leave depth_unit out",
        fix=_GRAY_PNG,
    ),
    _depth("a colored map of depth", _PNG, says="planes not equal", fix=_DEPTH_PNG),
)
