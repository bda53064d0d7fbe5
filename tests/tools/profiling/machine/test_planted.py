"""Each planted trouble is named alone, and clean machines have none."""

from __future__ import annotations

from support import profile_troubles


def test_each_planted_trouble_is_named_and_no_other():
    named = profile_troubles.found()
    assert len(named) == 12
    assert named == {trouble: [trouble] for trouble in named}


def test_a_clean_machine_has_none():
    assert set(map(tuple, profile_troubles.clean().values())) == {()}
