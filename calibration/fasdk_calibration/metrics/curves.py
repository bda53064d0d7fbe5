"""ROC and DET curves: error rates at every threshold, AUC, EER, rates at a target.

Every function takes one entry a presentation: fuse frames first (`scores.fuse`). Greater scores
mean more live, and LIVE means score > threshold. scikit-learn's `roc_curve`, and with it the
published evaluation code, accepts score >= threshold: its threshold for a point is the next greater
score than the one here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import DatasetError
from fasdk.settings import as_choice
from fasdk_calibration.metrics.bounds import ErrorRate, Interval
from fasdk_calibration.metrics.rates import apcer_by_species, bpcer, checked, worst_species

if TYPE_CHECKING:
    from numpy.typing import NDArray

POOLED = "all attacks"


class EerRule(Enum):
    """Rule that picks one of the thresholds at which the two error rates are nearest.

    SCORE: the lowest observed score that minimizes |FPR - FNR|. It depends on nothing else, so
        anyone's code finds the same figure.
    MIDPOINT: of those, the one with the lowest HTER, then the strictest; and of all thresholds that
        do as it does, the middle between two scores. For use on other captures.
    """

    SCORE = "observed score"
    MIDPOINT = "middle between scores"


@dataclass(frozen=True, eq=False)
class Curve:
    """Error rates at every threshold: the points of an ROC or DET curve, ends included.

    The first point accepts everything and the last nothing. FPR is the share of all attacks
    accepted, whatever their species: APCER if there is one species.

    Attributes:
        thresholds: float64 [K], ascending: -inf for the first point, then each distinct score.
        accepted: int64 [K], attacks with a greater score.
        refused: int64 [K], bona fide presentations without a greater score.
        attacks: Number of all attacks.
        bona_fide: Number of all bona fide presentations.
    """

    thresholds: NDArray[np.float64]
    accepted: NDArray[np.int64]
    refused: NDArray[np.int64]
    attacks: int
    bona_fide: int

    @property
    def fpr(self) -> NDArray[np.float64]:
        """float64 [K], share of attacks accepted, falling from 1 to 0."""
        return np.asarray(self.accepted / self.attacks)

    @property
    def fnr(self) -> NDArray[np.float64]:
        """float64 [K], share of bona fide presentations refused (BPCER), rising from 0 to 1."""
        return np.asarray(self.refused / self.bona_fide)

    @property
    def tpr(self) -> NDArray[np.float64]:
        """float64 [K], share of bona fide presentations accepted."""
        return np.asarray((self.bona_fide - self.refused) / self.bona_fide)

    @property
    def imbalance(self) -> NDArray[np.int64]:
        """int64 [K], FNR - FPR times both counts: whole, so that equal shares compare equal."""
        return np.asarray(self.refused * self.attacks - self.accepted * self.bona_fide)

    @property
    def auc(self) -> float:
        """The area under the ROC curve: P(bona fide outscores attack), ties half."""
        live = np.diff(self.refused)
        below = self.attacks - self.accepted
        pairs = int((live * (below[1:] + below[:-1])).sum())
        return pairs / (2 * self.attacks * self.bona_fide)

    @property
    def equal_error_rate(self) -> float:
        """Where the straight lines between the ROC's points cross FPR = FNR."""
        imbalance = self.imbalance
        after = int(np.argmax(imbalance >= 0))
        if imbalance[after] == 0:
            return float(self.fpr[after])
        before = after - 1  # the first point's imbalance is negative
        share = -imbalance[before] / (imbalance[after] - imbalance[before])
        fpr = self.fpr
        return float(fpr[before] + share * (fpr[after] - fpr[before]))

    def nearest_to_equal(self) -> int:
        """Return the index of the lowest score that minimizes |FPR - FNR| (`EerRule.SCORE`)."""
        return 1 + int(np.argmin(np.abs(self.imbalance[1:])))


def curve(scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_]) -> Curve:
    """Return the error rates at every threshold.

    Args:
        scores: float64 [N], greater is more live; infinities rank as such.
        is_bona_fide: bool [N], label of each score.

    Raises:
        DatasetError: A class is absent, a score is NaN, or the lengths differ.
    """
    scores, is_bona_fide = checked(scores, is_bona_fide, len(scores))
    levels, level_of = np.unique(scores, return_inverse=True)
    live = np.bincount(level_of[is_bona_fide], minlength=levels.size)
    attack = np.bincount(level_of[~is_bona_fide], minlength=levels.size)
    return curve_of_counts(levels, live, attack)


def curve_of_counts(
    levels: NDArray[np.float64], live: NDArray[np.int64], attack: NDArray[np.int64]
) -> Curve:
    """Return the curve of presentations counted by score.

    Args:
        levels: float64 [L], ascending scores.
        live: int64 [L], bona fide presentations with each score.
        attack: int64 [L], attacks with each score.

    Raises:
        DatasetError: A class is absent.
    """
    attacks, bona_fide = int(attack.sum()), int(live.sum())
    if not attacks or not bona_fide:
        absent = "bona fide" if attacks else "attack"
        raise DatasetError(
            f"no {absent} presentation: AUC, the equal error rate and every curve need both classes"
        )
    none = np.zeros(1, np.int64)
    return Curve(
        thresholds=np.concatenate([[-np.inf], levels]),
        accepted=attacks - np.concatenate([none, np.cumsum(attack)]),
        refused=np.concatenate([none, np.cumsum(live)]),
        attacks=attacks,
        bona_fide=bona_fide,
    )


def auc(scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_]) -> float:
    """Return the exact area under the ROC curve: P(bona fide outscores attack), ties half.

    Raises:
        DatasetError: A class is absent, a score is NaN, or the lengths differ.
    """
    return curve(scores, is_bona_fide).auc


def equal_error_rate(scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_]) -> float:
    """Return the interpolated equal error rate; see `Curve.equal_error_rate`.

    Raises:
        DatasetError: A class is absent, a score is NaN, or the lengths differ.
    """
    return curve(scores, is_bona_fide).equal_error_rate


def eer_threshold(
    scores: NDArray[np.float64],
    is_bona_fide: NDArray[np.bool_],
    rule: EerRule | str = EerRule.MIDPOINT,
) -> float:
    """Return the threshold at which as many attacks are accepted as bona fide captures refused.

    The published evaluation code minimizes |TPR + FPR - 1|, which is the same, over a ROC from
    which scikit-learn by default drops points on straight lines, and takes the highest threshold on
    ties; where the minimum is unique and not dropped, its error rates are these.

    Raises:
        DatasetError: A class is absent, a score is NaN, or the lengths differ.
        UsageError: There is no such rule.
    """
    rule = as_choice("rule", rule, EerRule)
    points = curve(scores, is_bona_fide)
    levels = points.thresholds[1:]
    if rule is EerRule.SCORE:
        return float(points.thresholds[points.nearest_to_equal()])
    imbalance = points.imbalance[1:]
    errors = (points.refused * points.attacks + points.accepted * points.bona_fide)[1:]
    best = int(np.lexsort((-levels, errors, np.abs(imbalance)))[0])
    if best + 1 == levels.size:
        return float(levels[best])
    low, high = float(levels[best]), float(levels[best + 1])
    middle = low / 2 + high / 2  # a sum of two could overflow
    # Between neighboring floats the middle may round up to the next score, and refuse it;
    # infinities have no middle.
    return middle if low <= middle < high else low


@dataclass(frozen=True)
class RatesAtTarget:
    """Error rates at the lowest threshold that holds a target.

    Attributes:
        target: Largest share of attacks that may be accepted, in [0, 1).
        threshold: The lowest score that, as threshold, holds it.
        species: The species with the highest APCER there, or "all attacks".
        apcer: APCER of that species, at most `target`.
        bpcer: BPCER at that threshold.
    """

    target: float
    threshold: float
    species: str
    apcer: ErrorRate
    bpcer: ErrorRate

    @property
    def tpr(self) -> float:
        """Share of bona fide presentations accepted."""
        return (self.bpcer.total - self.bpcer.errors) / self.bpcer.total

    @property
    def tpr_interval(self) -> Interval:
        """Two-sided 95 % Clopper-Pearson bounds of `tpr`."""
        missed = self.bpcer.interval()
        return Interval(1.0 - missed.upper, 1.0 - missed.lower)

    @property
    def name(self) -> str:
        """The short name, such as BPCER20 of ISO/IEC 30107-3 for a target of 5 %."""
        inverse = round(1 / self.target) if self.target > 0 else 0
        if inverse and abs(self.target * inverse - 1) < 1e-9:
            return f"BPCER{inverse}"
        return f"BPCER at APCER {100 * self.target:g} %"


def bpcer_at_apcer(
    scores: NDArray[np.float64],
    is_bona_fide: NDArray[np.bool_],
    species: Sequence[str],
    target: float,
) -> RatesAtTarget:
    """Return BPCER at the lowest threshold where no species' APCER exceeds the target.

    BPCER10, BPCER20 and BPCER100 of ISO/IEC 30107-3 are those of the targets 0.1, 0.05 and 0.01.

    Raises:
        DatasetError: `target` is not in [0, 1), a class is absent, a score is NaN, or the lengths
            differ.
    """
    scores, is_bona_fide = checked(scores, is_bona_fide, len(species))
    if not 0.0 <= target < 1.0:
        raise DatasetError(f"target {target} is not in [0, 1)")
    names = np.asarray(species, dtype=object)
    attacks = {name: scores[~is_bona_fide & (names == name)] for name in set(names[~is_bona_fide])}
    if not attacks:
        raise DatasetError("no attack among the captures: APCER cannot be measured")
    threshold = max(lowest_threshold(found, target) for found in attacks.values())
    apcer = apcer_by_species(scores, is_bona_fide, species, threshold)
    worst = worst_species(apcer)
    return RatesAtTarget(
        target=target,
        threshold=threshold,
        species=worst,
        apcer=apcer[worst],
        bpcer=bpcer(scores, is_bona_fide, threshold),
    )


def tpr_at_fpr(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], target: float
) -> RatesAtTarget:
    """Return the rates at the lowest threshold that accepts at most this share of all attacks.

    Its `tpr` is the papers' TPR at FPR: species are pooled, and nothing is interpolated.

    Raises:
        DatasetError: See `bpcer_at_apcer`.
    """
    return bpcer_at_apcer(scores, is_bona_fide, [POOLED] * len(scores), target)


def lowest_threshold(attacks: NDArray[np.float64], target: float) -> float:
    """Return the least score that, as threshold, accepts at most this share of the attacks."""
    allowed = int(target * attacks.size + 1e-9)  # 0.05 of 60 is 3, whatever binary makes of it
    return float(np.sort(attacks)[::-1][allowed])
