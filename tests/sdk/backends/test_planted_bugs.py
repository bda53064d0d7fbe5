"""Planted bugs of the TensorRT runtime, each detected by a scenario.

Every run has a process of its own, since a broken runtime leaves nothing to rely on behind.
"""

from __future__ import annotations

import pytest

from support.cuda_sim.simulated_cuda import Layout
from support.planted.plant import Plant
from support.planted.plants import PLANTS
from support.planted.trial import try_scenarios

pytestmark = pytest.mark.cuda_sim


@pytest.fixture(autouse=True)
def built() -> None:
    if not Layout.here().is_ready:
        pytest.fail("the simulated driver is not built: `make cuda-sim`")


def test_every_scenario_holds_with_no_bug_planted() -> None:
    trial = try_scenarios("all")
    assert trial.holds, trial
    assert trial.said.keys() >= {bug.scenario for bug in PLANTS}


@pytest.mark.parametrize("bug", PLANTS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Plant) -> None:
    trial = try_scenarios(bug.scenario, "--plant", bug.name)
    assert trial.noticed, trial
