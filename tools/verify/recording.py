"""Recorded claims: the JSON lines of a verification with revision, date and CPU.

`FASDK_RECORD=FILE` makes any script of this folder record what it prints; `make verify-NAME
RECORD=1` sets it. The lines of a group replace those its last run recorded, the other groups' stay.
`make results` renders the files.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from fasdk.atomic import atomic_write

VARIABLE = "FASDK_RECORD"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Circumstances:
    """When and on what a claim was measured.

    Attributes:
        revision: Revision of the project; it ends in "+changes" where files differed from it.
        date: Day, in UTC, as YYYY-MM-DD.
        cpu: Model of the CPU and number of cores this process may use.
    """

    revision: str
    date: str
    cpu: str

    @classmethod
    def now(cls) -> Circumstances:
        """Return those of this moment."""
        revision = _git("rev-parse", "--short=12", "HEAD") or "unknown"
        if _git("status", "--porcelain", "--", ".", ":!docs/results"):
            revision += "+changes"
        day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        return cls(revision, day, f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores")


class Recorder:
    """Keeps a file of recorded claims, one JSON object a line.

    Args:
        file: The file, made where it is missing; None records nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._circumstances = None if file is None else Circumstances.now()

    @classmethod
    def from_environment(cls) -> Recorder:
        """Return a recorder to the file that `FASDK_RECORD` names, or one that records nothing."""
        named = os.environ.get(VARIABLE)
        return cls(Path(named).resolve() if named else None)

    def replace(self, group: str, claims: list[str]) -> None:
        """Record a group's claims in place of those recorded before.

        Args:
            group: Name of the group.
            claims: JSON objects, in the order in which they were measured.
        """
        if self._file is None or self._circumstances is None:
            return
        known = self._file.read_text("utf-8").splitlines() if self._file.is_file() else []
        kept = [line for line in known if json.loads(line)["group"] != group]
        added = [
            json.dumps({"group": group} | json.loads(claim) | vars(self._circumstances))
            for claim in claims
        ]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._file) as file:
            file.write("".join(f"{line}\n" for line in [*kept, *added]).encode())


def _git(*arguments: str) -> str:
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:  # no git: the revision is unknown
        return ""
    return ran.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
