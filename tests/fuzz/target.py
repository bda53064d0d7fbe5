"""Fuzz target: a parser, what it reads when all is well, and how its input is mutated."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.bytes_mutation import mutate_bytes
from fuzz.scratch import scratch_folder

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
    write = rewriter(scratch_folder() / f"input{suffix}")

    def run(data: bytes) -> None:
        read(write(data))

    return run


def rewriter(path: Path) -> Callable[[bytes], Path]:
    """Return a function that makes bytes the whole content of one file, and returns its path.

    Opening and closing a file each time would take longer than many parsers.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)

    def write(data: bytes) -> Path:
        os.ftruncate(file, 0)
        os.pwrite(file, data, 0)
        return path

    return write


def mixed(*mutators: Mutator) -> Mutator:
    """Return a mutator that takes one of several at each input."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return rng.choice(mutators)(data, rng)

    return mutate
