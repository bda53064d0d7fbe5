"""Kills at random moments: whoever cuts the power gets neither half a file nor an older one.

Who can kill the process at any instant hopes for a bundle, plan, key, memory of revisions or count
of attempts that is half written, gone, or older than what was reported as written, or for a disk
that fills with parts.
Answer: each is whole, none is older, and the next write leaves nothing behind. A thousand kills:
`PYTHONPATH=tests python -m support.kills --kills 1000`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_killed_writers_leave_whole_states_and_no_litter() -> None:
    # In a process of its own: writers are forked from it, and a fork takes no threads along.
    ran = subprocess.run(
        [sys.executable, "-m", "support.kills", "--kills", "300"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert (found["broken"], found["litter"]) == ([], 0)
    assert found["kills"] == 300
    # Without unnamed files kills do leave parts, so the clean-up was needed.
    assert any(count for what, count in found["parts"].items() if what.endswith(", named files"))
