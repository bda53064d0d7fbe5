"""Scratch folders of killed processes are removed, those of living ones are not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from fuzz.loop import fuzz
from fuzz.scratch import new_scratch_folder, remove_abandoned

KILLED = """
import os, sys
from pathlib import Path
from fuzz.scratch import new_scratch_folder
parent = Path(sys.argv[1]) if sys.argv[1] else None
with new_scratch_folder(parent) as folder:
    (folder / "input").write_bytes(b"x")
    Path(sys.argv[2]).write_text(str(folder))
    os.kill(os.getpid(), 9)
"""


def killed(parent: Path, said: Path) -> Path:
    """Return the folder that a killed process left in `parent`."""
    words = [sys.executable, "-c", KILLED, str(parent), str(said)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(words, env=environment, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return Path(said.read_text())


def test_only_the_folder_of_a_killed_process_is_removed(tmp_path):
    left = killed(tmp_path, tmp_path / "said")
    assert (left / "input").exists()
    with new_scratch_folder(tmp_path) as folder:
        remove_abandoned(tmp_path)
        assert folder.is_dir()
        assert not left.parent.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["said"]


def test_a_worker_that_was_killed_leaves_nothing(tmp_path):
    said = tmp_path / "said"
    report = fuzz("x", 5, command=[sys.executable, "-c", KILLED, "", str(said)])
    assert "exit status -9" in report.failures[0]
    assert not Path(said.read_text()).parent.exists()
