"""Help, version and shell completion of the command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pkgutil import iter_modules

import pytest
import typer.main

from fasdk.backends.engine import Backend
from fasdk.cameras.spec import KINDS
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_tools import cli
from fasdk_tools.cli import root

COMMAND = typer.main.get_command(root.app)
VERBS = sorted(COMMAND.commands)
RUN = [sys.executable, "-m", "fasdk_tools.cli"]


def sentence(text):
    return " ".join(text.split())


def test_every_verb_belongs_to_a_group():
    assert {name for name in VERBS if not COMMAND.commands[name].rich_help_panel} == set()


def test_the_help_groups_the_verbs_by_task_and_cuts_no_sentence(fasdk, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = fasdk("--help").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "..." not in shown.replace("[ARGS]...", "")
    places = [shown.index(f"{panel.value}:") for panel in root.Panel]
    assert places == sorted(places)
    for name in VERBS:
        first = sentence(COMMAND.commands[name].help.split("\n\n")[0]).rstrip(".")
        assert f"{name} {first}" in sentence(shown)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_fits_and_breaks_no_word(fasdk, monkeypatch, verb, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = fasdk(verb, "--help")
    assert shown.status == 0
    assert all(len(line) <= width for line in shown.stdout.splitlines())
    words = set(shown.stdout.split())
    for parameter in COMMAND.commands[verb].params:
        for name in parameter.opts if parameter.opts[0].startswith("--") else []:
            assert any(name in word for word in words)
        missing = {word for word in (parameter.help or "").split() if word not in words}
        assert not {word for word in missing if word + ";" not in words and word[:-1] not in words}


def help_of(option):
    """Return the different help texts that verbs have for an option."""
    return {
        parameter.help
        for verb in VERBS
        for parameter in COMMAND.commands[verb].params
        if option in parameter.opts
    }


def test_backend_help_names_every_backend():
    for backend in Backend:
        for text in help_of("--backend"):
            assert re.search(rf"(?<![\w-]){backend.value}(?![\w-])", text)


def test_range_method_help_names_every_range_method():
    (text,) = help_of("--range-method")
    for method in RangeMethod:
        assert re.search(rf"\b{method.value}\b", text)


def test_camera_help_names_every_form_of_every_kind():
    (text,) = help_of("--camera")
    assert [form for kind in KINDS for form in kind.forms if form not in text] == []


def test_every_module_of_verbs_is_imported_by_the_package():
    program = "import sys, fasdk_tools.cli; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    modules = {f"fasdk_tools.cli.{each.name}" for each in iter_modules(cli.__path__)}
    assert modules - {"fasdk_tools.cli.__main__"} <= set(ran.stdout.split())


def test_the_version_is_that_of_the_package(fasdk):
    ran = fasdk("--version")
    assert (ran.status, ran.stdout) == (0, f"fasdk {version('fasdk')}\n")


def test_completion_for_bash_is_shown_and_completes_verbs():
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [*RUN, "--show-completion", "bash"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"complete .* fasdk", shown.stdout)
    assert "_FASDK_COMPLETE=complete_bash" in shown.stdout
    asked = {"_FASDK_COMPLETE": "complete_bash", "COMP_WORDS": "fasdk ver", "COMP_CWORD": "1"}
    completed = subprocess.run(
        RUN, env=os.environ | asked, capture_output=True, text=True, timeout=60, check=False
    )
    assert completed.stdout.split() == ["verify"]


def test_an_unknown_verb_is_one_line(fasdk):
    ran = fasdk("verifyy")
    assert ran.status == 2
    assert len(ran.error_lines) == 1 and "verifyy" in ran.error_lines[0]
