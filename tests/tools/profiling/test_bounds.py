"""Coverage of the percentiles' bounds over simulated runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import profile_bounds

RUNS = 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "distribution", [d for d in profile_bounds.DISTRIBUTIONS if d.independent], ids=lambda d: d.name
)
def test_bounds_cover_the_true_percentile(distribution):
    covered = profile_bounds.coverage(distribution, 299, RUNS)
    assert list(covered) == ["p50", "p90", "p95", "p99"]
    assert min(covered.values()) >= profile_bounds.least_share(RUNS)


@pytest.mark.slow
def test_a_bound_that_is_only_the_percentile_is_found_out(monkeypatch):
    honest = profile_bounds.percentiles

    def without_bounds(values):
        return tuple(replace(found, upper_ms=found.ms) for found in honest(values))

    monkeypatch.setattr(profile_bounds, "percentiles", without_bounds)
    covered = profile_bounds.coverage(profile_bounds.DISTRIBUTIONS[0], 299, 100)
    assert max(covered.values()) < profile_bounds.least_share(100)
