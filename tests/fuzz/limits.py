"""Limits of one execution, and the failures found."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.fork_server import ElsewhereError

CPU_SECONDS = 10.0  # of one execution; a hang kills the process by SIGPROF
WALL_SECONDS = 120.0  # what waits for ever takes no CPU; SIGALRM
ADDRESS_SPACE = 16 << 30  # protects the machine; the limit on resident memory is stricter

REGRESSIONS = Path(__file__).parent / "regressions"


@dataclass(frozen=True)
class Report:
    """What came of fuzzing one target.

    Attributes:
        target: Name of the target.
        executions: Inputs that were run.
        accepted: Inputs among them that the parser accepted.
        failures: Answers that are neither acceptance nor a FasdkError, and how often each came.
        peak_mb: Largest resident memory of a process.
        seconds: Wall-clock time.
        guided: Whether coverage chose the inputs.
    """

    target: str
    executions: int
    accepted: int
    failures: tuple[str, ...]
    peak_mb: float
    seconds: float
    guided: bool = False

    def to_json(self) -> str:
        """Return the report as one JSON line."""
        return json.dumps(vars(self))


class Failures:
    """Failures by where they come from; the first input of each is kept.

    Args:
        folder: Folder for those inputs, or None to keep none.
        target: Name of the target.
    """

    def __init__(self, folder: Path | None, target: str) -> None:
        self._folder = folder
        self._target = target
        self.counts: Counter[str] = Counter()

    def add(self, what: str, data: bytes) -> None:
        """Count a failure and keep the input that caused the first of its kind."""
        self.counts[what] += 1
        if self._folder is None or self.counts[what] > 1:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in self._folder.glob(f"{self._target}.*"))
        (self._folder / f"{self._target}.{number}.bin").write_bytes(data)


class PeakMemory:
    """Largest resident memory of this process, from the kernel's own record of it."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/status", os.O_RDONLY)
        # The kernel's cheaper count begins with what the process had before it ran this program.
        self._counted_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._hidden_kb = self._counted_kb if self._counted_kb > self._read_kb() + 1024 else 0

    def has_grown(self) -> bool:
        """Whether it may have grown since this was asked last."""
        counted_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown = counted_kb > self._counted_kb or counted_kb <= self._hidden_kb
        self._counted_kb = counted_kb
        return grown

    def mb(self) -> float:
        """Return the largest resident memory so far in megabytes."""
        return self._read_kb() / 1024

    def _read_kb(self) -> int:
        text = os.pread(self._file, 4096, 0)
        at = text.index(b"VmHWM:") + 6
        return int(text[at : text.index(b"kB", at)])


def bound_address_space() -> None:
    """Let an allocation fail that would take the machine down."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def arm(cpu_seconds: float = CPU_SECONDS) -> None:
    """Start the clocks of one execution."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)


def disarm() -> None:
    """Stop the clocks."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def describe(error: BaseException) -> str:
    """Return the kind of an exception and the innermost line of the project it came through."""
    if isinstance(error, ElsewhereError):
        return str(error)
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/fasdk" in frame.filename] or frames
    place = ours[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"


def silence() -> None:
    """Send warnings of libraries nowhere, and write no log."""
    logging.disable()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stderr.fileno())
