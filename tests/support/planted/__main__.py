"""Count of the planted bugs that a scenario detects, as one JSON line.

    PYTHONPATH=tests python -m support.planted

On the simulated CUDA driver, which `support.cuda_sim.build` makes; a process each. Exits 1 unless
all are noticed and, with none planted, every scenario holds.
"""

from __future__ import annotations

import json
import sys

from support.planted.plants import PLANTS
from support.planted.trial import try_scenarios


def main() -> None:
    """Print the counts."""
    clean = try_scenarios("all")
    missed = [
        bug.name for bug in PLANTS if not try_scenarios(bug.scenario, "--plant", bug.name).noticed
    ]
    result = {
        "benchmark": "planted_bugs",
        "planted": len(PLANTS),
        "caught": len(PLANTS) - len(missed),
        "missed": missed,
        "scenarios": len(clean.said),
        "holds_with_none_planted": clean.holds,
    }
    print(json.dumps(result))
    sys.exit(1 if missed or not clean.holds else 0)


if __name__ == "__main__":
    main()
