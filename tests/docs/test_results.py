"""Recorded claims, and the page generated from them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
RESULTS = PROJECT / "docs" / "results"
RENDERER = PROJECT / "tools" / "docs" / "results.py"

VERIFICATION = """
import sys
sys.path.insert(0, {verify!r})
from claims import Claim, report

def first():
    yield Claim("largest drift", {drift}, "<=", 0.01, "on made-up numbers")

def second():
    yield Claim("captures lost", 0, "==", 0)
    raise RuntimeError("the rest broke")

groups = {{"drift": first, "losses": second}}
sys.exit(report({{name: groups[name] for name in {names!r}}}))
"""


def render(*options):
    return subprocess.run(
        [sys.executable, RENDERER, *options], capture_output=True, text=True, check=False
    )


@pytest.fixture
def results(tmp_path):
    """A folder with the lines of one verification, and what runs it again."""

    record_to = {"FASDK_RECORD": str(tmp_path / "lines" / "verify-main.jsonl")}
    plain = {name: value for name, value in os.environ.items() if name not in record_to}

    def verify(names=("drift", "losses"), drift=0.002, record=True):
        script = VERIFICATION.format(
            verify=str(PROJECT / "tools" / "verify"), names=names, drift=drift
        )
        return subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=plain | (record_to if record else {}),
        )

    return tmp_path, verify


def lines(folder):
    return [json.loads(line) for line in (folder / "lines" / "verify-main.jsonl").open()]


def test_the_page_is_what_the_recorded_lines_say():
    checked = render("--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_recorded_line_has_the_claim_and_its_circumstances(results):
    folder, verify = results
    ran = verify()
    assert ran.returncode == 1
    printed = [json.loads(line) for line in ran.stdout.splitlines()]
    recorded = lines(folder)
    assert len(recorded) == len(printed) == 3
    for line, claim in zip(recorded, printed, strict=True):
        assert claim.items() <= line.items()
        assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?|unknown", line["revision"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", line["date"])
        assert line["cpu"].endswith("cores")
    assert [line["group"] for line in recorded] == ["drift", "losses", "losses"]
    assert [line["ok"] for line in recorded] == [True, True, False]
    assert "the rest broke" in recorded[2]["note"]


def test_a_group_measured_again_replaces_its_own_lines_alone(results):
    folder, verify = results
    verify()
    verify(("drift",), drift=0.5)
    assert [(line["group"], line["measured"]) for line in lines(folder)] == [
        ("losses", 0),
        ("losses", None),
        ("drift", 0.5),
    ]


def test_nothing_is_recorded_unless_asked(results):
    folder, verify = results
    ran = verify(record=False)
    assert ran.stdout.count("\n") == 3
    assert list(folder.iterdir()) == []


def test_the_page_shows_each_claim_and_marks_a_miss(results):
    folder, verify = results
    verify(drift=0.5)
    assert render("--results", folder).returncode == 0
    page = (folder / "measured.md").read_text("utf-8")
    assert "## `make verify-main`" in page
    assert "| largest drift | **0.5** | `<= 0.01` | on made-up numbers |" in page
    assert "| captures lost | 0 | `== 0` |  |" in page
    assert "**not measured**" in page
    assert lines(folder)[0]["cpu"] in page


def test_a_page_older_than_its_lines_is_stale(results):
    folder, verify = results
    verify()
    render("--results", folder)
    assert render("--check", "--results", folder).returncode == 0
    verify(("drift",), drift=0.003)
    checked = render("--check", "--results", folder)
    assert checked.returncode == 1
    assert "make results" in checked.stdout


def test_without_lines_the_page_says_so(tmp_path):
    (tmp_path / "lines").mkdir()
    render("--results", tmp_path)
    assert "Nothing has been recorded yet" in (tmp_path / "measured.md").read_text("utf-8")


def test_a_table_of_forms_counts_them_and_marks_what_is_wrong(tmp_path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "tables").mkdir()
    rows = [
        {"form": "with a | bar", "outcome": "read", "right": True},
        {"form": "empty", "outcome": "TypeError: none", "right": False},
    ]
    (tmp_path / "tables" / "capture-lists.json").write_text(json.dumps(rows))
    assert render("--check", "--results", tmp_path).returncode == 1
    render("--results", tmp_path)
    page = (tmp_path / "brought.md").read_text("utf-8")
    assert "## Capture lists\n\n1 of 2.\n" in page
    assert "| with a \\| bar | read |" in page
    assert "| empty | **TypeError: none** |" in page
    assert render("--check", "--results", tmp_path).returncode == 0


def test_every_recorded_file_is_of_a_make_target():
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert {file.stem for file in (RESULTS / "lines").glob("*.jsonl")} <= targets
