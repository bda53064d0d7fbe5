"""Kills of writers, run in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


def found_by(module: str, kills: int) -> dict[str, Any]:
    """Return what a module of killed writers printed.

    In a process of its own: writers are forked from it, and a fork takes no threads along.

    Args:
        module: Module of `support` that is run, such as "kills".
        kills: Number of kills.
    """
    ran = subprocess.run(
        [sys.executable, "-m", f"support.{module}", "--kills", str(kills)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found
