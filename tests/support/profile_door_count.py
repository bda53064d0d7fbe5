"""Doors that the command line says a machine serves, measured again in fresh runs.

    PYTHONPATH=tests python -m support.profile_door_count BUNDLE [--runs 5] [--within 5m]
        [--fps F --deadline MS]

prints one JSON document. Frame rate and deadline come from this machine: see `door_for`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasdk_tools.profiling.doors import run_calls
from fasdk_tools.profiling.held_rate import LEAST_GOODPUT, goodput
from fasdk_tools.profiling.samples import Samples

from support.profile_find import closed_median_ms

ASKED = 10
DOORS_OF_RATE, TIMES_OF_MEDIAN = 20, 20.0
CLEARLY_MORE = 1.5
_RUNS_OF_CALLS = 2  # a fresh run has twice as many captures as one of the search


@dataclass(frozen=True)
class Door:
    """What each door asks.

    Attributes:
        fps: Captures a second.
        deadline_ms: Deadline from due time, in milliseconds.
    """

    fps: float
    deadline_ms: float


def door_for(median_ms: float) -> Door:
    """Return a door of which one lane without a pause could serve some twenty.

    Args:
        median_ms: Median of a call in the closed loop, in milliseconds.
    """
    return Door(
        float(f"{1e3 / median_ms / DOORS_OF_RATE:.3g}"), float(f"{TIMES_OF_MEDIAN * median_ms:.3g}")
    )


def clearly_more(doors: int) -> int:
    """Return a number of doors beyond what a queue of one step more could explain."""
    return math.ceil(CLEARLY_MORE * doors) + 1


def profiled(bundle: Path, *options: object) -> str:
    """Return what `fasdk profile` printed."""
    words = [sys.executable, "-m", "fasdk_tools.cli", "profile", str(bundle)]
    words += [*map(str, options), "--backend", "onnxruntime", "--unsigned"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(words)} exited {ran.returncode}: {ran.stderr[-300:]}")
    return ran.stdout


def profiled_samples(bundle: Path, *options: object) -> Samples:
    """Return every call that `fasdk profile` measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.npz"
        profiled(bundle, *options, "--samples", out)
        return Samples.read(out)


def fresh_run(bundle: Path, doors: int, door: Door, seed: int) -> dict[str, Any]:
    """Return goodput and whether 99 % were decided in time, of a load of so many cameras."""
    seconds = _RUNS_OF_CALLS * run_calls(doors) / (doors * door.fps)
    load = ("--load", "constant", "--cameras", doors, "--fps", door.fps, "--seconds", seconds)
    samples = profiled_samples(bundle, *load, "--seed", seed)
    share = goodput(samples, door.deadline_ms)
    return {"goodput": share, "held": share >= LEAST_GOODPUT, "calls": len(samples)}


def main() -> int:
    """Count doors, measure again, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--within", default="5m")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--deadline", type=float, metavar="MS")
    options = parser.parse_args()
    bundle: Path = options.bundle
    door = (
        door_for(closed_median_ms(bundle))
        if options.fps is None
        else Door(options.fps, options.deadline)
    )
    asked = ("--doors", ASKED, "--fps", door.fps, "--deadline", door.deadline_ms)
    begun = time.perf_counter()
    found = json.loads(profiled(bundle, *asked, "--within", options.within, "--json"))
    seconds = time.perf_counter() - begun
    serves = found["serves"]
    counts = {"held": serves, "not_held": clearly_more(serves)}
    fresh = {
        name: [fresh_run(bundle, doors, door, 1000 + n) for n in range(options.runs)]
        for name, doors in counts.items()
        if doors > 0
    }
    print(json.dumps({"found": found, "seconds": seconds, "doors": counts, "fresh_runs": fresh}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
