"""Exact expectation of MMDG's Monte Carlo dropout certainty, and an approximation exact in float32.

MMDG drops each activation x of an attention output `samples` times with probability p, takes the
unbiased standard deviation over the draws, and calls exp(-rate * std) the certainty. With K of n
draws kept, K ~ Binomial(n, 1 - p), the draws are x / (1 - p) K times and 0 otherwise, so

    std = |x| / (1 - p) * sqrt(K (n - K) / (n (n - 1)))

and the expected certainty is a finite sum of exponentials of |x|: no sampling is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fasdk.errors import ModelError

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExponentialSum:
    """The function c(t) = floor + sum_i weights[i] * exp(-rates[i] * t) of t >= 0.

    Attributes:
        floor: Limit of c(t) for large t.
        rates: Decay rates, positive and ascending.
        weights: Weights of the exponentials, positive, one per rate; floor and weights add up to 1.
        error_bound: Upper bound, over all t >= 0, of its distance from the exact expectation.
    """

    floor: float
    rates: tuple[float, ...]
    weights: tuple[float, ...]
    error_bound: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Return c(|x|), element-wise, same shape and dtype; no gradient flows through it."""
        with torch.no_grad():
            t = x.abs()
            total = torch.full_like(t, self.floor)
            for rate, weight in zip(self.rates, self.weights, strict=True):
                total += weight * torch.exp(-rate * t)
            return total


def dropout_certainty(ratio: float, samples: int, exp_rate: float) -> ExponentialSum:
    """Return the expected certainty of an activation as a function of its magnitude.

    Args:
        ratio: Dropout probability, in [0, 1).
        samples: Draws per activation, at least 2.
        exp_rate: Factor on the standard deviation (MMDG, CVPR 2024, eq. 3: r).

    Returns:
        The sum over all outcomes of the binomial, equal rates merged.
    """
    keep = 1.0 - ratio
    by_spread: dict[int, float] = {}
    for kept in range(samples + 1):
        probability = math.comb(samples, kept) * keep**kept * ratio ** (samples - kept)
        spread = kept * (samples - kept)  # K and n - K spread the draws equally
        by_spread[spread] = by_spread.get(spread, 0.0) + probability
    floor = by_spread.pop(0)
    outcomes = sorted((s, p) for s, p in by_spread.items() if p > 0.0)
    scale = exp_rate / keep
    return ExponentialSum(
        floor=floor,
        rates=tuple(scale * math.sqrt(s / (samples * (samples - 1))) for s, _ in outcomes),
        weights=tuple(p for _, p in outcomes),
    )


@cache  # every adapter of a model asks for the same sum
def shortened(exact: ExponentialSum, tolerance: float = 5e-8) -> ExponentialSum:
    """Return a sum of fewer exponentials that stays within `tolerance` for every t >= 0.

    It is the Gauss rule of the discrete measure (rates, weights): m nodes whose first 2m moments,
    so the first 2m derivatives of c at t = 0, are exact. The outcome with rate 0 stays apart as
    `floor`, which makes the error vanish for large t too. What it is in between is bounded by
    `error_bound_between`; the rule with the fewest nodes whose bound holds is returned.

    Raises:
        ModelError: `tolerance` is not positive.
    """
    if not tolerance > 0.0:
        raise ModelError(f"tolerance {tolerance} of the certainty's short form must be positive")
    rates, weights = np.array(exact.rates), np.array(exact.weights)
    if not len(rates):
        return exact
    diagonal, off_diagonal = _recurrence(rates, weights)
    for count in range(1, len(rates)):
        jacobi = np.diag(diagonal[:count])
        jacobi += np.diag(off_diagonal[1:count], 1) + np.diag(off_diagonal[1:count], -1)
        nodes, vectors = np.linalg.eigh(jacobi)  # Golub and Welsch, 1969
        rule = ExponentialSum(
            floor=exact.floor,
            rates=tuple(float(node) for node in nodes),
            weights=tuple(float(weights.sum() * v * v) for v in vectors[0]),
        )
        bound = exact.error_bound + error_bound_between(exact, rule)
        if bound <= tolerance:
            return replace(rule, error_bound=bound)
    return exact


def error_bound_between(first: ExponentialSum, second: ExponentialSum) -> float:
    """Return an upper bound of |first(t) - second(t)| over all t >= 0, in float64.

    The difference is taken on a grid of step h up to T. Between two grid points it exceeds the
    larger of them by at most h^2 / 8 * max |second derivative| <= h^2 / 8 * sum weight * rate^2;
    beyond T each sum is within exp(-slowest T) of its floor. With the least rate r and step
    h = 1e-4 / r, T = 20 / r, both margins are below 1e-8 for rates within a factor of 3.
    """
    rates = np.array(first.rates + second.rates)
    signed = np.array(first.weights + tuple(-w for w in second.weights))
    slowest = float(rates.min())
    step, end = 1e-4 / slowest, 20.0 / slowest
    largest = 0.0
    for block in np.array_split(np.arange(int(end / step) + 2) * step, 64):
        difference = first.floor - second.floor + np.exp(-np.outer(block, rates)) @ signed
        largest = max(largest, float(np.abs(difference).max()))
    between = step * step / 8.0 * float(np.abs(signed) @ rates**2)
    tail = abs(first.floor - second.floor) + math.exp(-20.0) * float(np.abs(signed).sum())
    return max(largest + between, tail)


def _recurrence(nodes: _Floats, weights: _Floats) -> tuple[_Floats, _Floats]:
    """Return diagonal and off-diagonal (from index 1) of the measure's Jacobi matrix.

    Stieltjes' procedure; the measures here have some ten atoms, where it is accurate.
    """
    count = len(nodes)
    diagonal, off_diagonal, norms = np.zeros(count), np.zeros(count), np.zeros(count)
    previous, current = np.zeros(count), np.ones(count)
    for degree in range(count):
        norms[degree] = weights @ current**2
        diagonal[degree] = weights @ (nodes * current**2) / norms[degree]
        ratio = norms[degree] / norms[degree - 1] if degree else 0.0
        off_diagonal[degree] = math.sqrt(ratio)
        previous, current = current, (nodes - diagonal[degree]) * current - ratio * previous
    return diagonal, off_diagonal
