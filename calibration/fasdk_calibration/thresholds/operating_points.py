"""Operating points whose threshold holds every PAI species to an APCER bound.

Why the bound may be computed on the very presentations that chose the threshold: how many of n
attacks may pass follows from n and the level's target alone. The threshold is never below the
score that so many exceed, and the share of all attacks above the (k + 1)-th highest of n scores is
distributed as Beta(k + 1, n - k), whatever the model (Wilks, "Determination of sample sizes for
setting tolerance limits", 1941). Its 95 % quantile is the Clopper-Pearson bound of k among n. That
holds for each species by itself, for presentations like these that are independent of each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError
from fasdk_calibration.metrics import ErrorRate, Scores, apcer_by_species, bpcer
from fasdk_calibration.thresholds.levels import LevelTarget, Refusal, Shortfall
from fasdk_calibration.thresholds.sample_size import attacks_allowed, attacks_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Modality


@dataclass(frozen=True)
class TunedPoint:
    """A level's operating point and the error rates counted at it, in presentations.

    Attributes:
        point: Operating point for the bundle.
        target: Level and bound it was held to.
        apcer: APCER of each PAI species: attacks accepted.
        bpcer: BPCER: bona fide presentations rejected.
        worst_species: Species with the highest upper bound of APCER.
    """

    point: OperatingPoint
    target: LevelTarget
    apcer: Mapping[str, ErrorRate]
    bpcer: ErrorRate
    worst_species: str


def tune_level(
    scores: Scores,
    target: LevelTarget,
    modalities: Sequence[Modality],
    *,
    source: str,
    graph_sha256: str,
    calibrated: bool,
) -> TunedPoint | Refusal:
    """Return the point with the lowest BPCER that keeps every species' APCER bound to the target.

    Thresholds that do equally well lie between two neighboring scores; their middle is taken.

    Args:
        scores: P(bona fide), one entry a presentation, every capture with the same modalities.
        target: Security level with its APCER bound.
        modalities: Modalities that the captures hold, in model order.
        source: Description of the captures; the counts are appended.
        graph_sha256: Digest of the graph that gave the scores.
        calibrated: Whether the scores were calibrated to probabilities.

    Returns:
        The point, or why the presentations support none.

    Raises:
        DatasetError: A score is not in [0, 1].
    """
    values, labels = scores.values, scores.is_bona_fide
    if labels.any() and not labels.all():  # nobody could calibrate the scores of one class alone
        require_probabilities(values)
    threshold = least_threshold(values, labels, scores.species, target.max_apcer)
    if isinstance(threshold, Shortfall):
        return threshold.of(target, modalities)
    apcer = apcer_by_species(values, labels, scores.species, threshold)
    worst = species_of_highest_bound(apcer)
    refused = bpcer(values, labels, threshold)
    point = OperatingPoint(
        level=target.level,
        modalities=tuple(modalities),
        threshold=threshold,
        source=f"{source}; bound {target.max_apcer:g}; {counts(apcer, refused)}",
        apcer_upper=apcer[worst].upper(),
        graph_sha256=graph_sha256,
        calibrated=calibrated,
    )
    return TunedPoint(point, target, apcer, refused, worst)


def least_threshold(
    values: NDArray[np.float64],
    labels: NDArray[np.bool_],
    species: Sequence[str],
    max_apcer: float,
    *,
    floor: float = -np.inf,
    expected: Collection[str] = (),
    unit: str = "presentations",
) -> float | Shortfall:
    """Return the threshold of lowest BPCER that keeps every species' APCER bound to `max_apcer`.

    Args:
        values: float64 [N], score of each presentation, accepted when above the threshold.
        labels: bool [N], True for bona fide.
        species: PAI species of each presentation.
        max_apcer: Largest one-sided 95 % upper bound of any species' APCER.
        floor: Lower limit of the threshold.
        expected: Species that must be among the attacks: a bound without them says nothing of them.
        unit: Name of what the entries are, for messages.

    Returns:
        The threshold, or why the presentations support none.
    """
    attempts = Counter(dict.fromkeys(expected, 0))
    attempts.update(name for name, live in zip(species, labels, strict=True) if not live)
    needed = attacks_needed(max_apcer)
    if not attempts or not labels.any():
        absent = "bona fide" if attempts else "attack"
        least = "" if attempts else f", at least {needed} of each species"
        return Shortfall(f"no {absent} presentation: add some{least}")
    if min(attempts.values()) < needed:
        return Shortfall.too_few(needed, attempts, unit=unit)
    names = np.asarray(species, dtype=object)
    least_by_species = {
        name: score_exceeded_by(
            values[~labels & (names == name)], attacks_allowed(count, max_apcer) or 0
        )
        for name, count in sorted(attempts.items())
    }
    lowest = max(*least_by_species.values(), floor)
    threshold = middle_threshold(lowest, values, labels)
    if threshold is None:
        strictest = max(least_by_species, key=lambda name: least_by_species[name])
        return Shortfall(
            f"no bona fide presentation scores above {lowest:.4f}, which the attacks of "
            f"{strictest} ask for: train the model further"
        )
    return threshold


def require_probabilities(scores: NDArray[np.float64]) -> None:
    """Check that scores can be held against a threshold.

    Raises:
        DatasetError: One is not in [0, 1].
    """
    outside = ~((scores >= 0.0) & (scores <= 1.0))  # true for NaN as well
    if outside.any():
        raise DatasetError(
            f"{int(outside.sum())} of {scores.size} scores are not numbers in [0, 1]: "
            "no threshold can be chosen on them"
        )


def score_exceeded_by(attacks: NDArray[np.float64], accepted: int) -> float:
    """Return the least threshold that at most `accepted` of one species' scores exceed."""
    return float(np.sort(attacks)[::-1][accepted])


def middle_threshold(
    lowest: float, scores: NDArray[np.float64], labels: NDArray[np.bool_]
) -> float | None:
    """Return the middle of the thresholds that do as well as `lowest`; None if all are refused."""
    if not (scores[labels] > lowest).any():
        return None
    # Up to the next score of either class nothing changes.
    following = float(scores[scores > lowest].min())
    threshold = (lowest + following) / 2
    return threshold if lowest <= threshold < following else lowest  # neighboring floats


def species_of_highest_bound(apcer: Mapping[str, ErrorRate]) -> str:
    """Return the PAI species whose APCER has the highest one-sided 95 % upper bound."""
    return max(apcer, key=lambda name: apcer[name].upper())


def counts(apcer: Mapping[str, ErrorRate], refused: ErrorRate) -> str:
    """Return the counts behind the rates, as an operating point's source tells them."""
    accepted = ", ".join(f"{name} {rate.errors}/{rate.total}" for name, rate in apcer.items())
    return f"APCER {accepted}, BPCER {refused.errors}/{refused.total}"
