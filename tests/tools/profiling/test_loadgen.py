"""Percentiles held against MLPerf LoadGen's on the same calls."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk_tools.profiling.percentiles import percentiles

from support import profile_loadgen


@pytest.mark.slow
def test_percentiles_lie_within_the_early_stopping_bounds_of_both_scenarios():
    pytest.importorskip("mlperf_loadgen", reason="there are wheels for x86-64 alone")
    found = profile_loadgen.run(queries=700, rounds=1)
    rows = found["percentiles"]
    assert {(row["scenario"], row["percentile"]) for row in rows} >= {
        (scenario, p) for scenario in ("SingleStream", "Server") for p in ("p50", "p90", "p99")
    }
    for row in rows:
        assert row["lower_ms"] <= row["same_ms"] <= row["same_upper_ms"] <= row["upper_ms"]
    for row in found["ranks"]:
        assert row["logged_ms"] == row["recorded_ms"]
        assert row["ranks_apart"] <= 1
    assert [row["percentile"] for row in found["estimates"]] == ["p90", "p99"]
    for row in found["estimates"]:
        assert row["loadgen_ms"] == pytest.approx(row["rule_ms"], abs=1e-3)
    for row in found["verdicts"]:
        assert row["loadgen"] == row["same_calls"]


@pytest.mark.parametrize(
    ("calls", "p", "apart"), [(1000, 99.0, 1), (1001, 99.0, 0), (4000, 99.9, 1), (3001, 99.9, 0)]
)
def test_the_conventions_differ_by_one_rank_where_the_product_is_whole(calls, p, apart):
    values = np.arange(1.0, calls + 1.0)
    (ours,) = percentiles(values, (p,))
    theirs = profile_loadgen.loadgen_percentile_ms(values, p)
    assert profile_loadgen.ranks_between(values, ours.ms, theirs) == apart


def test_equal_latencies_share_a_rank():
    tied = np.float64([1, 2, 2, 2, 3, 4])
    assert [profile_loadgen.ranks_between(tied, 2.0, to) for to in (2.0, 3.0, 4.0)] == [0, 1, 2]


def test_the_rule_allows_what_the_inference_rules_say():
    # inference_rules.adoc: the least queries with one over are 64, 130 and 662
    for share, queries in ((0.1, 64), (0.05, 130), (0.01, 662)):
        assert profile_loadgen.allowed(queries, share) == 1
        assert profile_loadgen.allowed(queries - 1, share) < 1


def test_an_own_upper_bound_is_below_the_stricter_one_of_early_stopping():
    values = np.random.default_rng(0).lognormal(size=2000)
    for found in percentiles(values, (50.0, 90.0, 95.0, 99.0)):
        lower, upper = profile_loadgen.early_stopping_bounds(values, found.p)
        assert found.ms is not None
        assert found.upper_ms is not None
        assert lower < found.ms < found.upper_ms < upper
