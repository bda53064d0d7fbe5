"""Source trees of other revisions, run with the packages of this virtual environment."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import ROOT

COMPONENT_FOLDERS = ("sdk", "engines", "calibration", "tools")

# An editable install puts a finder before sys.path that resolves fasdk to this checkout.
_SITECUSTOMIZE = """\
import sys

sys.meta_path[:] = [
    finder for finder in sys.meta_path if not type(finder).__module__.startswith("_editable_")
]
"""


class RevisionError(Exception):
    """A revision is not in this clone, or a command of its source tree failed."""


@dataclass(frozen=True)
class SourceTree:
    """A checkout whose own packages are imported, with all others from this environment.

    Attributes:
        root: Folder of the checkout.
        bootstrap: Folder with a sitecustomize module that disables editable installs.
    """

    root: Path
    bootstrap: Path

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a process that imports this tree's packages."""
        folders = [self.bootstrap, *(self.root / name for name in COMPONENT_FOLDERS)]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def python(self, *arguments: object, ok_status: tuple[int, ...] = (0,)) -> str:
        """Run this environment's interpreter on the tree and return its stdout.

        Raises:
            RevisionError: The process ended in a status that is not in `ok_status`.
        """
        words = [sys.executable, *map(str, arguments)]
        ran = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.root,
            env=self.environment(),
        )
        if ran.returncode not in ok_status:
            raise RevisionError(
                f"{' '.join(words[1:4])} in {self.root} exited {ran.returncode}: "
                f"{(ran.stderr or ran.stdout)[-300:]}"
            )
        return ran.stdout

    def fasdk(self, *arguments: object) -> str:
        """Run a verb of the tree's command line with --json and return its stdout.

        Raises:
            RevisionError: It exited in another status than 0.
        """
        return self.python("-m", "fasdk_tools.cli", *arguments, "--json")

    def fasdk_json(self, *arguments: object) -> dict[str, Any]:
        """Run a verb of the tree's command line and return its JSON document.

        Raises:
            RevisionError: It exited in another status than 0.
        """
        document: dict[str, Any] = json.loads(self.fasdk(*arguments))
        return document


def current_tree(folder: Path) -> SourceTree:
    """Return this checkout as it stands, uncommitted changes included.

    Args:
        folder: Existing folder for the bootstrap module.
    """
    return SourceTree(ROOT, _write_bootstrap(folder))


def extract_revision(revision: str, folder: Path) -> SourceTree:
    """Write the files of a revision into a new folder below `folder`.

    Raises:
        RevisionError: The revision is not in this clone, as in a shallow one.
    """
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{revision}^{{commit}}"],
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    if known.returncode != 0:
        raise RevisionError(
            f"revision {revision} is not in this clone: fetch the whole history "
            "(git fetch --unshallow) and run again"
        )
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision], capture_output=True, check=True, cwd=ROOT
    ).stdout
    root = folder / revision
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(root, filter="data")
    return SourceTree(root, _write_bootstrap(folder))


def _write_bootstrap(folder: Path) -> Path:
    bootstrap = folder / "bootstrap"
    bootstrap.mkdir(exist_ok=True)
    (bootstrap / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    return bootstrap
