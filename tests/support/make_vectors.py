"""Generator of vectors.bin: outputs of OpenCV, scikit-image and SciPy for a C++ test.

    PYTHONPATH=tests python -m support.make_vectors tests/native/vectors.bin

A vector is sixteen little-endian words, for an aligned face also six binary64, and the answer,
8-bit but for WIDE; frames are drawn from a seed on both sides, so only the answers take space, and
large ones are kept as a digest.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from support.opencv_warp import fixed_point_warp
from support.published_maps import hog_map, plgf_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAGIC = b"FASDKVC3"
DIGEST, SWAP, UPSIDE_DOWN, MIRRORED, REVERSED = 1, 2, 4, 8, 16
COMPOSITE = 32  # infrared, HOG and PLGF are the answer's three channels
WIDE = 64  # 16-bit samples are resized as they are
AREA = 128  # INTER_AREA, not INTER_LINEAR
PAD = 256  # the region may leave the frame
ALIGNED = 512  # six numbers follow, and there is no region
BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT, cv2.BORDER_REFLECT_101)
STRETCH, LETTERBOX, LETTERBOX_FLOOR = range(3)
DIGEST_ABOVE = 2000  # samples


@dataclass(frozen=True)
class Vector:
    """One case, in the order of its words in the file."""

    seed: int
    bits: int
    channels: int
    width: int
    height: int
    row_padding: int
    flags: int
    left: int
    top: int
    right: int
    bottom: int
    out_width: int
    out_height: int
    border: int = 0
    border_level: int = 0
    fit: int = STRETCH
    to_frame: tuple[float, ...] = field(default=(), kw_only=True)

    def encoded(self) -> bytes:
        """Return the words, the region's as signed ones."""
        *words, to_frame = astuple(self)
        return struct.pack(f"<16i{len(to_frame)}d", *words, *to_frame)


def draw(seed: int, count: int) -> NDArray[np.uint8]:
    """Return `count` bytes of the xorshift32 sequence that vectors.cpp draws."""
    state = (seed * 2654435761 + 1) & 0xFFFFFFFF or 1
    drawn = bytearray(count)
    for i in range(count):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        drawn[i] = state >> 24
    return np.frombuffer(bytes(drawn), np.uint8)


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash."""
    value = 14695981039346656037
    for byte in data:
        value = ((value ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return value


def answer(vector: Vector) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the resized region, [out_height, out_width, channels]."""
    shape = (vector.height, vector.width, vector.channels)
    frame = draw(vector.seed, vector.bits // 8 * int(np.prod(shape)))
    if vector.bits == 16:
        wide = frame.view("<u2")
        depth_levels = ((np.arange(65536, dtype=np.uint64) * 40503) >> 16).astype(np.uint8)
        frame = wide if vector.flags & WIDE else depth_levels[wide]
    pixels = frame.reshape(shape)
    size = (vector.out_width, vector.out_height)
    border, level = BORDERS[vector.border], vector.border_level
    if vector.flags & ALIGNED:
        warped = fixed_point_warp(pixels, vector.to_frame, size, border, level)
        return warped.reshape(size[1], size[0], -1)
    region = pixels[max(vector.top, 0) : vector.bottom + 1, max(vector.left, 0) : vector.right + 1]
    if vector.flags & PAD:
        edges = (
            max(0, -vector.top),
            max(0, vector.bottom + 1 - vector.height),
            max(0, -vector.left),
            max(0, vector.right + 1 - vector.width),
        )
        region = bordered(region, edges, border, level)
    if vector.flags & COMPOSITE:
        gray = np.ascontiguousarray(region[..., 0])
        region = np.stack([gray, hog_map(gray), plgf_map(gray)], axis=2)
    inner = inner_size(vector)
    how = cv2.INTER_AREA if vector.flags & AREA else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(region), inner, interpolation=how)
    resized = np.asarray(resized).reshape(inner[1], inner[0], -1)
    across, down = size[0] - inner[0], size[1] - inner[1]
    edges = (down // 2, down - down // 2, across // 2, across - across // 2)
    return bordered(resized, edges, border, level) if any(edges) else resized


def bordered(
    image: NDArray[Any], edges: tuple[int, int, int, int], border: int, level: int
) -> NDArray[Any]:
    """Return [H, W, C] with what copyMakeBorder puts above, below, to the left and right."""
    made = cv2.copyMakeBorder(
        np.ascontiguousarray(image), *edges, border, value=(float(level),) * 4
    )
    return np.asarray(made).reshape(*made.shape[:2], -1)


def inner_size(vector: Vector) -> tuple[int, int]:
    """Return the width and height that the region is resized to."""
    out = vector.out_width, vector.out_height
    if vector.fit == STRETCH:
        return out
    region = vector.right - vector.left + 1, vector.bottom - vector.top + 1
    ratio = min(out[0] / region[0], out[1] / region[1])
    whole = round if vector.fit == LETTERBOX else int
    return max(1, whole(region[0] * ratio)), max(1, whole(region[1] * ratio))


def vectors() -> Iterator[Vector]:
    """Return every case: whole frames, crops at each border, and each special path."""
    rng = np.random.default_rng(20260701)
    seed = 0

    def vector(
        region: tuple[int, int],
        out: tuple[int, int],
        channels: int,
        *,
        margins: tuple[int, int, int, int] = (0, 0, 0, 0),
        flags: int = 0,
        padding: int = 0,
        bits: int = 8,
        **framing: Any,
    ) -> Vector:
        nonlocal seed
        seed += 1
        left, top, right, bottom = margins
        if out[0] * out[1] * channels > DIGEST_ABOVE and not flags & WIDE:
            flags |= DIGEST
        return Vector(
            seed=seed,
            bits=bits,
            channels=channels,
            width=left + region[0] + right,
            height=top + region[1] + bottom,
            row_padding=padding,
            flags=flags,
            left=left,
            top=top,
            right=left + region[0] - 1,
            bottom=top + region[1] - 1,
            out_width=out[0],
            out_height=out[1],
            **framing,
        )

    for channels in (1, 3, 4):
        for size in ((1, 1), (2, 1), (7, 5), (16, 9), (33, 20)):
            yield vector(size, size, channels)  # same size
            yield vector((2 * size[0], 2 * size[1]), size, channels)  # halved: averaged
            yield vector((2 * size[0], size[1]), size, channels)  # halved across only
            yield vector((2 * size[0] + 1, 2 * size[1]), size, channels)  # nearly halved
            yield vector(size, (2 * size[0], 2 * size[1]), channels)
            yield vector(size, (3 * size[0] + 1, size[1] + 2), channels)
        for margins in ((0, 0, 9, 9), (9, 9, 0, 0), (5, 0, 0, 3), (4, 7, 2, 1)):
            for flags in (0, SWAP, UPSIDE_DOWN, MIRRORED, REVERSED | SWAP, 28):
                yield vector((23, 31), (14, 17), channels, margins=margins, flags=flags, padding=5)
        for _ in range(60):
            region = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
            out = (int(rng.integers(1, 26)), int(rng.integers(1, 26)))
            margins = tuple(int(v) for v in rng.integers(0, 6, 4))
            flags = int(rng.integers(0, 16)) * 2
            yield vector(region, out, channels, margins=margins, flags=flags, padding=seed % 4)
        yield vector((170, 150), (80, 80), channels, margins=(3, 2, 1, 0))
        yield vector((260, 170), (224, 224), channels)
        yield vector((448, 60), (224, 30), channels, flags=SWAP)
    for size in ((24, 24), (48, 36), (61, 47)):
        yield vector(size, (24, 18), 1, bits=16, margins=(2, 3, 4, 5), padding=3)
        yield vector(size, (24, 18), 1, bits=16, flags=UPSIDE_DOWN | MIRRORED)
    yield vector((240, 240), (224, 224), 1, bits=16)
    for channels in (1, 3, 4):
        for size in ((24, 18), (48, 36), (7, 5), (61, 47)):
            yield vector(size, (24, 18), channels, bits=16, margins=(1, 2, 3, 4), flags=WIDE)
    for region in ((16, 16), (17, 31), (40, 33), (100, 90), (240, 240)):
        yield vector(region, (32, 24), 1, margins=(3, 1, 2, 5), padding=2, flags=COMPOSITE)
        yield vector(region, region, 1, flags=COMPOSITE | UPSIDE_DOWN | MIRRORED)
    for channels, bits in ((1, 8), (3, 8), (1, 16)):
        kind = {"channels": channels, "bits": bits, "padding": 3}
        for region, out in (
            ((24, 18), (8, 9)),  # blocks
            ((24, 18), (12, 9)),  # halved
            ((24, 18), (7, 5)),  # parts of pixels
            ((3, 3), (1, 1)),
            ((24, 18), (24, 18)),
            ((24, 18), (31, 40)),  # enlarged
            ((24, 18), (9, 40)),  # one axis enlarged
            ((170, 151), (80, 80)),
            ((1, 9), (5, 2)),
        ):
            yield vector(region, out, **kind, margins=(2, 1, 0, 3), flags=AREA)
            yield vector(region, out, **kind, flags=AREA | UPSIDE_DOWN | MIRRORED | SWAP)
        for border in range(4):
            for margins in ((-3, 0, 2, 1), (-9, -7, -4, -12), (4, 5, -1, -2)):
                for flags in (PAD, PAD | AREA | MIRRORED, PAD | SWAP | UPSIDE_DOWN):
                    yield vector(
                        (23, 31), (14, 17), **kind, margins=margins, flags=flags, border=border,
                        border_level=37,
                    )  # fmt: skip
            for fit in (LETTERBOX, LETTERBOX_FLOOR):
                for region, out in (((23, 31), (14, 17)), ((50, 9), (16, 16)), ((5, 90), (11, 30))):
                    yield vector(
                        region, out, **kind, margins=(1, 2, 3, 4), fit=fit, border=border,
                        border_level=201, flags=AREA if fit == LETTERBOX else 0,
                    )  # fmt: skip
                yield vector(
                    (24, 40), (20, 19), **kind, margins=(-2, -3, 5, -7), fit=fit, border=border,
                    border_level=9, flags=PAD,
                )  # fmt: skip
            for angle, scale in ((0.0, 1.0), (0.3, 1.7), (-2.5, 0.6), (0.05, 4.0)):
                along, turned = scale * float(np.cos(angle)), scale * float(np.sin(angle))
                yield vector(
                    (30, 26), (20, 21), **kind, border=border, border_level=90,
                    flags=ALIGNED | (MIRRORED | SWAP if scale > 1 else 0),
                    to_frame=(along, -turned, 3.3 - scale, turned, along, 1.7 - 4 * angle),
                )  # fmt: skip


def encode() -> bytes:
    """Return the whole vector file."""
    parts: list[bytes] = []
    for vector in vectors():
        parts.append(vector.encoded())
        levels = answer(vector).tobytes()
        parts.append(struct.pack("<Q", fnv1a(levels)) if vector.flags & DIGEST else levels)
    count = sum(1 for _ in vectors())
    return MAGIC + struct.pack("<I", count) + b"".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(encode())
