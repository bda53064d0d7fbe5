"""Flipped bits of a signed bundle, held against a policy that trusts its key.

    python -m support.flips small
    python -m support.flips random --bundle FILE --flips N

Each bit is flipped as it is, and then with the checksums of the archive made to fit again. Prints
one JSON line: how many files were accepted, and in how many a payload was parsed before the
refusal. The manifest is a payload too unless it is the signed one.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from fasdk.bundle import bundle as bundle_module
from fasdk.bundle.archive import read_archive, write_archive
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.signing import generate_key, open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import FasdkError

from support import tiny_bundle


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


def count_flips(
    data: bytes, trust: TrustPolicy, flips: Iterable[Callable[[], bytes | None]], file: Path
) -> Counted:
    """Open the file once for each flip, and count what came of it."""
    counted, unwrapped = Counted(), Counter[str]()
    manifest = bytes(read_archive(data, "signed")["manifest.json"])
    with watched_parsers(manifest) as called:
        for flip in flips:
            changed = flip()
            if changed is None or changed == data:
                continue
            counted.flips += 1
            file.write_bytes(changed)
            called.clear()
            try:
                open_bundle(file, trust)
            except FasdkError:
                pass
            except Exception as error:  # noqa: BLE001 - counted
                unwrapped[type(error).__name__] += 1
            else:
                counted.accepted += 1
            counted.parsed += bool(called)
    counted.unwrapped = dict(unwrapped)
    return counted


def flipped(data: bytes, bit: int) -> bytes:
    """Return bytes with one bit flipped."""
    at = bit // 8
    return data[:at] + bytes([data[at] ^ (1 << bit % 8)]) + data[at + 1 :]


def flipped_inside(members: dict[str, bytes], name: str, bit: int) -> bytes | None:
    """Return an archive with one bit of a member flipped and checksums that fit again."""
    out = io.BytesIO()
    write_archive(out, members | {name: flipped(members[name], bit)})
    return out.getvalue()


def ways_of(data: bytes, bits: Callable[[int, str], Iterable[int]]) -> dict[str, Any]:
    """Return the flips of each way.

    Args:
        data: The file.
        bits: Returns which of a number of bits are flipped, for the file or a member by name.
    """
    members = {name: bytes(content) for name, content in read_archive(data, "signed").items()}
    return {
        "checksums as they were": (
            (lambda bit=bit: flipped(data, bit)) for bit in bits(8 * len(data), "")
        ),
        "checksums repaired": (
            (lambda name=name, bit=bit: flipped_inside(members, name, bit))
            for name, content in members.items()
            for bit in bits(8 * len(content), name)
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
    with tempfile.TemporaryDirectory() as name:
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

        def bits(count: int, _member: str) -> Iterable[int]:
            if options.what == "small":
                return range(0, count, options.stride)
            wanted = max(1, round(options.flips * count / total))
            return (rng.randrange(count) for _ in range(wanted))

        found = {
            way: asdict(count_flips(data, trust, flips, folder / "flipped.fasb"))
            for way, flips in ways_of(data, bits).items()
        }
    print(json.dumps({"bytes": len(data), "ways": found}))


def signed_again(bundle: Path, folder: Path) -> Path:
    """Return a copy of a bundle that is signed with the key of the folder."""
    given = open_bundle(bundle)
    members = {name: bytes(content) for name, content in given.members.items()}
    write_bundle(folder / "signed.fasb", given.manifest, members, open_signer(folder / "key"))
    return folder / "signed.fasb"


if __name__ == "__main__":
    sys.exit(main())
