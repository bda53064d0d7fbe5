"""Interpreter that imports a changed copy of the package instead of the installed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_in_copy(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that finds packages in `folder` first.

    Without the `site` module no `.pth` file is read: the import hook of an editable
    installation stands before `sys.path` and would answer with the installed package.

    Args:
        folder: The folder that holds the copied package.
        code: Python source of the program.

    Returns:
        The finished process with its output as text.
    """
    installed = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *installed])},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
