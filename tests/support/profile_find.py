"""Search of a policy by the command line, and fresh processes held to what it found.

    PYTHONPATH=tests python -m support.profile_find BUNDLE [--runs 5] [--within 5m] [--target TEXT]

prints one JSON document. The target comes from this machine: see `target_for`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fasdk
from fasdk.bundle.trust import TrustPolicy
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.percentiles import calls_needed, percentile
from fasdk_tools.profiling.samples import Outcome
from fasdk_tools.profiling.target import Target

P, SHARE_OF_RATE, TIMES_OF_MEDIAN = 99.0, 0.5, 8.0
SECONDS = 3.0  # of the closed loop that the target is derived from
_FRESH = "--fresh-run"


def target_for(median_ms: float) -> Target:
    """Return a target that takes a machine's settings seriously and can be met.

    The rate is half of what one lane does without a pause. At that load p99 of fixed services and
    random arrivals is some 4 services (M/D/1; Franx, Operations Research Letters 29, 2001), which
    leaves twice as much for what a real machine adds. A setting that halves a lane's speed, or
    waits a few services for a batch, misses it.

    Args:
        median_ms: Median of a call in the closed loop, in milliseconds.
    """
    return Target(
        P,
        float(f"{TIMES_OF_MEDIAN * median_ms:.3g}"),
        float(f"{SHARE_OF_RATE * 1e3 / median_ms:.3g}"),
    )


def closed_median_ms(bundle: Path, seconds: float = SECONDS) -> float:
    """Return the median call of the closed loop of one lane, in milliseconds."""
    with opened(bundle) as session:
        captures = [item.capture for item in session.bundle.golden]
        samples = measure(session, captures, LoadRequest(load=Load.CLOSED, seconds=seconds))
    found = percentile(samples.counted.latency_ms, 50.0).ms
    if found is None:
        raise SystemExit(f"{len(samples.counted)} calls have no median: measure longer")
    return found


def fresh_run(bundle: Path, policy: Path, target: Target, seed: int) -> dict[str, Any]:
    """Open a bundle with a policy's file and measure the target's percentile at its rate."""
    with opened(bundle, batching=policy) as session:
        captures = [item.capture for item in session.bundle.golden]
        request = LoadRequest(
            load=Load.POISSON,
            rate_per_s=target.rate_per_s,
            seconds=target.trial_s(calls_needed(target.p)),
            seed=seed,
        )
        samples = measure(session, captures, request).counted
        lanes = session.batching.lanes
    decided = samples.outcome == Outcome.DECIDED
    latency_ms = np.where(decided, samples.latency_ms, math.inf)
    figure_ms = target.figure_ms(latency_ms)
    return {
        "meets": target.is_met(latency_ms),
        "figure_ms": figure_ms if math.isfinite(figure_ms) else None,
        "calls": len(samples),
        "lanes": lanes,
    }


def opened(bundle: Path, **settings: Any) -> fasdk.Liveness:
    """Open a bundle as the searched one is."""
    return fasdk.open(
        bundle,
        backend="onnxruntime",
        trust=TrustPolicy.unsigned(),
        missing="degrade",
        **settings,
    )


def searched(bundle: Path, target: Target, out: Path, within: str) -> tuple[dict[str, Any], float]:
    """Return what the command line printed, and the seconds that it took."""
    words = [sys.executable, "-m", "fasdk_tools.cli", "profile", str(bundle)]
    words += ["--find", str(target), "-o", str(out), "--within", within, "--json"]
    words += ["--backend", "onnxruntime", "--unsigned"]
    begun = time.perf_counter()
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if ran.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(words)} exited {ran.returncode}: {ran.stderr[-300:]}")
    return json.loads(ran.stdout), seconds


def in_fresh_process(bundle: Path, policy: Path, target: Target, seed: int) -> dict[str, Any]:
    """Return `fresh_run` of a process of its own."""
    words = [sys.executable, "-m", "support.profile_find", str(bundle), _FRESH, str(policy)]
    words += ["--target", str(target), "--seed", str(seed)]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Search, run afresh, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--within", default="5m")
    parser.add_argument("--target", type=Target.parse, help="instead of one from this machine")
    parser.add_argument("--seed", type=int, default=0, help="of the first fresh run")
    parser.add_argument(_FRESH, type=Path, metavar="POLICY", help="one run, in this process")
    options = parser.parse_args()
    bundle: Path = options.bundle
    target = options.target or target_for(closed_median_ms(bundle))
    if options.fresh_run is not None:
        print(json.dumps(fresh_run(bundle, options.fresh_run, target, options.seed)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.json"
        found, seconds = searched(bundle, target, policy, options.within)
        fresh = [
            in_fresh_process(bundle, policy, target, options.seed + 1000 + number)
            for number in range(options.runs if policy.exists() else 0)
        ]
    print(
        json.dumps({"target": str(target), "seconds": seconds, "found": found, "fresh_runs": fresh})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
