"""Flipped bits of an audit log, each of which a verification must name.

    PYTHONPATH=tests python -m support.audit_flips --decisions 3000 --flips 2000

Every bit of a small log, and random ones of a large one. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fasdk.audit import verify_audit_log

from support.audit_logs import write_key, write_log
from support.scratch import memory_folder


@dataclass
class Flipped:
    """What became of flipped bits.

    Attributes:
        flips: Number of bits that were flipped, one at a time.
        accepted: Flips after which the chain verified.
        elsewhere: Flips that were named at another line, each as (bit, line named).
    """

    flips: int = 0
    accepted: int = 0
    elsewhere: list[tuple[int, int]] = field(default_factory=list)


def flip_bits(path: Path, bits: Iterable[int], key: Path | None = None) -> Flipped:
    """Flip bits of a log's one file, one at a time, and verify it after each.

    Args:
        path: The log; it is as before when this returns.
        bits: Numbers of the bits.
        key: Key file of the chain, or None.
    """
    whole = path.read_bytes()
    found = Flipped()
    with path.open("r+b", buffering=0) as file:
        for bit in bits:
            at = bit // 8
            os.pwrite(file.fileno(), bytes([whole[at] ^ 1 << bit % 8]), at)
            report = verify_audit_log(path, key=key)
            os.pwrite(file.fileno(), whole[at : at + 1], at)
            found.flips += 1
            if report.broken is None:
                found.accepted += 1
            elif report.broken.line != whole.count(b"\n", 0, at) + 1:
                found.elsewhere.append((bit, report.broken.line))
    return found


def main() -> int:
    """Flip bits, and print what came of it; return 1 where one was not named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=3000, help="of the large log")
    parser.add_argument("--flips", type=int, default=2000, help="of the large log")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - which bits, in a test
    found = {}
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        key = write_key(folder / "audit.key")
        for what, chosen in (("without a key", None), ("with a key", key)):
            small = folder / f"small {what}.audit"
            write_log(small, 2, key=chosen)
            bits = range(8 * small.stat().st_size)
            found[f"every bit, {what}"] = flip_bits(small, bits, chosen)
        large = folder / "large.audit"
        write_log(large, options.decisions)
        size = 8 * large.stat().st_size
        random_bits = (rng.randrange(size) for _ in range(options.flips))
        found["random bits of a large log"] = flip_bits(large, random_bits)
    print(json.dumps({what: asdict(each) for what, each in found.items()}))
    return int(any(each.accepted or each.elsewhere for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
