"""Mutation of bytes without a sense of their format."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
LARGEST_INPUT = 1 << 20


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to four changes: bits, numbers, pieces removed, copied or inserted."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_CHANGES)(changed, rng)
    return bytes(changed[:LARGEST_INPUT])


def word_mutator(words: Sequence[bytes]) -> Callable[[bytes, random.Random], bytes]:
    """Return a mutator that also puts words of a format in, or in the place of another of them."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.4:
            return mutate_bytes(data, rng)
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            old, new = rng.choice(words), rng.choice(words)
            at = changed.find(old)
            if at >= 0 and rng.random() < 0.6:
                changed[at : at + len(old)] = new
            else:
                at = rng.randint(0, len(changed))
                changed[at:at] = new
        return bytes(changed[:LARGEST_INPUT])

    return mutate


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random) -> None:
    kind = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    if len(data) < size:
        return
    at = rng.randint(0, len(data) - size)
    if rng.random() < 0.5:
        value = rng.choice(INTERESTING)
    else:
        value = struct.unpack_from(kind, data, at)[0] + rng.randint(-16, 16)
    struct.pack_into(kind, data, at, value % (1 << 8 * size))


def _remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randint(0, len(data))
    del data[at : at + rng.choice((1, 2, 4, rng.randint(1, max(1, len(data))))) or None]


def _copy(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randint(0, len(data)), rng.choice((1, 4, 16, 64))
    piece = data[at : at + length] * rng.choice((1, 1, 2, 64))
    to = rng.randint(0, len(data))
    data[to:to] = piece


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))


_CHANGES = (_flip, _flip, _set, _number, _remove, _copy, _insert)
