"""Each planted problem is found by the doctor, and named with its fix."""

from __future__ import annotations

import pytest

from support.doctor_plants import PLANTED, SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_planted_problem_is_named_with_its_fix(scenario, tmp_path):
    findings = scenario.look(tmp_path)
    missed = [plant.name for plant in scenario.plants if not plant.is_named(findings)]
    assert not missed, "\n".join(f"{f.check}: {f.level} {f.found} | {f.fix}" for f in findings)


def test_there_are_more_than_fifteen_problems_and_each_has_a_name_of_its_own():
    names = [plant.name for scenario in SCENARIOS for plant in scenario.plants]
    assert len(set(names)) == len(names) == PLANTED >= 15
