"""Score calibration to probabilities by logistic regression on log-odds (Platt scaling)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import ScoreCalibration
from fasdk.errors import DatasetError, OperatingPointError
from fasdk_calibration.metrics import Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Modality

PRIOR = 0.5  # probability of bona fide that the calibrated scores assume
_MAX_STEPS = 200
_GRADIENT = 1e-11
_RIDGE = 1e-12
_FLATTEST = 1e-6  # slope per standard deviation of the log-odds; less is rounding
_SIGNIFICANT_DIGITS = 9  # beyond that a fit differs by how a machine rounds a logarithm


def fit_score_calibration(
    log_odds: Scores, modalities: Sequence[Modality], graph_sha256: str
) -> ScoreCalibration:
    """Return the slope and offset under which the scores are probabilities at even priors.

    Maximum likelihood with Platt's smoothed targets, by Newton's method with backtracking from zero
    (Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines",
    Machine Learning 68, 2007). The targets stop short of 0 and 1 by what so few presentations can
    show, so classes that separate get a finite slope. Both classes weigh half, whatever their
    counts, and within a class every presentation the same, shared out among its frames.

    Args:
        log_odds: Natural log-odds of bona fide in `values`, one entry a frame.
        modalities: Modalities every frame's capture held, in model order.
        graph_sha256: The graph that gave the scores.

    Raises:
        DatasetError: A class is absent, or a value is not finite.
        OperatingPointError: All frames score alike, or attacks score higher than bona fide ones: no
            increasing function makes probabilities of such scores.
    """
    values, labels = log_odds.values, log_odds.is_bona_fide
    if not np.isfinite(values).all():
        raise DatasetError(
            f"{int((~np.isfinite(values)).sum())} of {len(log_odds)} log-odds are not finite: "
            "no calibration can be fitted"
        )
    if labels.all() or not labels.any():
        absent = "attack" if labels.all() else "bona fide"
        raise DatasetError(f"no {absent} presentation: a calibration needs both classes")
    frames = Counter(zip(log_odds.domain, log_odds.presentation, strict=True))
    keys = zip(log_odds.domain, log_odds.presentation, strict=True)
    share = np.array([1.0 / frames[key] for key in keys])
    attacks, bona_fide = round(share[~labels].sum()), round(share[labels].sum())
    weights = np.where(labels, PRIOR / share[labels].sum(), (1 - PRIOR) / share[~labels].sum())
    weights *= share
    targets = np.where(labels, (bona_fide + 1) / (bona_fide + 2), 1 / (attacks + 2))

    center = float(weights @ values)
    spread = float(np.sqrt(weights @ (values - center) ** 2))
    name = "+".join(m.value for m in modalities)
    if not spread > 1e-12 * max(1.0, abs(center)):
        raise OperatingPointError(f"all captures with {name} score alike: the model ignores them")
    slope, offset = _newton((values - center) / spread, targets, weights)
    if not slope > _FLATTEST:
        raise OperatingPointError(
            f"attacks with {name} score no lower than bona fide captures: train the model further"
        )
    slope = _rounded(slope / spread)
    return ScoreCalibration(
        modalities=tuple(modalities),
        slope=slope,
        offset=_rounded(offset - slope * center),
        graph_sha256=graph_sha256,
        source=(
            f"logistic on log-odds of {attacks} attack and {bona_fide} bona fide presentations, "
            f"both classes weighing the same (prior {PRIOR})"
        ),
    )


def _newton(
    x: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and offset of the logistic with the least weighted cross-entropy."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    parameters = np.zeros(2)
    loss = _cross_entropy(design @ parameters, targets, weights)
    for _ in range(_MAX_STEPS):
        probabilities = _logistic(design @ parameters)
        gradient = design.T @ (weights * (probabilities - targets))
        if np.abs(gradient).max() < _GRADIENT:
            break
        curvature = weights * probabilities * (1 - probabilities)
        hessian = design.T @ (design * curvature[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            candidate = parameters - size * step
            lower = _cross_entropy(design @ candidate, targets, weights)
            if lower < loss - 1e-4 * size * float(gradient @ step):
                break
            size /= 2
        else:
            break  # no decrease can be told from rounding: this is the minimum
        parameters, loss = candidate, lower
    return float(parameters[0]), float(parameters[1])


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def _cross_entropy(
    values: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    losses = np.logaddexp(0.0, -values) + (1.0 - targets) * values
    return float(weights @ losses)


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
