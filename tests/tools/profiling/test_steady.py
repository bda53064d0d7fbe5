"""The end of warm-up, and trends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fasdk.errors import UsageError
from fasdk_tools.profiling.steady import Window, steady_start, trend, windows


def closed_loop(latency_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return latency_ms, np.cumsum(latency_ms)


def test_warm_up_ends_where_three_windows_agree():
    slow_start = np.concatenate([np.linspace(30, 10, 200), np.full(400, 10.0)])
    start = steady_start(windows(*closed_loop(slow_start)))
    assert start is not None
    assert 150 <= start <= 250
    assert steady_start(windows(*closed_loop(slow_start[:350]))) is None


def test_a_run_that_is_steady_from_the_first_call_has_no_warm_up():
    assert steady_start(windows(*closed_loop(np.full(160, 10.0)))) == 0


def test_windows_have_both_their_calls_and_their_time():
    fast = windows(*closed_loop(np.full(2000, 1.0)))
    assert [w.stop - w.start for w in fast] == [500, 500, 500]
    slow = windows(*closed_loop(np.full(150, 100.0)))
    assert [(w.start, w.stop) for w in slow] == [(1, 51), (51, 101)]
    assert slow[0].rate == pytest.approx(10.0)


def test_windows_of_equal_medians_and_other_rates_do_not_agree():
    latencies = np.full(400, 10.0)
    latencies[50:400:60] = 400.0  # one stall in some windows: the median does not show it
    latencies[60:130] = 10.0
    found = windows(*closed_loop(latencies))
    assert len({w.median_ms for w in found}) == 1
    assert steady_start((found[0], found[1], found[2])) is None


def test_the_rate_of_an_open_load_is_relative_to_its_arrivals():
    due = np.cumsum(np.random.default_rng(0).exponential(20.0, 400))
    latency = np.full(400, 5.0)
    relative = windows(latency, due + latency, due)
    assert all(w.rate == pytest.approx(1.0) for w in relative)
    assert steady_start(relative) == 0
    behind = windows(latency, (due + latency) * 1.5, due)
    assert behind[0].rate == pytest.approx(1 / 1.5)


def test_answers_out_of_order_leave_rates_positive():
    answered = np.arange(400.0) * 10
    answered[::2] += 25
    assert all(0 < w.rate < 200 for w in windows(np.full(400, 9.0), answered))


def test_agreement_ends_at_the_tolerance():
    def three(last_ms: float, last_rate: float) -> tuple[Window, ...]:
        return (
            Window(1, 51, 10.0, 100.0),
            Window(51, 101, 10.0, 100.0),
            Window(101, 151, last_ms, last_rate),
        )

    assert steady_start(three(11.0, 100.0)) == 0
    assert steady_start(three(11.1, 100.0)) is None
    assert steady_start(three(10.0, 89.0)) is None


def test_spearman_and_its_probability_are_those_of_scipy():
    rng = np.random.default_rng(5)
    latencies = rng.integers(0, 30, 500) / 10 + np.arange(500) * 0.0005
    found = trend(latencies, np.arange(500.0))
    theirs = stats.spearmanr(latencies, np.arange(500))
    assert found is not None
    assert found.spearman == pytest.approx(theirs.statistic)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=0.3)


def test_a_planted_drift_is_found_and_a_shuffled_run_has_none():
    rng = np.random.default_rng(6)
    times = np.arange(0.0, 300_000, 100)  # 5 minutes at 10 a second
    latencies = 10 + 2 * times / times[-1] + rng.normal(0, 0.5, len(times))
    found = trend(latencies, times)
    assert found is not None
    assert found.window_ms == 60_000
    assert found.first_ms == pytest.approx(10.2, abs=0.1)
    assert found.last_ms == pytest.approx(11.8, abs=0.1)
    assert found.is_drift()
    shuffled = trend(rng.permutation(latencies), times)
    assert shuffled is not None
    assert not shuffled.is_drift()


def test_dependence_between_calls_is_no_trend():
    alarms = plain = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=600)
        walk = np.convolve(noise, np.ones(60), "valid")
        found = trend(walk, np.arange(float(len(walk))))
        assert found is not None
        alarms += found.p_value < 0.01
        plain += stats.spearmanr(walk, np.arange(len(walk))).pvalue < 0.01
    assert plain >= 20
    assert alarms <= 8


def test_a_short_run_is_compared_by_halves_and_ten_calls_are_needed():
    found = trend([1.0] * 10 + [2.0] * 10, np.arange(20.0))
    assert found is not None
    assert found.window_ms == 9.5
    assert (found.first_ms, found.last_ms, found.change) == (1.0, 2.0, 1.0)
    assert trend([1.0] * 9, np.arange(9.0)) is None


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(UsageError, match="give one of each a call"):
        windows([1.0], [1.0, 2.0])
    with pytest.raises(UsageError, match="give one a call"):
        trend([1.0] * 12, np.arange(11.0))
