"""Flipped bits of a signed bundle, held against a policy that trusts its key.

    python -m support.flips small
    python -m support.flips random --bundle FILE --flips N

Each bit is flipped as it is, and then with the checksums of the archive made to fit again. Prints
one JSON line: how many files were accepted, and in how many a payload was parsed before the
refusal. The manifest is a payload too unless it is the signed one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from fasdk.bundle import bundle as bundle_module
from fasdk.bundle.archive import read_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.signing import generate_key, open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import FasdkError

from support import tiny_bundle
from support.scratch import memory_folder

Patch = Sequence[tuple[int, bytes]]
"""Bytes that take the place of others in a file, each with its offset."""

_LOCAL, _CENTRAL = 30, 46  # bytes of the archive's headers before a member's name


@dataclass
class Counted:
    """What became of one way of flipping.

    Attributes:
        flips: Files that were tried.
        accepted: Files among them that opened.
        parsed: Files of which a payload was parsed.
        unwrapped: Exceptions that are no FasdkError, by kind.
    """

    flips: int = 0
    accepted: int = 0
    parsed: int = 0
    unwrapped: dict[str, int] = field(default_factory=dict)


@contextmanager
def watched_parsers(signed_manifest: bytes) -> Iterator[list[str]]:
    """Yield a list to which every parser of a payload adds its name as it is called."""
    called: list[str] = []

    def watch(name: str, parse: Callable[..., Any]) -> Callable[..., Any]:
        def watching(raw: Any, *words: Any, **options: Any) -> Any:
            if bytes(raw) != signed_manifest:
                called.append(name)
            return parse(raw, *words, **options)

        return watching

    with ExitStack() as stack:
        for name in ("parse_manifest", "parse_object"):
            parser = watch(name, getattr(bundle_module, name))
            stack.enter_context(mock.patch.object(bundle_module, name, parser))
        for name in GRAPH_PARSERS:
            parser = watch(name, getattr(bundle_module, name))
            stack.enter_context(mock.patch.object(bundle_module, name, parser))
        golden = watch("golden", bundle_module.GoldenCapture.from_bytes)
        stack.enter_context(mock.patch.object(bundle_module.GoldenCapture, "from_bytes", golden))
        yield called


GRAPH_PARSERS: tuple[str, ...] = ()
"""Functions in the bundle's module that look into the graph."""


@dataclass(frozen=True)
class Place:
    """Where a member's content lies in a canonical archive, and the two copies of its CRC-32.

    Attributes:
        start: Offset of its first byte.
        stop: Offset past its last byte.
        crcs: Offsets of its CRC-32, in the header before it and in the directory at the end.
    """

    start: int
    stop: int
    crcs: tuple[int, int]


def places_of(data: bytes) -> dict[str, Place]:
    """Return where each member of an archive lies, by name."""
    contents = read_archive(data, "signed")
    places, local = {}, 0
    central = sum(_LOCAL + len(name) + len(content) for name, content in contents.items())
    for name, content in contents.items():
        start = local + _LOCAL + len(name)
        places[name] = Place(start, start + len(content), (local + 14, central + 16))
        local, central = start + len(content), central + _CENTRAL + len(name)
    return places


def flip(data: bytes, bit: int) -> Patch:
    """Return the change that inverts one bit of a file."""
    at = bit // 8
    return [(at, bytes([data[at] ^ (1 << bit % 8)]))]


def repaired(data: bytes, place: Place, patch: Patch) -> Patch:
    """Return a change of one byte of a member, with both its checksums made to fit."""
    ((at, byte),) = patch
    crc = zlib.crc32(byte, zlib.crc32(memoryview(data)[place.start : at]))
    crc = zlib.crc32(memoryview(data)[at + 1 : place.stop], crc)
    return [*patch, *((where, struct.pack("<I", crc)) for where in place.crcs)]


class PatchedFile:
    """A file whose bytes are changed in place, for the time of a `with`.

    Args:
        path: The file, which is written.
        data: What it holds.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        path.write_bytes(data)
        self._data = data

    @contextmanager
    def changed(self, patch: Patch) -> Iterator[Path]:
        """Yield the path of the file with a change in it, and take the change back."""
        with self.path.open("r+b", buffering=0) as file:
            for at, new in patch:
                os.pwrite(file.fileno(), new, at)
            try:
                yield self.path
            finally:
                for at, new in patch:
                    os.pwrite(file.fileno(), self._data[at : at + len(new)], at)


def count_flips(
    file: PatchedFile, data: bytes, trust: TrustPolicy, flips: Iterable[Patch]
) -> Counted:
    """Open the file once for each flip, and count what came of it."""
    counted, unwrapped = Counted(), Counter[str]()
    manifest = bytes(read_archive(data, "signed")["manifest.json"])
    with watched_parsers(manifest) as called:
        for patch in flips:
            counted.flips += 1
            called.clear()
            try:
                with file.changed(patch) as path:
                    open_bundle(path, trust)
            except FasdkError:
                pass
            except Exception as error:  # noqa: BLE001 - counted
                unwrapped[type(error).__name__] += 1
            else:
                counted.accepted += 1
            counted.parsed += bool(called)
    counted.unwrapped = dict(unwrapped)
    return counted


def ways_of(data: bytes, bits: Callable[[int], Iterable[int]]) -> dict[str, Iterator[Patch]]:
    """Return the flips of each way.

    Args:
        data: The file.
        bits: Returns which of a number of bits are flipped.
    """
    places = places_of(data).values()
    return {
        "checksums as they were": (flip(data, bit) for bit in bits(8 * len(data))),
        "checksums repaired": (
            repaired(data, place, flip(data, 8 * place.start + bit))
            for place in places
            for bit in bits(8 * (place.stop - place.start))
        ),
    }


def main() -> None:
    """Flip bits, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("small", "random"))
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--flips", type=int, default=20_000)
    parser.add_argument("--stride", type=int, default=1, help="flip every STRIDEth bit")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        public, _ = generate_key(folder / "key")
        trust = TrustPolicy.from_files(public)
        if options.what == "small":
            signed = tiny_bundle.write(folder / "signed.fasb", sign_key=folder / "key")
        else:
            signed = signed_again(options.bundle, folder)
        data = signed.read_bytes()
        open_bundle(signed, trust)
        rng = random.Random(options.seed)  # noqa: S311 - which bits, in a test
        total = len(data) * 8

        def bits(count: int) -> Iterable[int]:
            if options.what == "small":
                return range(0, count, options.stride)
            wanted = max(1, round(options.flips * count / total))
            return (rng.randrange(count) for _ in range(wanted))

        file = PatchedFile(folder / "flipped.fasb", data)
        found = {
            way: asdict(count_flips(file, data, trust, flips))
            for way, flips in ways_of(data, bits).items()
        }
    print(json.dumps({"bytes": len(data), "ways": found}))


def signed_again(bundle: Path, folder: Path) -> Path:
    """Return a copy of a bundle that is signed with the key of the folder."""
    given = open_bundle(bundle, TrustPolicy.unsigned())
    members = {name: bytes(content) for name, content in given.members.items()}
    write_bundle(folder / "signed.fasb", given.manifest, members, open_signer(folder / "key"))
    return folder / "signed.fasb"


if __name__ == "__main__":
    sys.exit(main())
