"""SIGKILL at random moments of `fasdk run --audit`, on one log from the first kill to the last.

    PYTHONPATH=tests python -m support.audit_kills --kills 200

The same number of kills is of a process that writes as fast as it can into small files, so that
many of them come while files are rotated. After each kill the chain must verify, and hold every
decision that was given and at most one more; the next process goes on with it. After every other
kill the last line is torn too, at a random byte, as a power failure may. Prints one JSON document,
and exits with 1 on any miss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from fasdk.audit import AuditLog, AuditReport, verify_audit_log
from fasdk.audit.files import rotated_files
from fasdk.home import HOME_VARIABLE
from fasdk_tools import cli

from support import tiny_bundle
from support.audit_logs import UNFLUSHED, WIDE
from support.scratch import memory_folder

_STARTED_S = 120.0
_LONGEST_S = 0.3
_WRITER_S = 0.2
_KILLS_A_LOG = 20
_EARLY = 0.2  # share of the runs that are killed while they start


@dataclass
class Killed:
    """What kills left.

    Attributes:
        kills: Number of runs that were killed.
        early: Number of those that had printed no decision.
        printed: Decisions that were printed before the kills.
        recorded: Decisions in the log at the end.
        torn: Torn lines that a run went on from.
        files: Files of the logs at the end.
        broken: What was wrong after a kill, in words.
    """

    kills: int = 0
    early: int = 0
    printed: int = 0
    recorded: int = 0
    torn: int = 0
    files: int = 0
    broken: list[str] = field(default_factory=list)


def kill_runs(kills: int, seed: int = 0) -> Killed:
    """Run the door again and again, kill it each time, and verify its log.

    Args:
        kills: Number of kills.
        seed: Seed of the moments.
    """
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    found = Killed()
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        os.environ[HOME_VARIABLE] = str(folder / "home")
        log, words = folder / "door.audit", _words(folder)
        before = _kill(found, kills, log, lambda into: _start(words, into), rng, _LONGEST_S)
        _, status = os.waitpid(_start([*words, "--max-captures", "1"]), 0)
        report = verify_audit_log(log)
        found.recorded += _check(found, report, before, 1)
        if status or not report.is_ended:
            found.broken.append(f"the last run ended with {status}")
        found.torn, found.files = len(report.torn), len(report.files)
    return found


def kill_writers(kills: int, seed: int = 0) -> Killed:
    """Kill processes that write into small files, and verify their log, a new one each 20 kills.

    Args:
        kills: Number of kills.
        seed: Seed of the moments.
    """
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    found = Killed()
    while found.kills < kills:
        with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
            log = Path(name) / "door.audit"
            some = min(_KILLS_A_LOG, kills - found.kills)
            found.recorded += _kill(
                found, some, log, lambda into, log=log: _start_writer(log, into), rng, _WRITER_S
            )
            if log.exists() or rotated_files(log):
                report = verify_audit_log(log)
                found.torn += len(report.torn)
                found.files += len(report.files)
    return found


def _kill(
    found: Killed,
    kills: int,
    log: Path,
    start: Callable[[int], int],
    rng: random.Random,
    longest_s: float,
) -> int:
    """Kill what writes a log, verify it each time, and return how many decisions are in it."""
    before = 0
    for _ in range(kills):
        printed = _run_until_killed(start, rng, longest_s)
        found.kills += 1
        found.early += printed == 0
        found.printed += printed
        if not log.exists() and not rotated_files(log):  # killed before it was opened
            continue
        before = _check(found, verify_audit_log(log), before, printed)
        if found.kills % 2 == 0 and log.exists():
            before -= _tear(log, rng)
            _check(found, verify_audit_log(log), before, 0)
    return before


def _words(folder: Path) -> list[str]:
    """Write a bundle and a capture, and return a run of the door on them without an end."""
    frames = folder / "frames"
    frames.mkdir()
    capture = tiny_bundle.capture(200)
    cv2.imwrite(str(frames / "0.rgb.png"), np.ascontiguousarray(capture.rgb[..., ::-1]))
    cv2.imwrite(str(frames / "0.depth.png"), capture.depth)
    cv2.imwrite(str(frames / "0.ir.png"), capture.ir)
    bundle = tiny_bundle.write(folder / "tiny.fasb")
    words = ["run", str(bundle), "--camera", f"replay:{frames}?loop=1", "--each-frame", "--json"]
    words += ["--no-gates", "--backend", "onnxruntime", "--audit-file-mb", "1"]
    return [*words, "--audit", str(folder / "door.audit")]


def _start(words: list[str], into: int | None = None) -> int:
    """Start the door in a fork, with its stdout in a pipe, and return its process id."""
    child = os.fork()
    if child == 0:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere if into is None else into, 1)
            os.dup2(nowhere, 2)
            os._exit(cli.main(words))
        finally:
            os._exit(99)  # only a fault leads here
    return child


def _start_writer(log: Path, into: int) -> int:
    """Start a process that records decisions and says each, and return its process id."""
    child = os.fork()
    if child == 0:
        try:
            audit = AuditLog(log, replace(UNFLUSHED, max_bytes=1 << 16))
            while audit.record(WIDE, "lobby").is_live and not audit.lost:
                os.write(into, b"\n")
        finally:
            os._exit(99)  # only a fault leads here
    return child


def _run_until_killed(start: Callable[[int], int], rng: random.Random, longest_s: float) -> int:
    """Return how many decisions a process had given when it was killed."""
    out, into = os.pipe()
    child = start(into)
    os.close(into)
    lines = 0
    try:
        is_early = rng.random() < _EARLY
        if not is_early:
            select.select([out], [], [], _STARTED_S)
        until = time.monotonic() + rng.uniform(0.0, longest_s)
        while (left := until - time.monotonic()) > 0:
            if select.select([out], [], [], left)[0]:
                lines += (read := os.read(out, 1 << 16)).count(b"\n")
                if not read:
                    break
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    with os.fdopen(out, "rb") as rest:
        lines += rest.read().count(b"\n")
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"the door ended with {os.waitstatus_to_exitcode(status)}")
    return lines


def _check(found: Killed, report: AuditReport, before: int, printed: int) -> int:
    """Hold a log against what was printed, and return how many decisions are in it."""
    recorded = sum(report.verdicts.values())
    if report.broken is not None:
        found.broken.append(f"after kill {found.kills}: {report.broken}")
    elif not printed <= recorded - before <= printed + 1:
        found.broken.append(
            f"after kill {found.kills}: {printed} printed, {recorded - before} recorded"
        )
    return recorded


def _tear(log: Path, rng: random.Random) -> int:
    """Cut a log in its last line, if that is a decision, and return how many that lost."""
    whole = log.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1 if whole.count(b"\n") > 1 else len(whole)
    if b'"kind":"decision"' not in whole[start:]:
        return 0
    os.truncate(log, rng.randrange(start + 1, len(whole)))
    return 1


def main() -> int:
    """Print what kills left; return 1 on any miss."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import onnxruntime  # noqa: F401 - once, before the forks

    import fasdk.cameras.replay
    import fasdk.session.opening  # noqa: F401

    found = {
        "run --audit": kill_runs(options.kills, options.seed),
        "writers": kill_writers(options.kills, options.seed),
    }
    print(json.dumps({what: asdict(each) for what, each in found.items()}))
    return int(any(each.broken for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
