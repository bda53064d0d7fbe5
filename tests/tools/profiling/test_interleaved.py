"""Ratios of interleaved times: a planted slowdown is found, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk_tools.profiling.interleaved import MEDIAN, TAIL, interleave, ratio_of

from support.drawn_times import DrawnMachine

TOLERANCE = 0.05
RUNS = 10


def measured(seed, slowdown, seconds=3.0):
    machine = DrawnMachine(seed)
    return interleave(
        machine.side(5.0), machine.side(5.0 * slowdown), seconds=seconds, clock=machine.clock
    )


def is_slower(times):
    found = [ratio_of(times.first_ms, times.second_ms, p, is_paired=True) for p in (MEDIAN, TAIL)]
    return any(ratio.exceeds(TOLERANCE) for ratio in found)


def test_ten_percent_are_found_and_nothing_is_found_where_nothing_is_planted():
    assert sum(is_slower(measured(seed, 1.10)) for seed in range(RUNS)) >= 9
    assert sum(is_slower(measured(seed, 1.00)) for seed in range(RUNS)) == 0


def test_a_longer_tail_alone_is_found():
    machine, rng = DrawnMachine(1), np.random.default_rng(2)
    usual = machine.side(5.0)
    times = interleave(
        machine.side(5.0),
        lambda: usual() * (8.0 if rng.random() < 0.05 else 1.0),
        seconds=20.0,
        clock=machine.clock,
    )
    median = ratio_of(times.first_ms, times.second_ms, MEDIAN, is_paired=True)
    tail = ratio_of(times.first_ms, times.second_ms, TAIL, is_paired=True)
    assert not median.exceeds(TOLERANCE)
    assert tail.exceeds(1.0)


def test_blocks_are_abba_so_that_an_even_drift_adds_the_same_to_both():
    order, now = [], [0.0]

    def side(name):
        def call():
            order.append(name)
            now[0] += 0.01
            return 10.0 + now[0]  # slower all the time

        return call

    times = interleave(side("a"), side("b"), seconds=0.0, clock=lambda: now[0])
    assert "".join(order[20:]) == "aabbbbaa" * 20
    assert times.first_ms.shape == times.second_ms.shape == (20, 4)
    np.testing.assert_allclose(times.first_ms.mean(axis=1), times.second_ms.mean(axis=1))


@pytest.mark.slow
def test_the_interval_covers_the_true_ratio():
    covered = 0
    for seed in range(40):
        times = measured(seed, 1.2, seconds=2.0)
        ratio = ratio_of(times.first_ms, times.second_ms, MEDIAN, is_paired=True)
        covered += ratio.lower <= 1.2 <= ratio.upper
    assert covered >= 33  # 95 % of 40 less what chance and few rounds take


@pytest.mark.parametrize(("calls", "missing"), [(298, 1), (299, 0)])
def test_a_tail_of_too_few_calls_has_no_ratio(calls, missing):
    ratio = ratio_of(np.ones((calls, 1)), np.ones((299, 1)), TAIL, is_paired=False)
    assert ratio.missing_calls == missing
    assert (ratio.ratio is None) == (ratio.lower is None) == (missing > 0)
    assert not ratio.exceeds(0.0)
