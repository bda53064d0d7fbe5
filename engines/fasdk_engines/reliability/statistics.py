"""Statistics of good pictures: how far a picture is from them, and its rank among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RANK = 32
AXES = 48
HIDDEN = 256
BOUND = 8.0
"""Largest coordinate along an axis, in standard deviations of good pictures."""
_SEED = 0
_KNOTS = 64
_LEAST_SPREAD = 1e-3  # of a feature; what never varies must not decide
_LEAST_REST = 1e-2  # of the variance 1 that a standardized feature has
_LEAST_ALONG = 0.05  # standard deviation along an axis that good pictures hardly vary in
_TAME = 4.0  # a fault's standardized features beyond count as this much in the choice of axes
_RIDGE = 1e-2


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Regularized Gaussian of the standardized features of good pictures.

    The distance is Mahalanobis's, of a covariance whose `directions` have their own variance and
    all others the mean of the rest (probabilistic principal component analysis, Tipping and Bishop,
    J. R. Stat. Soc. B 61(3), 1999).

    Attributes:
        directions: Principal directions, each times the square root of (1 / rest - 1 / its
            variance), float64 [R, F].
        rest: Mean variance in all other directions.
    """

    directions: Array
    rest: float

    @classmethod
    def of(cls, good: Array) -> Gaussian:
        """Return the Gaussian of standardized features [N, F]."""
        _, singular, directions = np.linalg.svd(good, full_matrices=False)
        variances = singular**2 / len(good)
        rank = min(RANK, len(variances) - 1)
        rest = max(float(variances[rank:].sum()) / (good.shape[1] - rank), _LEAST_REST)
        weights = np.sqrt(np.maximum(1.0 / rest - 1.0 / np.maximum(variances[:rank], rest), 0.0))
        return cls(weights[:, None] * directions[:rank], rest)

    def distances(self, rows: Array) -> Array:
        """Return the squared distance of each row [N, F], float64 [N]."""
        along = rows @ self.directions.T
        distances: Array = (rows**2).sum(1) / self.rest - (along**2).sum(1)
        return distances


@dataclass(frozen=True, eq=False)
class FaultRegression:
    """Regression of good against faulty pictures, on random units of standardized features.

    One hidden layer that is drawn and not trained, and a ridge regression on it (Huang et al.,
    Extreme learning machine, Neurocomputing 70, 2006). That simulated faults teach what is not
    normal is outlier exposure (Hendrycks et al., ICLR 2019).

    Attributes:
        axes: Directions of the features, over the standard deviation of good pictures along them,
            float64 [A, F].
        units: Weights of the hidden units, float64 [H, A].
        biases: Biases of the hidden units, float64 [H].
        unit_weights: Weight of each hidden unit in the answer, float64 [H].
        axis_weights: Weight of each axis in the answer, float64 [A].
    """

    axes: Array
    units: Array
    biases: Array
    unit_weights: Array
    axis_weights: Array

    @classmethod
    def of(cls, good: Array, faulty: Array) -> FaultRegression:
        """Return the regression of standardized features [N, F] and [M, F]."""
        tamed = faulty.clip(-_TAME, _TAME)
        covariance = good.T @ good / len(good) + tamed.T @ tamed / len(tamed)
        _, vectors = np.linalg.eigh(covariance)
        axes = vectors[:, ::-1][:, :AXES].T
        axes /= (good @ axes.T).std(axis=0)[:, None] + _LEAST_ALONG
        rng = np.random.default_rng(_SEED)
        units = rng.standard_normal((HIDDEN, len(axes))) / np.sqrt(len(axes))
        found = cls(axes, units, rng.uniform(-2, 2, HIDDEN), np.zeros(HIDDEN), np.zeros(len(axes)))
        rows = np.concatenate([found._hidden(good), found._hidden(faulty)])
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        wanted = np.repeat([0.0, 1.0], [len(good), len(faulty)])
        # Both classes weigh the same.
        weights = np.repeat([0.5 / len(good), 0.5 / len(faulty)], [len(good), len(faulty)])
        gram = (rows * weights[:, None]).T @ rows + _RIDGE * np.eye(rows.shape[1])
        solved = np.linalg.solve(gram, rows.T @ (weights * wanted))
        return cls(axes, units, found.biases, solved[:HIDDEN], solved[HIDDEN:-1])

    def _hidden(self, rows: Array) -> Array:
        along = (rows @ self.axes.T).clip(-BOUND, BOUND)
        units = np.maximum(along @ self.units.T + self.biases, 0.0)
        return np.concatenate([units, along], axis=1)

    def answers(self, rows: Array) -> Array:
        """Return how faulty each row [N, F] looks, float64 [N], up to a constant."""
        answers: Array = self._hidden(rows) @ np.append(self.unit_weights, self.axis_weights)
        return answers


@dataclass(frozen=True, eq=False)
class PictureStatistics:
    """Two measures of how unlike good pictures a picture is.

    Attributes:
        mean: Mean of each feature of good pictures, float64 [F].
        scale: 1 / standard deviation of each feature, float64 [F].
        gaussian: Distance from good pictures.
        faults: Likeness to simulated faults.
    """

    mean: Array
    scale: Array
    gaussian: Gaussian
    faults: FaultRegression

    @classmethod
    def of(cls, good: Array, faulty: Array) -> PictureStatistics:
        """Return the statistics of the features of good pictures [N, F] and of faulty ones."""
        mean, scale = good.mean(axis=0), 1.0 / (good.std(axis=0) + _LEAST_SPREAD)
        standard = (good - mean) * scale
        regression = FaultRegression.of(standard, (faulty - mean) * scale)
        return cls(mean, scale, Gaussian.of(standard), regression)

    def measures(self, features: Array) -> Array:
        """Return both measures of features [N, F], float64 [N, 2]."""
        rows = (features - self.mean) * self.scale
        return np.stack([self.gaussian.distances(rows), self.faults.answers(rows)], axis=1)


@dataclass(frozen=True, eq=False)
class RankCurve:
    """Share of good pictures at least as unlike the others, as a function of both measures.

    Each measure counts from its median over good pictures, in units of how far their 95th
    percentile is from there; the larger one decides. Over that the rank falls from 1 to 0 in
    straight lines between knots.

    Attributes:
        medians: Median of each measure, float64 [2].
        spans: Its 95th percentile less its median, float64 [2].
        knots: Values of the larger measure, rising, float64 [K].
        ranks: Ranks there, falling, float64 [K].
    """

    medians: Array
    spans: Array
    knots: Array
    ranks: Array

    @classmethod
    def of(cls, measures: Array) -> RankCurve:
        """Return the curve of good pictures that the statistics have not seen.

        Args:
            measures: float64 [N, 2], each column of different values.
        """
        medians, high = np.median(measures, axis=0), np.quantile(measures, 0.95, axis=0)
        spans = high - medians
        ordered, count = np.sort(((measures - medians) / spans).max(axis=1)), len(measures)
        # Among these and the picture in question, the share at least as unlike: a conformal rank
        # (Vovk et al., Algorithmic Learning in a Random World, 2005). Knots are dense near 0.
        tail = np.geomspace(1.0 / (count + 1.0), 0.1, _KNOTS // 2)
        wanted = np.concatenate([tail, np.linspace(0.1, 1.0, _KNOTS // 2)])
        places = np.unique((count - wanted * (count + 1.0)).round().astype(int).clip(0, count - 1))
        knots, first = np.unique(ordered[places], return_index=True)
        ranks = (count - places[first]) / (count + 1.0)
        ranks[0] = 1.0
        # Further away than all of them the rank goes on to 0, over as far as the last tenth took.
        last = max(knots[-1] - np.quantile(ordered, 0.9), 1e-3 * (knots[-1] - knots[0]))
        return cls(medians, spans, np.append(knots, knots[-1] + last), np.append(ranks, 0.0))

    def at(self, measures: Array) -> Array:
        """Return the rank of measures [N, 2], float64 [N] in [0, 1]."""
        larger = ((measures - self.medians) / self.spans).max(axis=1)
        ranks: Array = np.interp(larger, self.knots, self.ranks)
        return ranks
