"""Attack: ten minutes at the door with one artefact, by every strategy that got around a limit.

The attacker knows all rules of the door: holds up, shows short, jumps, covers sensors, takes a
second camera, restarts the door, or mixes all of it. Answer: the share of artefacts that are ever
LIVE stays at the level's bound, and no camera judges more attempts than the schedule has.
"""

from __future__ import annotations

import pytest

from support.benches import bench_module

gaming = bench_module("gaming")


@pytest.mark.slow
@pytest.mark.parametrize("with_test", [True, False], ids=["test", "in a row"])
@pytest.mark.parametrize("name", gaming.STRATEGIES)
def test_no_strategy_gets_more_than_the_bound(name, with_test):
    line = gaming.line_of_attack(gaming.tuned(0.5, "standard"), name, with_test, 200, seed=7)
    assert line["is_met"], line


@pytest.mark.slow
def test_an_honest_presentation_is_what_it_was():
    line = gaming.line_of_people(gaming.tuned(0.5, "standard"), True, 200, seed=7)
    assert line["is_met"], line


def test_an_artefact_gets_the_attempts_of_the_schedule():
    rules = gaming.tuned(0.5, "standard")
    schedule = gaming.TrackPolicy().attempts.attempts_within(gaming.TEN_MINUTES_MS)
    for name in ("hold", "1 frame, away"):
        _, attempts = gaming.attack(rules, gaming.STRATEGIES[name], True, seed=1)
        assert schedule - 2 <= attempts <= schedule
