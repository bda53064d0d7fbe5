"""Generator of vectors.bin: outputs of OpenCV, scikit-image and SciPy for a C++ test.

    python tests/support/make_vectors.py tests/native/vectors.bin

A vector is thirteen little-endian words and the answer, 8-bit but for WIDE; frames are drawn from
a seed on both sides, so only the answers take space, and large ones are kept as a digest.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from support.published_maps import hog_map, plgf_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAGIC = b"FASDKVC2"
DIGEST, SWAP, UPSIDE_DOWN, MIRRORED, REVERSED = 1, 2, 4, 8, 16
COMPOSITE = 32  # infrared, HOG and PLGF are the answer's three channels
WIDE = 64  # 16-bit samples are resized as they are
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
    region = frame.reshape(shape)[vector.top : vector.bottom + 1, vector.left : vector.right + 1]
    if vector.flags & COMPOSITE:
        gray = np.ascontiguousarray(region[..., 0])
        region = np.stack([gray, hog_map(gray), plgf_map(gray)], axis=2)
    size = (vector.out_width, vector.out_height)
    resized = cv2.resize(np.ascontiguousarray(region), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized).reshape(size[1], size[0], -1)


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


def encode() -> bytes:
    """Return the whole vector file."""
    parts: list[bytes] = []
    for vector in vectors():
        parts.append(struct.pack("<13I", *astuple(vector)))
        levels = answer(vector).tobytes()
        parts.append(struct.pack("<Q", fnv1a(levels)) if vector.flags & DIGEST else levels)
    count = sum(1 for _ in vectors())
    return MAGIC + struct.pack("<I", count) + b"".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(encode())
