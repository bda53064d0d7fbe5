"""Seeded fuzzing without coverage: a worker that runs the inputs, a parent that outlives it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fuzz.limits import (
    CPU_SECONDS,
    Failures,
    PeakMemory,
    Report,
    arm,
    bound_address_space,
    describe,
    disarm,
    silence,
)
from fuzz.record import CurrentInput, Record, Records, last_input
from fuzz.scratch import new_scratch_folder, remove_abandoned
from fuzz.target import Target

PEAK_MB = 512.0
_TESTS = Path(__file__).resolve().parents[1]
_MOST_DEATHS = 200
_CHUNK_S = 60.0  # what a record may lose where the run is ended


def fuzz(
    name: str,
    executions: int,
    *,
    seed: int = 0,
    seconds: float | None = None,
    keep: Path | None = None,
    record: Path | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Run a target on mutated inputs in worker processes; one that dies is a failure too.

    Args:
        name: Name of the target.
        executions: Number of inputs, those of the record included.
        seed: Seed of the inputs; the same seed gives the same ones.
        seconds: Wall-clock time after which no further input is run.
        keep: Folder for inputs that fail, or None.
        record: Folder of records of what was run before, which is continued where the parser's
            source is still the same; None begins anew and records nothing.
        command: Command that starts a worker; this package's own by default.
    """
    words = command or [sys.executable, "-m", "fuzz", name]
    records = None if record is None else Records(record, _source(words), seed)
    start = time.monotonic()
    known = Record() if records is None else records.read(name)
    before_s, deaths = known.seconds, 0
    remove_abandoned()
    with new_scratch_folder() as folder:
        current, result = folder / "current", folder / "result"
        while known.executions < executions and deaths < _MOST_DEATHS:
            left = None if seconds is None else seconds - (time.monotonic() - start)
            if left is not None and left <= 0:
                break
            chunk = left if records is None else min(_CHUNK_S, left or _CHUNK_S)
            result.unlink(missing_ok=True)
            current.unlink(missing_ok=True)
            ended = _run(
                [*words, "--worker", str(folder), "--seed", str(seed)]
                + ["--start", str(known.executions)]
                + ["--executions", str(executions - known.executions)]
                + ([] if chunk is None else ["--seconds", str(chunk)])
                + ([] if keep is None else ["--keep", str(keep)])
            )
            remove_abandoned()  # the worker's own, if it was killed
            found = json.loads(result.read_text()) if result.exists() else {}
            known.add(found)
            deaths += ended.returncode != 0 or found["stopped_by_memory"]
            if ended.returncode != 0:
                last = last_input(current)
                if last is None:
                    said = ended.stderr.decode(errors="replace").strip()[-300:]
                    known.failures[f"no execution: exit status {ended.returncode}: {said}"] += 1
                    break
                number, accepted, data = last
                known.executions, known.accepted = number + 1, known.accepted + accepted
                what = _death(ended.returncode)
                Failures(keep, name).add(what, data)
                known.failures[what] += 1
            known.seconds = round(before_s + time.monotonic() - start, 1)
            if records is not None:
                records.write(name, known)
    rows = tuple(f"{what} ({count})" for what, count in known.failures.most_common())
    return Report(
        name, known.executions, known.accepted, rows, round(known.peak_mb, 1), known.seconds
    )


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(_TESTS)}
    return subprocess.run(words, check=False, capture_output=True, env=environment)


def _source(words: Sequence[str]) -> str:
    """Return the digest of the source that a worker runs."""
    return _run([*words, "--source"]).stdout.decode().strip()


def _death(status: int) -> str:
    if status in {-signal.SIGPROF, -signal.SIGALRM}:
        return "hang"
    if status < 0:
        return f"crash by {signal.Signals(-status).name}"
    return f"exit status {status}"


def work(
    target: Target,
    folder: Path,
    *,
    seed: int,
    start: int,
    executions: int,
    seconds: float | None,
    keep: Path | None,
    peak_mb: float = PEAK_MB,
    cpu_seconds: float = CPU_SECONDS,
) -> None:
    """Run inputs in this process, and write what came of them into `folder`.

    Before each execution its number and input are written there, so that they outlive a crash.
    """
    run, seeds = target.prepare(), list(target.seeds())
    require_sound(run, seeds)
    silence()
    bound_address_space()
    memory, failures = PeakMemory(), Failures(keep, target.name)
    current = CurrentInput(folder / "current")
    until = None if seconds is None else time.monotonic() + seconds
    done = accepted = 0
    too_large = False
    for number in range(start, start + executions):
        if until is not None and time.monotonic() > until:
            break
        data = input_of(target, seeds, seed, number)
        current.write(number, accepted, data)
        accepted += execute(run, data, failures, cpu_seconds)
        done += 1
        too_large = memory.has_grown() and memory.mb() > peak_mb
        if too_large:
            failures.add(f"resident memory above {peak_mb:.0f} MB", data)
            break
    result = {
        "executions": done,
        "accepted": accepted,
        "failures": failures.counts,
        "peak_mb": memory.mb(),
        "stopped_by_memory": too_large,
    }
    (folder / "result").write_text(json.dumps(result))


def input_of(target: Target, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return one input; the first are the seeds as they are."""
    if number < len(seeds):
        return seeds[number]
    rng = random.Random((seed << 40) + number)
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = target.mutate(data, rng)
    return data


def execute(
    run: Callable[[bytes], None],
    data: bytes,
    failures: Failures,
    cpu_seconds: float = CPU_SECONDS,
) -> bool:
    """Run one input and return whether it was accepted; what is no FasdkError is a failure."""
    from fasdk.errors import FasdkError

    arm(cpu_seconds)
    try:
        run(data)
    except FasdkError:
        return False
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        failures.add(describe(error), data)
        return False
    finally:
        disarm()
    return True


def require_sound(run: Callable[[bytes], None], seeds: Sequence[bytes]) -> None:
    """Check that a target accepts one of its seeds: else nothing behind the first check is tried.

    Raises:
        RuntimeError: It accepts none.
    """
    refusals = []
    for seed in seeds:
        try:
            run(seed)
        except Exception as error:  # noqa: BLE001 - the loop meets it again, and reports it
            refusals.append(str(error))
        else:
            return
    raise RuntimeError(f"no seed is accepted: {refusals[:3]}")
