"""Instructions for installing extras: one wording, of extras that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from fasdk.extras import how_to_install

from support.base_install import project

ROOT = Path(__file__).parents[2]
EXTRAS = set(project()["optional-dependencies"])


def tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [(ROOT / name, (ROOT / name).read_text("utf-8")) for name in listed.stdout.split()]


def test_every_extra_that_a_message_names_exists():
    named = {
        name
        for path, text in tracked("sdk/*.py", "engines/*.py", "calibration/*.py", "tools/*.py")
        for name in re.findall(r"how_to_install\(['\"](.+?)['\"]\)", text)
    }
    assert {"cpu", "cuda", "rtx", "openvino", "realsense", "build"} <= named <= EXTRAS
    assert how_to_install("cuda") == "`pip install '.[cuda]'` in a checkout of fasdk"


def test_no_text_has_another_wording_and_every_extra_of_the_pages_exists():
    texts = tracked("*.py", "*.md", "Makefile")
    assert len(texts) > 200
    others = [
        path.name
        for path, text in texts
        if re.search(r"install\s+[\"']?fasdk" + r"\[|install\s+\.\[", text)
    ]
    assert others == []
    named = {
        name
        for _, text in texts
        for names in re.findall(r"install [^\n]*'\.\[([\w,]+)\]'", text)
        for name in names.split(",")
    }
    assert "cuda" in named and named <= EXTRAS
