"""Error rates of ISO/IEC 30107-3 with exact bounds, on scores where greater means more live."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ErrorRate:
    """Errors counted among presentations.

    Attributes:
        errors: How many were judged wrongly.
        total: How many were judged, at least 1.
    """

    errors: int
    total: int

    def __post_init__(self) -> None:
        """Refuse counts that no experiment can give."""
        if not 0 <= self.errors <= self.total or self.total < 1:
            raise DatasetError(f"{self.errors} errors among {self.total} presentations: impossible")

    @property
    def rate(self) -> float:
        """The observed rate, in [0, 1]."""
        return self.errors / self.total

    def upper(self, confidence: float = 0.95) -> float:
        """Return the one-sided upper bound; see `binomial_upper`."""
        return binomial_upper(self.errors, self.total, confidence)


def binomial_upper(errors: int, total: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper confidence bound of a proportion.

    The largest p with P(X <= errors | total, p) >= 1 - confidence (Clopper and Pearson, Biometrika
    26, 1934), by bisection in log space. It assumes independent presentations.

    Raises:
        DatasetError: The counts are impossible, or `confidence` is not inside (0, 1).
    """
    if not 0 <= errors <= total or total < 1:
        raise DatasetError(f"{errors} errors among {total} presentations: impossible")
    if not 0.0 < confidence < 1.0:
        raise DatasetError(f"confidence {confidence} is not between 0 and 1")
    if errors == total:
        return 1.0
    log_tail = math.log1p(-confidence)
    kept = np.arange(errors + 1)
    log_choices = np.array(
        [-math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(errors + 1)]
    ) + math.lgamma(total + 1)
    low, high = errors / total, 1.0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        terms = log_choices + kept * math.log(middle) + (total - kept) * math.log1p(-middle)
        if float(np.logaddexp.reduce(terms)) >= log_tail:
            low = middle
        else:
            high = middle


def apcer_by_species(
    scores: NDArray[np.float64],
    is_bona_fide: NDArray[np.bool_],
    species: Sequence[str],
    threshold: float,
) -> dict[str, ErrorRate]:
    """Return the share of attack presentations accepted as live, by PAI species in name order.

    Args:
        scores: float64 [N], P(bona fide); NaN is never accepted.
        is_bona_fide: bool [N].
        species: PAI species of each capture; those of bona fide ones are not looked at.
        threshold: A capture is accepted when its score is greater.

    Raises:
        DatasetError: The lengths differ, or there is no attack.
    """
    scores, is_bona_fide = _checked(scores, is_bona_fide, len(species))
    names = np.asarray(species, dtype=object)
    accepted = scores > threshold
    found = sorted({str(name) for name in names[~is_bona_fide]})
    if not found:
        raise DatasetError("no attack among the captures: APCER cannot be measured")
    rates: dict[str, ErrorRate] = {}
    for name in found:
        these = ~is_bona_fide & (names == name)
        rates[name] = ErrorRate(int(accepted[these].sum()), int(these.sum()))
    return rates


def bpcer(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], threshold: float
) -> ErrorRate:
    """Return the share of bona fide presentations not accepted; see `apcer_by_species`.

    Raises:
        DatasetError: The lengths differ, or there is no bona fide capture.
    """
    scores, is_bona_fide = _checked(scores, is_bona_fide, len(scores))
    if not is_bona_fide.any():
        raise DatasetError("no bona fide capture: BPCER cannot be measured")
    rejected = ~(scores[is_bona_fide] > threshold)
    return ErrorRate(int(rejected.sum()), int(is_bona_fide.sum()))


def auc(scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_]) -> float:
    """Return the exact area under the ROC curve: P(bona fide outscores attack), ties half.

    Raises:
        DatasetError: A class is absent, a score is NaN, or the lengths differ.
    """
    scores, is_bona_fide = _checked(scores, is_bona_fide, len(scores))
    if np.isnan(scores).any():
        raise DatasetError(f"{int(np.isnan(scores).sum())} scores are NaN: AUC is not defined")
    live, attack = scores[is_bona_fide], np.sort(scores[~is_bona_fide])
    if not live.size or not attack.size:
        raise DatasetError("AUC needs captures of both classes")
    below = np.searchsorted(attack, live, side="left")
    not_above = np.searchsorted(attack, live, side="right")
    return float((below + not_above).sum() / (2 * live.size * attack.size))


def half_total_error_rate(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], threshold: float
) -> float:
    """Return HTER: the mean of the shares of attacks accepted and of bona fide captures refused.

    All attacks count alike, whatever their species, as in the papers this figure compares with.

    Args:
        scores: float64 [N], P(bona fide); NaN is never accepted.
        is_bona_fide: bool [N].
        threshold: A capture is accepted when its score is greater; chosen on other captures.

    Raises:
        DatasetError: The lengths differ, or a class is absent.
    """
    attacks = apcer_by_species(scores, is_bona_fide, ["attack"] * len(scores), threshold)
    refused = bpcer(scores, is_bona_fide, threshold)
    return (attacks["attack"].rate + refused.rate) / 2


def eer_threshold(scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_]) -> float:
    """Return the threshold at which as many attacks are accepted as bona fide captures refused.

    Where no threshold makes the two shares equal, the nearest is taken: of two equally near, the
    one with the lower HTER, then the stricter. All thresholds from one score up to the next do the
    same; their middle is taken.

    Raises:
        DatasetError: A class is absent, a score is NaN, or the lengths differ.
    """
    scores, is_bona_fide = _checked(scores, is_bona_fide, len(scores))
    if np.isnan(scores).any():
        raise DatasetError(f"{int(np.isnan(scores).sum())} scores are NaN: no threshold separates")
    live, attack = np.sort(scores[is_bona_fide]), np.sort(scores[~is_bona_fide])
    if not live.size or not attack.size:
        raise DatasetError("an equal error rate needs captures of both classes")
    levels = np.unique(scores)
    # Whole numbers, so that shares that are equal compare equal.
    accepted = (attack.size - np.searchsorted(attack, levels, side="right")) * live.size
    refused = np.searchsorted(live, levels, side="right") * attack.size
    order = np.lexsort((-levels, accepted + refused, np.abs(accepted - refused)))
    best = int(order[0])
    if best + 1 == levels.size:
        return float(levels[best])
    middle = float((levels[best] + levels[best + 1]) / 2)
    # Between neighbouring floats the middle may round up to the next score, and refuse it.
    return middle if middle < levels[best + 1] else float(levels[best])


def _checked(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, is_bona_fide = np.asarray(scores, np.float64), np.asarray(is_bona_fide, bool)
    if scores.ndim != 1 or scores.shape != is_bona_fide.shape or scores.size != count:
        raise DatasetError(
            f"{scores.shape} scores, {is_bona_fide.shape} labels, {count} species: "
            "expected one of each a capture"
        )
    return scores, is_bona_fide
