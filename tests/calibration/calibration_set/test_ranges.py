"""Range methods: clipping thresholds, each by an implementation of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.calibration_set import ranges
from fasdk_calibration.calibration_set.ranges import (
    INT8_MAX,
    PERCENTILE,
    MagnitudeHistogram,
    RangeMethod,
    threshold,
)

NORMAL = np.random.default_rng(1).normal(0.0, 2.0, 200_000)
LONG_TAILED = np.random.default_rng(2).standard_t(3, 200_000)
FLAT = np.random.default_rng(3).uniform(-1.0, 1.0, 200_000)


def _error(values: np.ndarray, limit: float) -> float:
    step = limit / INT8_MAX
    codes = np.clip(np.rint(values / step), -INT8_MAX, INT8_MAX)
    return float(np.mean((codes * step - values) ** 2))


def test_minmax_clips_nothing() -> None:
    assert threshold(MagnitudeHistogram.of(NORMAL), RangeMethod.MINMAX) == np.abs(NORMAL).max()


def test_percentile_clips_its_share() -> None:
    found = threshold(MagnitudeHistogram.of(LONG_TAILED, 65536), RangeMethod.PERCENTILE)
    assert found == pytest.approx(np.percentile(np.abs(LONG_TAILED), PERCENTILE), rel=0.02)


@pytest.mark.parametrize("values", [NORMAL, LONG_TAILED, FLAT], ids=["normal", "long", "flat"])
def test_the_least_squared_error_is_what_quantizing_finds(values: np.ndarray) -> None:
    found = threshold(MagnitudeHistogram.of(values), RangeMethod.MSE)
    limits = np.abs(values).max() * np.linspace(0.02, 1.0, 150)
    least = min(_error(values, limit) for limit in limits)
    assert _error(values, found) <= 1.01 * least


def test_least_squared_error_clips_long_tails_and_no_flat_one() -> None:
    tail = threshold(MagnitudeHistogram.of(LONG_TAILED), RangeMethod.MSE)
    assert tail < 0.7 * np.abs(LONG_TAILED).max()
    assert threshold(MagnitudeHistogram.of(FLAT), RangeMethod.MSE) > 0.99


@pytest.mark.parametrize("method", list(RangeMethod))
def test_every_method_stays_within_what_was_seen(method: RangeMethod) -> None:
    for values in (NORMAL, LONG_TAILED, FLAT):
        limit = threshold(MagnitudeHistogram.of(values), method)
        assert 0.0 < limit <= np.abs(values).max() * (1 + 1e-12)


@pytest.mark.parametrize(
    ("method", "name"), [(RangeMethod.ENTROPY, "entropy"), (RangeMethod.PERCENTILE, "percentile")]
)
@pytest.mark.parametrize("values", [NORMAL, LONG_TAILED], ids=["normal", "long"])
def test_thresholds_agree_with_onnxruntime_calibrators(
    method: RangeMethod, name: str, values: np.ndarray
) -> None:
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method=name,
        symmetric=True,
        num_bins=2048,
        num_quantized_bins=128,
        percentile=PERCENTILE,
        scenario="same",
    )
    collector.collect({"x": [values.astype(np.float32)]})
    theirs = collector.compute_collection_result()["x"]
    reach = max(abs(float(theirs[0])), abs(float(theirs[1])))
    # Theirs has bins of both signs, so half as many; their entropy ends within a few of them.
    assert threshold(MagnitudeHistogram.of(values, 1024), method) == pytest.approx(reach, rel=0.15)


@pytest.mark.parametrize(
    ("counts", "limit", "complaint"),
    [
        (np.zeros(4), 1.0, "no activation was seen"),
        (np.array([1.0, np.nan]), 1.0, "no activation was seen"),
        (np.array([1.0, 2.0]), np.inf, "finite activations"),
        (np.array([3.0, -1.0]), 1.0, "finite activations"),
    ],
)
def test_an_empty_or_infinite_histogram_is_refused(
    counts: np.ndarray, limit: float, complaint: str
) -> None:
    with pytest.raises(DatasetError, match=complaint):
        MagnitudeHistogram(counts, limit)


def test_every_method_has_an_implementation_of_its_own() -> None:
    histogram = MagnitudeHistogram.of(LONG_TAILED)
    found = [threshold(histogram, method) for method in RangeMethod]
    assert len(set(found)) == len(RangeMethod)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(AssertionError, match="planted"):
        threshold(MagnitudeHistogram.of(NORMAL), "planted")  # type: ignore[arg-type]


def test_a_planted_method_without_an_implementation_fails_the_type_check(tmp_path: Path) -> None:
    from mypy import api

    source = Path(ranges.__file__).read_text()
    planted = source.replace('MSE = "mse"\n', 'MSE = "mse"\n    PLANTED = "planted"\n')
    (tmp_path / "whole.py").write_text(source)
    (tmp_path / "planted.py").write_text(planted)
    # Without NumPy's types, which take long to read, mypy has other complaints of both files.
    options = ["--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    files = [str(tmp_path / "whole.py"), str(tmp_path / "planted.py")]
    found, _, _ = api.run([*options, *files])
    complaints = [
        {line.partition(" error: ")[2] for line in found.splitlines() if line.startswith(file)}
        for file in files
    ]
    (added,) = complaints[1] - complaints[0]
    assert "assert_never" in added and "RangeMethod.PLANTED" in added
