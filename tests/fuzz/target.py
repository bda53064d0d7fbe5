"""Fuzz target: a parser, what it reads when all is well, and how its input is mutated."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fuzz.bytes_mutation import mutate_bytes
from support.scratch import memory_folder

Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """A parser under test.

    Attributes:
        name: Name on the command line.
        prepare: Imports what the parser needs and returns it. It takes the input's bytes and may
            raise nothing but a FasdkError.
        seeds: Returns inputs to begin with; at least one is accepted.
        mutate: Returns an input changed with the sense of its format.
    """

    name: str
    prepare: Callable[[], Callable[[bytes], None]]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutator = mutate_bytes


def on_file(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], None]:
    """Return a parser of bytes for one of files; the file lies in a folder of its own."""
    path = scratch_folder() / f"input{suffix}"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return run


@cache
def scratch_folder() -> Path:
    """Return a folder that is removed when the process ends, in memory where that is possible."""
    holder = tempfile.TemporaryDirectory(prefix="fasdk-fuzz-", dir=memory_folder())
    _HOLDERS.append(holder)
    return Path(holder.name)


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def mixed(*mutators: Mutator) -> Mutator:
    """Return a mutator that takes one of several at each input."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return rng.choice(mutators)(data, rng)

    return mutate
