"""Questions to a process of its own: answers, crashes, hangs, and what is left behind."""

from __future__ import annotations

import sys
import time

import pytest

from fasdk_tools.doctor import child
from fasdk_tools.doctor.child import ask


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that the child finds, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "planted_module.py").write_text(text)
        return "planted_module"

    return write


def test_an_import_answers_with_the_version_and_writes_no_bytecode(module, tmp_path):
    name = module("__version__ = '1.2.3'\nprint('noise of the library')\n")
    answer = ask("package", {"module": name}, 30.0)
    assert answer.document is not None
    assert answer.document["version"] == "1.2.3"
    assert [path.name for path in tmp_path.iterdir()] == ["planted_module.py"]


def test_an_import_that_fails_says_why(module):
    name = module("raise ImportError('libnothing.so.1: cannot open shared object file')\n")
    answer = ask("package", {"module": name}, 30.0)
    assert answer.document == {
        "error": "ImportError: libnothing.so.1: cannot open shared object file"
    }


def test_a_crash_is_told_by_its_signal(module):
    answer = ask("package", {"module": module("import os\nos.abort()\n")}, 30.0)
    assert (answer.document, answer.trouble) == (None, "crashed by SIGABRT")


def test_an_end_without_an_answer_tells_what_was_said_last(module):
    answer = ask("package", {"module": module("import sys\nsys.exit('no licence')\n")}, 30.0)
    assert (answer.document, answer.trouble) == (None, "no licence")


def test_a_hang_is_ended_even_where_a_grandchild_keeps_the_pipes(module, monkeypatch):
    monkeypatch.setattr(child, "_SECONDS_TO_DIE", 0.2)
    sleeper = f"import subprocess, time\nsubprocess.Popen([{sys.executable!r}, '-c', 'import time; "
    name = module(f"{sleeper}time.sleep(3)'])\ntime.sleep(30)\n")
    start_s = time.monotonic()
    answer = ask("package", {"module": name}, 1.0)
    assert answer.hung
    assert answer.trouble == "gave no answer within 1 s"
    assert time.monotonic() - start_s < 20
