"""Guides against the lists of choices in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fasdk import Reason, quality
from fasdk.backends.engine import Backend
from fasdk.cameras.spec import KINDS
from fasdk_calibration.datasets.readers import READERS
from fasdk_calibration.synthetic import ATTACKS
from fasdk_engines.models.registry import _MODULES

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COUNTS += ["eleven", "twelve"]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("build.md", [f"`{backend.value}`" for backend in Backend]),
        ("data-sets.md", [f"| {reader.name} |" for reader in READERS]),
        ("integrate.md", [f"`{form}`" for kind in KINDS for form in kind.forms]),
        ("models.md", [f"`{name}`" for name in _MODULES]),
    ],
)
def test_a_guide_names_every(page, names):
    text = (GUIDE / page).read_text("utf-8")
    assert [name for name in names if name not in text] == []


def test_the_guide_lists_the_reasons_of_every_quality_gate():
    sources = Path(quality.__file__).parent.glob("*.py")
    found = {
        name for file in sources for name in re.findall(r"Reason\.([A-Z]\w+)", file.read_text())
    }
    section = (GUIDE / "integrate.md").read_text("utf-8").split("\n## Gates\n")[1]
    table = section.split("\n## ")[0]
    assert len(found) >= 15
    assert [name for name in sorted(found) if f"`{Reason[name].value}`" not in table] == []


def test_the_number_of_synthetic_species_is_todays():
    text = " ".join((GUIDE / "data-sets.md").read_text("utf-8").split())
    assert f"{COUNTS[len(ATTACKS)]} species of attack" in text
