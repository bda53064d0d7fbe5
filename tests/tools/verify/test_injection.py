"""The measurement of injected frames, in small: no false alarm, every kind of stream."""

from __future__ import annotations

import pytest

from fasdk_calibration.synthetic import Split

from support.benches import bench_module


@pytest.fixture(scope="module")
def injection():
    return bench_module("injection")


def test_people_before_one_door_are_no_injection(injection):
    seen = injection.live(injection.Batch(31, Split.HELD_OUT, 10, 4, 8))
    assert [flickers for flickers, _ in seen] == [False, True, False, False, False]
    counted = injection.rate([checks for _, checks in seen])
    assert (counted["found"], counted["of"]) == (0, 5)
    assert 0.4 < counted["upper_95"] < 0.5


@pytest.mark.slow
def test_injected_streams_are_found(injection):
    found = injection.injected(injection.Batch(33, Split.HELD_OUT, 0, 1, injection._SHOWN))
    by_name = {}
    for name, drift, is_found in found:
        by_name.setdefault(name, {})[drift] = is_found
    assert len(by_name) == len(injection.REPEATS) + 8
    for name in (
        "repeated as it is",
        "repeated by JPEG 95",
        "infrared made of color",
        "flat depth",
    ):
        assert all(by_name[name].values()), name
    assert by_name["ir 4 frames late"][3.0]


def test_a_finding_of_a_check_that_is_counted_elsewhere_is_no_false_alarm(injection):
    check = injection.Check
    counted = injection.rate([{check.MOTION}, {check.REPLAYED, check.MOTION}, set()])
    assert (counted["found"], counted["of"]) == (1, 3)
    assert counted["by"][check.MOTION.value[0]] == 2
