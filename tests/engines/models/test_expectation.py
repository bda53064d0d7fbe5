"""Expectations of MMDG's Monte Carlo dropout certainty, computed exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fasdk.errors import ModelError
from fasdk_engines.models.mmdg.expectation import (
    ExponentialSum,
    dropout_certainty,
    error_bound_between,
    shortened,
)

PUBLISHED = dropout_certainty(0.3, 20, 2.25)


def sampled(x: float, ratio: float, samples: int, exp_rate: float, runs: int) -> float:
    """Return the published procedure's mean certainty: draw, take the deviation, decay."""
    rng = np.random.default_rng(0)
    kept = rng.random((runs, samples)) >= ratio
    deviation = (x * kept / (1.0 - ratio)).std(axis=1, ddof=1)
    return float(np.exp(-exp_rate * deviation).mean())


@pytest.mark.parametrize("x", [0.0, 0.3, -1.0, 2.5])
@pytest.mark.parametrize(("ratio", "samples", "exp_rate"), [(0.3, 20, 2.25), (0.5, 2, 1.0)])
def test_the_sum_is_what_sampling_tends_to(x, ratio, samples, exp_rate):
    exact = dropout_certainty(ratio, samples, exp_rate)
    found = exact(torch.tensor([x], dtype=torch.float64)).item()
    # 200,000 runs of something in [0, 1]: five standard errors are below 6e-3.
    assert found == pytest.approx(sampled(x, ratio, samples, exp_rate, 200_000), abs=6e-3)


def test_the_plug_in_is_another_function():
    # The usual shortcut, exp(-rate * expected deviation), misses by more than the golden's noise.
    plug_in = math.exp(-2.25 * math.sqrt(0.3 / 0.7))
    assert abs(PUBLISHED(torch.ones(1, dtype=torch.float64)).item() - plug_in) > 5e-3


@pytest.mark.parametrize(
    ("ratio", "samples", "exp_rate"), [(0.3, 20, 2.25), (0.3, 50, 2.25), (0.1, 20, 1.0)]
)
def test_the_short_form_is_float32_exact_for_every_magnitude(ratio, samples, exp_rate):
    exact = dropout_certainty(ratio, samples, exp_rate)
    short = shortened(exact)
    t = torch.linspace(0.0, 60.0, 123_457, dtype=torch.float64)
    assert len(short.rates) < len(exact.rates)
    assert (short(t) - exact(t)).abs().max().item() <= short.error_bound <= 5e-8


def test_published_settings_need_five_exponentials():
    assert (len(PUBLISHED.rates), len(shortened(PUBLISHED).rates)) == (10, 5)


def test_the_bound_sees_a_planted_error():
    wrong = ExponentialSum(PUBLISHED.floor, PUBLISHED.rates, PUBLISHED.weights[::-1])
    assert error_bound_between(PUBLISHED, wrong) > 1e-2


def test_a_tolerance_nothing_shorter_meets_keeps_the_exact_sum():
    assert shortened(PUBLISHED, 1e-15) is PUBLISHED


def test_without_dropout_every_activation_is_certain():
    always = dropout_certainty(0.0, 20, 2.25)
    assert shortened(always) is always
    assert always(torch.tensor([0.0, 3.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("tolerance", [0.0, -1e-9, float("nan")])
def test_a_tolerance_that_is_not_positive_is_refused(tolerance):
    with pytest.raises(ModelError, match="must be positive"):
        shortened(PUBLISHED, tolerance)


def test_no_gradient_flows_through_certainty():
    assert not PUBLISHED(torch.ones(3, requires_grad=True)).requires_grad
