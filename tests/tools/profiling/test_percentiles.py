"""Percentiles by order statistic, and their one-sided upper bounds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fasdk.errors import UsageError
from fasdk_tools.profiling.percentiles import (
    PERCENTS,
    Percentile,
    calls_needed,
    percentile,
    percentiles,
)

LATENCIES = st.lists(st.floats(0.001, 1e4), max_size=80)


def test_the_least_numbers_of_calls_are_those_of_wilks():
    assert [calls_needed(p) for p in PERCENTS] == [5, 29, 59, 299, 2995]


@pytest.mark.parametrize("p", PERCENTS)
def test_the_bound_is_the_least_order_statistic_that_binomial_counts_allow(p):
    for calls in (5, 29, 58, 59, 298, 299, 473, 2994, 2995, 4742, 10_000):
        found = percentile(np.arange(1.0, calls + 1), p)  # every latency is its own rank
        # P(the k-th of n is at least the true percentile) = P(Binomial(n, p) <= k - 1)
        ranks = np.arange(1, calls + 1)
        enough = ranks[stats.binom.cdf(ranks - 1, calls, p / 100) >= 0.95]
        if not len(enough):
            assert found == Percentile(p, None, None, calls_needed(p) - calls)
            continue
        assert found.upper_ms == enough[0]
        assert found.ms == math.ceil(Fraction(str(p)) / 100 * calls)
        assert found.missing_calls == 0


@given(LATENCIES)
@settings(max_examples=50, deadline=None)
def test_a_percentile_is_a_sample_or_missing_calls_and_never_both(values):
    for found in percentiles(values):
        assert (found.ms is None) == (found.upper_ms is None) == (found.missing_calls > 0)
        assert found.missing_calls == max(0, calls_needed(found.p) - len(values))
        if found.ms is not None and found.upper_ms is not None:
            assert found.ms in values
            assert found.upper_ms in values
            assert found.ms <= found.upper_ms


def test_one_slow_call_is_not_clipped():
    values = np.ones(299)
    values[17] = 70.0
    assert percentile(values, 99).upper_ms == 70.0


def test_order_of_calls_is_of_no_account():
    values = np.random.default_rng(3).lognormal(size=400)
    assert percentiles(values) == percentiles(values[::-1])


def test_a_bound_is_within_a_share_only_where_it_exists():
    assert Percentile(99, 10.0, 11.0, 0).is_within(0.1)
    assert not Percentile(99, 10.0, 11.1, 0).is_within(0.1)
    assert not Percentile(99, None, None, 12).is_within(0.1)


def test_names_are_those_of_the_documents():
    assert [p.name for p in percentiles([])] == ["p50", "p90", "p95", "p99", "p99.9"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_latency_that_is_not_finite_is_refused(wrong):
    with pytest.raises(UsageError, match="latency 1 of 2 is"):
        percentile([1.0, wrong], 50)


@pytest.mark.parametrize("p", [0, 100, -1])
def test_a_percentile_out_of_range_is_refused(p):
    with pytest.raises(UsageError, match="between 0 and 100"):
        percentile([1.0], p)
    with pytest.raises(UsageError, match="between 0 and 100"):
        calls_needed(p)
