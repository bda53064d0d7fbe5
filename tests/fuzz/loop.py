"""Seeded fuzzing without coverage: a worker that runs the inputs, a parent that outlives it."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
from fuzz.target import Target

PEAK_MB = 512.0
_TESTS = Path(__file__).resolve().parents[1]
_MOST_DEATHS = 200
_HEAD = struct.Struct("<2Q")  # number of the input, accepted before


def fuzz(
    name: str,
    executions: int,
    *,
    seed: int = 0,
    seconds: float | None = None,
    keep: Path | None = None,
    command: Sequence[str] | None = None,
) -> Report:
    """Run a target on mutated inputs in worker processes; one that dies is a failure too.

    Args:
        name: Name of the target.
        executions: Number of inputs.
        seed: Seed of the inputs; the same seed gives the same ones.
        seconds: Wall-clock time after which no further input is run.
        keep: Folder for inputs that fail, or None.
        command: Command that starts a worker; this package's own by default.
    """
    start = time.monotonic()
    counts: Counter[str] = Counter()
    done = accepted = deaths = 0
    peak = 0.0
    with tempfile.TemporaryDirectory() as folder:
        current, result = Path(folder) / "current", Path(folder) / "result"
        while done < executions and deaths < _MOST_DEATHS:
            left = None if seconds is None else seconds - (time.monotonic() - start)
            if left is not None and left <= 0:
                break
            words = command or [sys.executable, "-m", "fuzz", name]
            words = [*words, "--worker", folder, "--seed", str(seed), "--start", str(done)]
            words += ["--executions", str(executions - done)]
            words += [] if left is None else ["--seconds", str(left)]
            words += [] if keep is None else ["--keep", str(keep)]
            result.unlink(missing_ok=True)
            current.unlink(missing_ok=True)
            environment = os.environ | {"PYTHONPATH": str(_TESTS)}
            ended = subprocess.run(words, check=False, capture_output=True, env=environment)
            found = json.loads(result.read_text()) if result.exists() else {}
            counts.update(found.get("failures", {}))
            accepted += found.get("accepted", 0)
            peak = max(peak, found.get("peak_mb", 0.0))
            if ended.returncode == 0:
                done += found["executions"]
                if not found["stopped_by_memory"]:
                    break
                continue
            deaths += 1
            if not current.exists() or current.stat().st_size < _HEAD.size:
                said = ended.stderr.decode(errors="replace").strip()[-300:]
                counts[f"no execution: exit status {ended.returncode}: {said}"] += 1
                break
            number, before, data = _last_input(current)
            done, accepted = number + 1, accepted + before
            what = _death(ended.returncode)
            failures = Failures(keep, name)
            failures.add(what, data)
            counts[what] += 1
    rows = tuple(f"{what} ({count})" for what, count in counts.most_common())
    return Report(name, done, accepted, rows, round(peak, 1), round(time.monotonic() - start, 1))


def _last_input(current: Path) -> tuple[int, int, bytes]:
    """Return number and bytes of the input a worker died of, and how many it accepted before."""
    written = current.read_bytes()
    number, accepted = _HEAD.unpack_from(written)
    return number, accepted, written[_HEAD.size :]


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
    file = os.open(folder / "current", os.O_RDWR | os.O_CREAT)
    until = None if seconds is None else time.monotonic() + seconds
    done = accepted = 0
    grown = False
    for number in range(start, start + executions):
        if until is not None and time.monotonic() > until:
            break
        data = input_of(target, seeds, seed, number)
        os.ftruncate(file, _HEAD.size + len(data))
        os.pwrite(file, _HEAD.pack(number, accepted) + data, 0)
        accepted += execute(run, data, failures, cpu_seconds)
        done += 1
        grown = memory.mb() > peak_mb
        if grown:
            failures.add(f"resident memory above {peak_mb:.0f} MB", data)
            break
    result = {
        "executions": done,
        "accepted": accepted,
        "failures": failures.counts,
        "peak_mb": memory.mb(),
        "stopped_by_memory": grown,
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
