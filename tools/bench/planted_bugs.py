"""Plant every bug of the TensorRT runtime and count those a scenario notices: one JSON line.

    python tools/bench/planted_bugs.py

On the simulated CUDA driver, which `tests/cuda_sim/build.py` makes; a process each. Exits 1 unless
all are noticed and, with none planted, every scenario holds.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Print the counts."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "sdk" / "backends"))
    plants: Any = import_module("planted.plants")
    trial: Any = import_module("planted.trial")
    clean = trial.try_scenarios("all")
    missed = [
        bug.name
        for bug in plants.PLANTS
        if not trial.try_scenarios(bug.scenario, "--plant", bug.name).noticed
    ]
    result = {
        "benchmark": "planted_bugs",
        "planted": len(plants.PLANTS),
        "caught": len(plants.PLANTS) - len(missed),
        "missed": missed,
        "scenarios": len(clean.said),
        "holds_with_none_planted": clean.holds,
    }
    print(json.dumps(result))
    sys.exit(1 if missed or not clean.holds else 0)


if __name__ == "__main__":
    main()
