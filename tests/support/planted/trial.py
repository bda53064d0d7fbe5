"""Trial of one planted bug against its scenario, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Trial:
    """What a run of scenarios said.

    Attributes:
        status: Exit status of the process; negative where a signal ended it.
        said: Outcome of each scenario, by name: "holds", or why it does not.
        errors: Standard error output of the process.
    """

    status: int
    said: dict[str, str]
    errors: str

    @property
    def holds(self) -> bool:
        """Whether every scenario held."""
        return self.status == 0 and all(text == "holds" for text in self.said.values())

    @property
    def noticed(self) -> bool:
        """Whether the scenario itself failed: it said why, was aborted, or came to a standstill."""
        failed = self.status != 0 and any(text != "holds" for text in self.said.values())
        # pycuda ends the process where it cannot tell anyone: in a destructor, or as a thread ends.
        aborted = self.status == -signal.SIGABRT and "pycuda" in self.errors.lower()
        return failed or aborted or "Timeout (" in self.errors


def try_scenarios(*arguments: str) -> Trial:
    """Run `scenarios.py` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "support.planted.scenarios", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    pairs = (line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    return Trial(done.returncode, dict(pairs), done.stderr)
