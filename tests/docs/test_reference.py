"""Generated reference pages against the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fasdk
from fasdk.added_fields import omitted_defaults
from fasdk.bundle.manifest import Manifest

PROJECT = Path(__file__).parents[2]
REFERENCE = PROJECT / "docs" / "reference"
GENERATOR = PROJECT / "tools" / "docs" / "reference.py"


def check(*options):
    return subprocess.run(
        [sys.executable, GENERATOR, "--check", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_no_generated_page_is_stale():
    checked = check()
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("page", ["reference/cli.md", "reference/manifest.schema.json"])
def test_a_stale_page_is_named(page, tmp_path):
    altered = tmp_path / page
    altered.parent.mkdir()
    shutil.copy(PROJECT / "docs" / page, altered)
    options = ("--docs", tmp_path, "--only", page)
    assert check(*options).returncode == 0
    altered.write_text(altered.read_text("utf-8").replace("bundle", "bunble", 1), "utf-8")
    checked = check(*options)
    assert checked.returncode == 1
    assert page in checked.stdout


def test_a_missing_page_is_stale(tmp_path):
    assert check("--docs", tmp_path, "--only", "reference/reason-codes.md").returncode == 1


def test_the_reference_lists_every_public_name_and_reason():
    api = (REFERENCE / "api.md").read_text("utf-8")
    assert set(re.findall(r"^## (\w+)$", api, flags=re.MULTILINE)) == {*fasdk.__all__, "Errors"}
    reasons = (REFERENCE / "reason-codes.md").read_text("utf-8")
    codes = re.findall(r"^\| `([\w-]+)` \|", reasons, flags=re.MULTILINE)
    assert codes == [reason.value for reason in fasdk.Reason]


def test_the_schema_requires_every_field_without_a_default_and_describes_it():
    schema = json.loads((REFERENCE / "manifest.schema.json").read_text("utf-8"))
    assert set(schema["required"]) == set(Manifest.model_fields) - set(omitted_defaults(Manifest))
    objects = [schema, *schema["$defs"].values()]
    for described in objects:
        properties = described.get("properties", {})
        always = {name for name, field in properties.items() if "default" not in field}
        assert set(described.get("required", [])) == always
        undescribed = [name for name, field in properties.items() if "description" not in field]
        assert not undescribed, f"{described['title']}: {undescribed} lack an Attributes line"
