"""Dispersion, dependence and block bootstrap of latencies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats

from fasdk.errors import UsageError
from fasdk_tools.profiling.series import (
    autocorrelation,
    block_indices,
    block_interval,
    block_length,
    dispersion,
    effective_calls,
)


def ar1(calls: int, rho: float, seed: int = 0) -> np.ndarray:
    """Return a stationary AR(1) series of unit variance around 10."""
    noise = np.random.default_rng(seed).normal(size=calls)
    noise[1:] *= np.sqrt(1 - rho**2)
    return 10.0 + signal.lfilter([1.0], [1.0, -rho], noise)


def test_jitter_is_taken_in_time_order():
    alternating, sorted_ = dispersion([1.0, 3.0] * 4), dispersion([1.0] * 4 + [3.0] * 4)
    assert alternating.jitter_ms == 2.0
    assert sorted_.jitter_ms == pytest.approx(2 / 7)
    assert alternating.cv == sorted_.cv == pytest.approx(stats.variation([1, 3] * 4, ddof=1))


def test_the_distance_of_p99_and_p50_needs_299_calls():
    values = np.arange(1.0, 300.0)
    assert dispersion(values).p99_minus_p50_ms == 297 - 150
    assert dispersion(values[:-1]).p99_minus_p50_ms is None


def test_autocorrelation_is_that_of_its_definition():
    values = ar1(257, 0.6)
    deviations = values - values.mean()
    direct = np.correlate(deviations, deviations, "full")[256:] / (deviations @ deviations)
    np.testing.assert_allclose(autocorrelation(values), direct, atol=1e-12)
    assert dispersion(values).lag1_autocorrelation == pytest.approx(direct[1])


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_calls_are_those_of_an_ar1_series(rho):
    calls = 20_000
    assert effective_calls(ar1(calls, rho)) == pytest.approx(calls * (1 - rho) / (1 + rho), rel=0.2)


def test_equal_latencies_have_no_correlation_and_count_in_full():
    found = dispersion([0.1] * 50)
    assert (found.cv, found.jitter_ms, found.lag1_autocorrelation) == (pytest.approx(0), 0, 0)
    assert found.effective_calls == 50


def test_latencies_that_alternate_count_no_more_than_they_are():
    assert effective_calls([1.0, 2.0] * 20) == 40


def test_blocks_are_runs_of_the_series():
    for indices in block_indices(10, 4, 20, np.random.default_rng(0)):
        assert indices.shape == (10,)
        assert indices.min() >= 0
        assert indices.max() <= 9
        steps = np.diff(indices)
        assert (steps[[0, 1, 2, 4, 5, 6, 8]] == 1).all()


def test_single_calls_are_the_bootstrap_of_scipy():
    values = np.random.default_rng(1).lognormal(size=200)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    ours = block_interval(values, lambda drawn: float(drawn.mean()), block=1, resamples=2000)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), rel=0.02)


@pytest.mark.slow
def test_blocks_cover_the_mean_of_a_correlated_series_where_single_calls_do_not():
    covered = {"blocks": 0, "single": 0}
    for seed in range(60):
        values = ar1(500, 0.8, seed)
        for name, block in (("blocks", None), ("single", 1)):
            found = block_interval(
                values, lambda drawn: float(drawn.mean()), block=block, resamples=150
            )
            covered[name] += found.lower <= 10.0 <= found.upper
    # 60 independent intervals; 0.8 leaves each single call some 1/9 of its weight
    assert covered["blocks"] >= 48
    assert covered["single"] <= 40


def test_a_block_is_longer_where_calls_depend_on_each_other():
    assert block_length(ar1(1000, 0.0)) == 10
    assert block_length(ar1(1000, 0.95)) > 20
    assert block_length([1.0, 2.0]) == 1


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_a_series_that_is_none_is_refused(values):
    with pytest.raises(UsageError, match=r"at least 2 calls|not finite"):
        dispersion(values)


def test_a_block_longer_than_the_run_is_refused():
    with pytest.raises(UsageError, match="block of 4 calls"):
        block_interval([1.0, 2.0, 3.0], np.mean, block=4)
