"""Coverage of percentiles' upper bounds over simulated runs of known distributions.

    PYTHONPATH=tests python -m support.profile_bounds [--runs 1000]

prints one JSON document: for each distribution, number of calls and percentile, the share of runs
whose bound is at least the true percentile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, signal, stats

from fasdk_tools.profiling.percentiles import PERCENTS, percentiles

CALLS = (299, 473, 3000)
CONFIDENCE = 0.95
# Risk of a miss by chance where a bound covers in exactly 95 % of the runs.
CHANCE = 0.01

_SLOW_SHARE = 0.05
_FAST, _SLOW = stats.norm(8.0, 0.4), stats.norm(40.0, 5.0)
_LOG = stats.lognorm(0.5, scale=8.0)
_RHO = 0.8


@dataclass(frozen=True)
class Distribution:
    """Simulated latencies of which every percentile is known.

    Attributes:
        name: Name in the document.
        independent: Whether a call tells nothing about the next.
        draw: Function of (generator, calls) that returns one run, in milliseconds.
        true_ms: Function of a percentile, in percent, that returns its true value.
    """

    name: str
    independent: bool
    draw: Callable[[np.random.Generator, int], np.ndarray]
    true_ms: Callable[[float], float]


def _log_normal(rng: np.random.Generator, calls: int) -> np.ndarray:
    return np.asarray(_LOG.rvs(calls, random_state=rng))


def _bimodal(rng: np.random.Generator, calls: int) -> np.ndarray:
    slow = rng.random(calls) < _SLOW_SHARE
    fast_ms, slow_ms = (part.rvs(calls, random_state=rng) for part in (_FAST, _SLOW))
    return np.where(slow, slow_ms, fast_ms)


def _bimodal_true(p: float) -> float:
    def excess(ms: float) -> float:
        return (1 - _SLOW_SHARE) * _FAST.cdf(ms) + _SLOW_SHARE * _SLOW.cdf(ms) - p / 100

    return float(optimize.brentq(excess, 0.0, 100.0))


def _autocorrelated(rng: np.random.Generator, calls: int) -> np.ndarray:
    """Latencies of log-normal distribution whose logarithms are an AR(1) series."""
    noise = rng.normal(size=calls)
    noise[1:] *= np.sqrt(1 - _RHO**2)
    return np.asarray(_LOG.ppf(stats.norm.cdf(signal.lfilter([1.0], [1.0, -_RHO], noise))))


def _log_normal_true(p: float) -> float:
    return float(_LOG.ppf(p / 100))


DISTRIBUTIONS = (
    Distribution("log-normal", True, _log_normal, _log_normal_true),
    Distribution("bimodal", True, _bimodal, _bimodal_true),
    Distribution(f"autocorrelated {_RHO:g}", False, _autocorrelated, _log_normal_true),
)


def coverage(of: Distribution, calls: int, runs: int, seed: int = 0) -> dict[str, float]:
    """Return the share of runs whose bound is at least the true percentile, by percentile.

    Percentiles for which a run of `calls` has no bound are left out.
    """
    true_ms = {p: of.true_ms(p) for p in PERCENTS}
    covered: dict[str, int] = {}
    for run in range(runs):
        for found in percentiles(of.draw(np.random.default_rng((seed, calls, run)), calls)):
            if found.upper_ms is not None:
                covers = found.upper_ms >= true_ms[found.p]
                covered[found.name] = covered.get(found.name, 0) + covers
    return {name: count / runs for name, count in covered.items()}


def least_share(runs: int) -> float:
    """Return the least share of covering runs that 95 % coverage allows by chance."""
    return float(stats.binom.ppf(CHANCE, runs, CONFIDENCE)) / runs


def main() -> int:
    """Simulate every distribution and print what was covered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs: int = parser.parse_args().runs
    rows = [
        {
            "distribution": of.name,
            "independent": of.independent,
            "by_calls": {calls: coverage(of, calls, runs) for calls in CALLS},
        }
        for of in DISTRIBUTIONS
    ]
    print(json.dumps({"runs": runs, "least": least_share(runs), "coverage": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
