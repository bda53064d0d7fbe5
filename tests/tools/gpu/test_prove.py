"""Proof on a GPU: processes that fail or hang, and the whole of it on the simulated driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROVE = ROOT / "tools" / "gpu" / "prove.py"
WAYS = ("graphs", "enqueued")

FAKES = """
import os, time
from claims import Claim

def holds(setting):
    print("a library's own words")
    yield Claim("holds", 1, "==", 1)

def cannot(setting):
    yield Claim("cannot", None, "==", 0, skipped="no such device")

def misses(setting, model):
    yield Claim(f"misses {model}", 3, "<=", 2)

def raises(setting):
    yield Claim("before", 1, "==", 1)
    raise ValueError("a broken claim")

def dies(setting):
    yield Claim("alive", 1, "==", 1)
    os.abort()

def hangs(setting):
    yield Claim("starts", 1, "==", 1)
    time.sleep(600)
"""

# Groups of the fakes above, with a short budget for the one that hangs.
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {gpu!r})
import prove
from argparse import Namespace
groups = {{name: prove.Group("fakes", name, budget, model) for name, budget, model in {groups!r}}}
words = Namespace(dry_run=True, work=Path({work!r}), models=["mmdg"], seconds={seconds})
sys.exit(prove.prove(groups, words))
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "fakes.py").write_text(FAKES)
    # What a claim needs of the project is not needed here.
    (tmp_path / "setting.py").write_text("class Setting:\n    def __init__(self, **_): pass\n")

    def start(*groups, seconds=300.0):
        script = DRIVER.format(
            gpu=str(PROVE.parent), groups=groups, work=str(tmp_path), seconds=seconds
        )
        ran = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )
        assert ran.stderr == ""
        return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()]

    return start


def test_a_group_that_hangs_or_dies_loses_no_other(run):
    status, lines = run(
        ("hangs", 3.0, ""), ("dies", 30.0, ""), ("raises", 30.0, ""), ("holds", 30.0, "")
    )
    assert status == 1
    assert [(line["group"], line["claim"], line["ok"]) for line in lines] == [
        ("hangs", "starts", True),
        ("hangs", "hangs: whole", False),
        ("dies", "alive", True),
        ("dies", "dies: whole", False),
        ("raises", "before", True),
        ("raises", "raises could be measured", False),
        ("holds", "holds", True),
    ]
    assert "killed after" in lines[1]["note"]
    assert "ended with -6" in lines[3]["note"]
    assert lines[5]["note"] == "ValueError: a broken claim"


def test_what_cannot_be_tried_is_no_miss(run):
    status, lines = run(("cannot", 30.0, ""), ("holds", 30.0, ""))
    assert status == 0
    assert lines[0]["ok"] is None
    assert lines[0]["skipped"] == "no such device"


def test_a_miss_is_told_by_the_exit_status(run):
    status, lines = run(("misses", 30.0, "mmdg"))
    assert (status, lines[0]["claim"], lines[0]["ok"]) == (1, "misses mmdg", False)


def test_what_the_time_was_too_short_for_is_a_miss(run):
    status, lines = run(("holds", 30.0, ""), seconds=0.5)
    assert status == 1
    assert [line["claim"] for line in lines] == ["holds: tried"]
    assert "--seconds" in lines[0]["note"]


@pytest.mark.cuda_sim
@pytest.mark.timeout(900)
def test_a_dry_run_shows_every_claim(tmp_path):
    words = ["--dry-run", "--models", "mmda", "--work", str(tmp_path), "--seconds", "880"]
    ran = subprocess.run(
        [sys.executable, PROVE, *words], capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line for line in lines if not line["ok"]] == []
    assert ran.returncode == 0, ran.stderr
    assert {line["group"].partition(":")[0] for line in lines} == {
        "device",
        "prepare",
        "kernel",
        "lanes",
        "tensorrt",
        "tensorrt_rtx",
        "pytorch",
    }
    shown = " ".join(line["claim"] for line in lines)
    for precision, batch, way in product(("fp32", "fp16"), (1, 3, 8), WAYS):
        # In TensorRT, TensorRT-RTX and PyTorch.
        assert shown.count(f"mmda {precision}, batch {batch}, {way}") == 3
    assert "emulated rounding" in shown
