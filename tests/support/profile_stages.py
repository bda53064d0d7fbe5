"""Stages of every capture against its end-to-end time, from what the command line stored.

    PYTHONPATH=tests python -m support.profile_stages BUNDLE [--seconds 10]

prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fasdk_tools.profiling.samples import Outcome, Samples

from support.profile_door_count import profiled_samples
from support.profile_find import closed_median_ms, opened, target_for


def stage_shares(samples: Samples) -> dict[str, Any]:
    """Return how far stages are from end-to-end times, as shares of those, over all decided calls.

    A residual stage could hide any gap, so what the stages that were timed claim beyond the whole
    counts too: it makes the residual negative.
    """
    decided = samples.outcome == Outcome.DECIDED
    whole = samples.latency_ms[decided]
    stages = np.array([values[decided] for values in samples.stages_ms.values()])
    sums = np.abs(stages.sum(axis=0) - whole) / whole
    below_zero = np.maximum(0.0, -stages.min(axis=0)) / whole
    return {
        "calls": len(whole),
        "stages": list(samples.stages_ms),
        "largest_difference": float(sums.max()),
        "largest_negative": float(below_zero.max()),
    }


def decision_shares(bundle: Path, calls: int) -> dict[str, Any]:
    """Return the same of a session's own decisions, by their `timings_ms`."""
    differences, negatives = [], []
    with opened(bundle) as session:
        captures = [item.capture for item in session.bundle.golden]
        for number in range(calls):
            timings = dict(session.check(captures[number % len(captures)]).timings_ms)
            whole = timings.pop("end_to_end")
            differences.append(abs(sum(timings.values()) - whole) / whole)
            negatives.append(max(0.0, -min(timings.values())) / whole)
    return {
        "calls": calls,
        "stages": list(timings),
        "largest_difference": max(differences),
        "largest_negative": max(negatives),
    }


def main() -> int:
    """Measure a closed and an open load and print how far their stages are off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    bundle: Path = options.bundle
    rate = target_for(closed_median_ms(bundle, min(3.0, options.seconds))).rate_per_s
    loads = {"closed": (), "poisson": ("--rate", rate)}
    found = {}
    for load, more in loads.items():
        asked = ("--load", load, *more, "--seconds", options.seconds, "--lanes", 2)
        found[load] = stage_shares(profiled_samples(bundle, *asked))
    found["decisions of check"] = decision_shares(bundle, 300)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
