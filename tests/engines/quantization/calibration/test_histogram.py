"""Streaming histograms and moments against those of all values at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk_engines.quantization.calibration.histogram import GrowingHistogram, ProductSums

PARTS = 256


def values(seed: int, rows: int = 900, channels: int = 5) -> np.ndarray:
    """Channels of unlike size and center, one of them constant, one all zero."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(rows, channels)) * 10.0 ** np.arange(-3, channels - 3)
    found += np.arange(channels) * 3.0
    found[:, 0], found[:, 1] = 0.0, 7.3
    return found.astype(np.float32)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 899), max_size=6))
def test_the_order_and_the_cuts_do_not_change_the_counts(seed: int, cuts: list[int]) -> None:
    rows = values(seed)
    whole, parts = GrowingHistogram(), GrowingHistogram()
    whole.add(rows)
    for part in np.split(np.sort(rows, axis=0), sorted(set(cuts))):  # the range grows every time
        parts.add(part)
    assert np.array_equal(whole.low, parts.low) and np.array_equal(whole.high, parts.high)
    assert np.array_equal(whole.counts(PARTS), parts.counts(PARTS))


def test_the_counts_are_those_of_equal_parts_of_the_range() -> None:
    rows = values(3, rows=20_000)
    histogram = GrowingHistogram()
    for part in np.split(rows, 8):
        histogram.add(part)
    counts = histogram.counts(PARTS)
    assert np.allclose(counts.sum(axis=1), 20_000)
    for channel in (2, 3, 4):
        low, high = rows[:, channel].min(), rows[:, channel].max()
        exact, _ = np.histogram(rows[:, channel], PARTS, (float(low), float(high)))
        # Half a part's values at most lie on the wrong side of an edge.
        off = np.abs(np.cumsum(exact) - np.cumsum(counts[channel]))
        assert off.max() <= exact.max()
        assert np.abs(np.cumsum(exact) - np.cumsum(counts[channel])).mean() < 0.2 * exact.max()


def test_a_channel_of_one_value_is_counted_once() -> None:
    histogram = GrowingHistogram()
    for part in np.split(values(1), 3):
        histogram.add(part)
    counts = histogram.counts(PARTS)
    assert np.allclose(counts[:2].sum(axis=1), 900.0)
    assert histogram.low[1] == histogram.high[1] == np.float32(7.3)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1e30])
def test_the_grid_holds_values_of_any_magnitude(scale: float) -> None:
    rows = (values(2) * scale).astype(np.float32)
    histogram = GrowingHistogram()
    histogram.add(np.zeros((4, 5), np.float32))
    histogram.add(rows)
    assert np.allclose(histogram.counts(PARTS).sum(axis=1), 904.0)


def test_ranges_may_reach_beyond_the_values_counted() -> None:
    histogram = GrowingHistogram()
    histogram.add(np.ones((3, 1), np.float32), np.float32([-4.0]), np.float32([6.0]))
    counts = histogram.counts(10)
    assert (histogram.low, histogram.high) == (-4.0, 6.0)
    assert counts.sum() == 3.0 and counts[0, 5] == 3.0


@pytest.mark.parametrize("cuts", [[], [1], [7, 300, 500, 899]])
def test_moments_are_those_of_all_rows(cuts: list[int]) -> None:
    # A mean a thousand times the spread, where float32 sums of squares would leave nothing.
    centers = np.array([0, 0, 1000, -1000, 3, 5])
    rows = np.random.default_rng(4).normal(centers, size=(900, 6)).astype(np.float32)
    sums = ProductSums(6)
    for part in np.split(rows, cuts):
        sums.add(part)
    mean, covariance = sums.moments()
    assert np.allclose(mean, rows.mean(axis=0, dtype=np.float64), atol=1e-9)
    exact = np.cov(rows.astype(np.float64), rowvar=False, bias=True)
    assert np.allclose(covariance, exact, atol=1e-4)
    assert np.array_equal(covariance, covariance.T)


def test_accumulators_without_values_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        ProductSums(3).moments()
    with pytest.raises(ValueError, match="nothing"):
        GrowingHistogram().counts(4)
