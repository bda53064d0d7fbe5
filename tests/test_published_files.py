"""Published files against the digests that tests/README.md states."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

STATED = dict(
    re.findall(
        r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$",
        (Path(__file__).with_name("README.md")).read_text("utf-8"),
        flags=re.MULTILINE,
    )
)


def test_published_files_have_the_stated_digests(reference):
    assert len(STATED) == 19
    found = {
        name: hashlib.sha256((reference / name).read_bytes()).hexdigest()
        for name in STATED
        if (reference / name).is_file()
    }
    assert found == {name: STATED[name] for name in found}
    assert found, "the folder holds none of the files of tests/README.md"
