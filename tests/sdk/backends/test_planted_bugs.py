"""Each safeguard of the TensorRT runtime is needed: without it a scenario on the driver fails.

Every run has a process of its own, since a broken runtime leaves nothing to rely on behind.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from planted.plants import PLANTS, Plant
from simulated_cuda import Layout

SCRIPT = Path(__file__).parent / "planted" / "scenarios.py"
TIMEOUT_S = 300.0

pytestmark = pytest.mark.cuda_sim


def scenarios(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script and return what it said."""
    if not Layout.here().is_ready:
        pytest.fail("the simulated driver is not built: `make cuda-sim`")
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_every_scenario_holds_with_no_bug_planted() -> None:
    done = scenarios("all")
    assert done.returncode == 0, done.stdout + done.stderr
    held = {line.removesuffix(": holds") for line in done.stdout.splitlines()}
    assert held >= {bug.scenario for bug in PLANTS}


@pytest.mark.parametrize("bug", PLANTS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Plant) -> None:
    done = scenarios(bug.scenario, "--plant", bug.name)
    caught = f"{bug.scenario}: " in done.stdout and "holds" not in done.stdout
    # pycuda ends the process where it cannot tell anyone: in a destructor, or as a thread ends.
    aborted = done.returncode == -signal.SIGABRT and "pycuda" in done.stderr.lower()
    assert done.returncode != 0, f"nobody noticed: {done.stdout}"
    assert caught or aborted or "Timeout" in done.stderr, done.stdout + done.stderr
