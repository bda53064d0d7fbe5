"""Confidence intervals of AUC, EER and HTER by resampling subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import DatasetError
from fasdk_calibration.metrics.bounds import CONFIDENCE, Interval
from fasdk_calibration.metrics.curves import curve_of_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES, SEED = 1000, 0


@dataclass(frozen=True)
class BootstrapIntervals:
    """Two-sided percentile intervals (Efron, 1979), each in [0, 1].

    Attributes:
        auc: Interval of the area under the ROC curve.
        eer: Interval of the interpolated equal error rate.
        hter_at_eer: Interval of HTER at each resample's own equal-error score.
        hter: Interval of HTER at the given threshold, which is taken as fixed.
    """

    auc: Interval
    eer: Interval
    hter_at_eer: Interval
    hter: Interval


def bootstrap_intervals(
    scores: NDArray[np.float64],
    is_bona_fide: NDArray[np.bool_],
    subjects: Sequence[str],
    threshold: float,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> BootstrapIntervals | None:
    """Return intervals over resamples of the subjects, the same for the same seed.

    What one subject did is drawn as a whole, because it is not independent. Subjects are drawn
    within three groups, those with bona fide presentations, with attacks and with both, so that no
    resample lacks a class. A resample holds no error that the captures do not hold: where they hold
    none, an interval collapses, and only the bounds of APCER and BPCER say how much is unknown.

    Args:
        scores: float64 [N], score of each presentation, greater is more live.
        is_bona_fide: bool [N], True for bona fide presentations.
        subjects: N names of persons.
        threshold: Fixed threshold of `hter`.
        confidence: Share of resamples inside an interval.
        resamples: Number of resamples.
        seed: Seed of the random generator.

    Returns:
        The intervals, or None where a class comes from a single subject: nothing then shows how
        much another subject would differ.

    Raises:
        DatasetError: A class is absent, or the settings are out of range.
    """
    if not 0.0 < confidence < 1.0 or resamples < 1:
        raise DatasetError(
            f"confidence {confidence} and {resamples} resamples: expected (0, 1) and at least 1"
        )
    names, subject_of = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    has_live = np.bincount(subject_of[is_bona_fide], minlength=names.size) > 0
    has_attack = np.bincount(subject_of[~is_bona_fide], minlength=names.size) > 0
    if not has_live.any() or not has_attack.any():
        raise DatasetError("a bootstrap needs presentations of both classes")
    if has_live.sum() < 2 or has_attack.sum() < 2:
        return None
    groups = [
        members
        for mask in (has_live & ~has_attack, has_attack & ~has_live, has_live & has_attack)
        if (members := np.flatnonzero(mask)).size
    ]
    levels, level_of = np.unique(scores, return_inverse=True)
    accepted = levels > threshold
    rng = np.random.default_rng(seed)
    found = np.empty((resamples, 4))
    for row in range(resamples):
        drawn = np.zeros(names.size, np.int64)
        for members in groups:
            picks = rng.integers(0, members.size, members.size)
            drawn[members] = np.bincount(picks, minlength=members.size)
        times = drawn[subject_of]
        live = _count(level_of[is_bona_fide], times[is_bona_fide], levels.size)
        attack = _count(level_of[~is_bona_fide], times[~is_bona_fide], levels.size)
        points = curve_of_counts(levels, live, attack)
        nearest = points.nearest_to_equal()
        found[row] = (
            points.auc,
            points.equal_error_rate,
            (points.fpr[nearest] + points.fnr[nearest]) / 2,
            (attack[accepted].sum() / attack.sum() + live[~accepted].sum() / live.sum()) / 2,
        )
    tail = (1.0 - confidence) / 2
    lower, upper = np.quantile(found, (tail, 1.0 - tail), axis=0)
    return BootstrapIntervals(
        *(Interval(float(low), float(high)) for low, high in zip(lower, upper, strict=True))
    )


def _count(level_of: NDArray[np.int64], times: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    # bincount adds weights as floats, exact for counts below 2**53.
    return np.bincount(level_of, weights=times, minlength=levels).astype(np.int64)
