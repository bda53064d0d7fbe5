"""Parsers with a fault each, which fuzzing must find: `python -m fuzz.planted FAULT`."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path

from fuzz.loop import work
from fuzz.target import Target


def _raises(_: bytes) -> None:
    raise ValueError("not a FasdkError")


def _hangs(_: bytes) -> None:
    while True:
        pass


def _crashes(_: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _grows(_: bytes) -> None:
    _ = bytearray(b"x") * (160 << 20)


FAULTS: dict[str, Callable[[bytes], None]] = {
    "raises": _raises,
    "hangs": _hangs,
    "crashes": _crashes,
    "grows": _grows,
}


def planted(fault: str) -> Target:
    """Return a target that accepts what begins with "good" and shows its fault on the rest."""

    def run(data: bytes) -> None:
        if not data.startswith(b"good"):
            FAULTS[fault](data)

    return Target(fault, lambda: run, lambda: [b"good input"])


def main() -> None:
    """Run as a worker of the loop does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--source", action="store_true")
    parser.add_argument("--worker", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--start", type=int)
    parser.add_argument("--executions", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.source:
        print(options.fault)
        return
    work(
        planted(options.fault),
        options.worker,
        seed=options.seed,
        start=options.start,
        executions=options.executions,
        seconds=options.seconds,
        keep=options.keep,
        peak_mb=128.0,
        cpu_seconds=1.0,
    )


if __name__ == "__main__":
    main()
