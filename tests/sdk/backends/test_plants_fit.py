"""Planted bugs: each still matches the source it replaces."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from support.planted.plant import Plant
from support.planted.plants import PLANTS


@pytest.mark.parametrize("bug", PLANTS, ids=lambda bug: bug.name)
def test_a_plants_text_occurs_exactly_once_and_leaves_python(bug: Plant) -> None:
    spec = find_spec(bug.module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    planted = bug.apply(source)
    assert planted != source
    compile(planted, spec.origin, "exec")


def test_a_plant_without_its_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="its text is 0 times"):
        PLANTS[0].apply("pass")
    with pytest.raises(ValueError, match="its text is 2 times"):
        PLANTS[0].apply(2 * PLANTS[0].old)


def test_plants_have_names_of_their_own() -> None:
    assert len({bug.name for bug in PLANTS}) == len(PLANTS) >= 25
