"""Stored profiles: a planted slowdown is found, another machine is not compared."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fasdk.errors import UsageError
from fasdk_tools.profiling.baseline import Baseline, StoredProfile
from fasdk_tools.profiling.interleaved import interleave
from fasdk_tools.profiling.yardstick import YardstickTimes

from support.drawn_times import DrawnMachine

RUNS = 10


def taken(seed, *, slowdown=1.0, speed=1.0, copy_speed=1.0, seconds=2.0):
    """Checks and yardstick of a simulated machine."""
    machine = DrawnMachine(seed, speed=speed, wander=0.003)
    computed, copied = machine.side(1.0), machine.side(2.0 * copy_speed)
    parts = []

    def yardstick():
        parts.append((computed(), copied()))
        return sum(parts[-1])

    check = machine.side(5.0 * slowdown)
    times = interleave(check, yardstick, seconds=seconds, clock=machine.clock)
    counted = np.reshape(parts[-times.second_ms.size :], (*times.second_ms.shape, 2))
    return YardstickTimes(
        check_ms=times.first_ms.tolist(),
        compute_ms=counted[..., 0].tolist(),
        copy_ms=counted[..., 1].tolist(),
    )


def answer(before, after, tmp_path):
    stored = StoredProfile(schema_version=1, bundle_id="0" * 64, yardstick=before)
    return Baseline(tmp_path / "old.json", stored).compare(after)


def test_twenty_percent_are_found_and_nothing_is_found_where_nothing_is_planted(tmp_path):
    before = taken(100)
    planted = [answer(before, taken(seed, slowdown=1.2), tmp_path) for seed in range(RUNS)]
    clean = [answer(before, taken(seed), tmp_path) for seed in range(RUNS)]
    assert all(each.comparable for each in planted + clean)
    assert sum(each.slower for each in planted) >= 9
    assert sum(each.slower for each in clean) == 0


@pytest.mark.parametrize(
    ("machine", "moved"),
    [
        ({"speed": 1.2}, {"computation", "memory copy"}),
        ({"speed": 0.8}, {"computation", "memory copy"}),
        ({"copy_speed": 1.2}, {"memory copy"}),
    ],
)
def test_a_machine_that_changed_is_not_compared(machine, moved, tmp_path):
    found = answer(taken(1), taken(2, slowdown=1.5, **machine), tmp_path)
    assert (found.comparable, found.slower) == (False, None)
    assert set(found.moved) == moved


def held_up(times, *names, share=0.05, factor=3.0):
    """Times of which this share of the calls of these parts took longer."""
    changed = {}
    for name in names:
        rounds = np.array(getattr(times, name))
        flat = rounds.reshape(-1)
        flat[:: round(1 / share)] *= factor
        changed[name] = rounds.tolist()
    return YardstickTimes(**(times.model_dump() | changed))


def test_a_tail_that_the_yardstick_has_too_is_not_the_bundles(tmp_path):
    before, after = taken(1, seconds=20.0), taken(2, seconds=20.0)
    of_machine = held_up(after, "check_ms", "compute_ms")
    assert answer(before, of_machine, tmp_path).slower is False
    assert answer(before, of_machine, tmp_path).tail_ratio > 1.3
    of_bundle = held_up(after, "check_ms")
    found = answer(before, of_bundle, tmp_path)
    assert not found.median.exceeds(0.1)
    assert found.slower is True


@pytest.fixture(scope="module")
def profile():
    return {
        "schema_version": 1,
        "bundle_id": "0" * 64,
        "runs": [],
        "yardstick": {
            "check_ms": [[5.0, 5.1]] * 20,
            "compute_ms": [[1.0, 1.1]] * 20,
            "copy_ms": [[2.0, 2.1]] * 20,
        },
    }


def test_a_stored_profile_is_read(profile, tmp_path):
    file = tmp_path / "old.json"
    file.write_text(json.dumps(profile | {"added": "later"}))
    assert Baseline.read(file).stored.yardstick.copy_ms[0] == (2.0, 2.1)


def broken(times, field, value):
    return times | {"yardstick": times["yardstick"] | {field: value}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: "", "not JSON"),
        (lambda _: "[]", "not a latency profile"),
        (lambda _: '{"apcer": 0.1}', "not a latency profile"),
        (lambda p: json.dumps(p)[:-20], "not JSON"),
        (lambda p: json.dumps(p | {"schema_version": 9}), "schema version '9', this fasdk reads 1"),
        (lambda p: json.dumps(p | {"schema_version": True}), "schema version 'True'"),
        (lambda p: json.dumps(p | {"yardstick": None}), "stored without one"),
        (lambda p: json.dumps(p | {"runs": [{"idle": {}}]}), "a profile of an idle load, which no"),
        (lambda p: json.dumps(p | {"runs": [{"soak": {}}]}), "a profile of a long run, which no"),
        (lambda p: json.dumps(p | {"bundle_id": "x"}), "bundle_id: String should match pattern"),
        (lambda p: json.dumps(broken(p, "check_ms", [])), "yardstick.check_ms: Tuple should have"),
        (lambda p: json.dumps(broken(p, "copy_ms", [[1.0]])), "rounds and calls differ in number"),
        (lambda p: json.dumps(broken(p, "copy_ms", [[0.0, 1.0]] * 20)), "greater than 0"),
        (lambda p: json.dumps(broken(p, "check_ms", [[float("nan")] * 2] * 20)), "check_ms.0.0"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_fix(profile, tmp_path, change, expected):
    file = tmp_path / "old.json"
    file.write_text(change(profile))
    with pytest.raises(UsageError, match=r"old\.json: .*fasdk profile BUNDLE --json") as error:
        Baseline.read(file)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
