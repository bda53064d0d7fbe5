"""Scenarios on the simulated driver, one function a rule, run in a process of its own.

    python scenarios.py SCENARIO... [--plant NAME]
    python scenarios.py all

Exits 0 if every scenario holds, 1 with the reason if one does not. Nothing of fasdk is imported
before a plant is in its place.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import zlib

from support.cuda_sim.simulated_cuda import Simulator, load
from support.planted import calls, closing, preprocessing, recording
from support.planted.plants import PLANTS, plant
from support.planted.stage import Stage
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior

DEADLOCK_S = 90.0
HOLD_US = 600_000_000
SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        *calls.SCENARIOS,
        *recording.SCENARIOS,
        *closing.SCENARIOS,
        *preprocessing.SCENARIOS,
    )
}


def run(name: str, simulator: Simulator) -> str | None:
    """Run one scenario and return why it does not hold, or None."""
    behavior = Behavior()
    sys.modules["tensorrt"] = stand_in(simulator, behavior)
    simulator.reset(seed=zlib.crc32(name.encode()))
    # What nobody waits for does not happen, however busy this machine is.
    simulator.set_hold(HOLD_US)
    try:
        SCENARIOS[name](Stage(simulator, behavior))
    except Exception as error:  # noqa: BLE001 - whatever it is, the scenario does not hold
        return f"{type(error).__name__}: {str(error).strip()}"
    violations = simulator.report().violations
    return "; ".join(f"{v.kind.value}: {v.text}" for v in violations) or None


def main() -> None:
    """Run the scenarios asked for, with a plant if one is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--plant", choices=[bug.name for bug in PLANTS])
    asked = parser.parse_args()
    # A plant may end in a deadlock, which is as good as a failure and must be told from one here.
    faulthandler.dump_traceback_later(DEADLOCK_S, exit=True)
    simulator = load()
    for bug in PLANTS:
        if bug.name == asked.plant:
            plant(bug)
    for name in SCENARIOS if "all" in asked.scenarios else asked.scenarios:
        fault = run(name, simulator)
        print(f"{name}: {fault or 'holds'}", flush=True)
        if fault is not None:
            # Not sys.exit: threads and device memory of a broken runtime are not worth tidying.
            sys.stdout.flush()
            os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
