"""Choose the thresholds a bundle decides by, and say what error rates were measured at them.

`provisional_point` takes what a build has at hand; `tune_level` holds a level to a bound.

Why the bound may be computed on the very presentations that chose the threshold: how many of n
attacks may pass follows from n and the level's target alone. The threshold is never below the
score that so many exceed, and the share of all attacks above the (k + 1)-th highest of n scores is
distributed as Beta(k + 1, n - k), whatever the model (Wilks, "Determination of sample sizes for
setting tolerance limits", 1941). Its 95 % quantile is the Clopper-Pearson bound of k among n. That
holds for each species by itself, for presentations like these that are independent of each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Modality
from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError
from fasdk_calibration.metrics import (
    ErrorRate,
    Scores,
    apcer_by_species,
    binomial_upper,
    bpcer,
    log_odds,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST_BOUND = 1e-6  # shown by three million attacks
# A threshold on an attack's own score leaves its verdict to rounding, so up to a quarter of a
# log-odds is given to lie clear of them; what bona fide captures score in between is refused.
_BAND = 0.25
_LEVEL_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class LevelTarget:
    """A security level and what its threshold is held to.

    Attributes:
        level: Such as "standard": lower case letters, digits and hyphens.
        max_apcer: Largest one-sided 95 % upper bound of any PAI species' APCER, in [1e-6, 1).

    Raises:
        DatasetError: The name or the bound is none.
    """

    level: str
    max_apcer: float

    def __post_init__(self) -> None:
        """Check name and bound."""
        if not _LEVEL_NAME.fullmatch(self.level):
            raise DatasetError(f"level {self.level!r}: use lower case letters, digits and hyphens")
        if not _SMALLEST_BOUND <= self.max_apcer < 1.0:
            raise DatasetError(
                f"level {self.level}: APCER bound {self.max_apcer} is not in [{_SMALLEST_BOUND}, 1)"
            )


# The APCER at which BPCER10, BPCER20 and BPCER100 are customarily stated, asked of the bound and
# not of the rate. A species needs 29, 59 and 299 presentations at least, none of them accepted.
DEFAULT_TARGETS = (
    LevelTarget("convenience", 0.10),
    LevelTarget("standard", 0.05),
    LevelTarget("strict", 0.01),
)


@dataclass(frozen=True)
class TunedPoint:
    """A level's threshold and what was counted at it, in presentations.

    Attributes:
        point: What goes into the bundle.
        target: What it was held to.
        apcer: Attacks accepted, by PAI species.
        bpcer: Bona fide presentations refused.
        worst_species: Species with the highest bound.
    """

    point: OperatingPoint
    target: LevelTarget
    apcer: Mapping[str, ErrorRate]
    bpcer: ErrorRate
    worst_species: str


@dataclass(frozen=True)
class Shortage:
    """A PAI species with too few presentations to support a bound.

    Attributes:
        species: Its name.
        attempts: Presentations there are.
        more: How many more it takes at least, if none of all is accepted.
    """

    species: str
    attempts: int
    more: int


@dataclass(frozen=True)
class Refusal:
    """A level that the presentations do not support.

    Attributes:
        level: The level.
        max_apcer: The bound that was asked for.
        modalities: The combination of modalities.
        reason: Why, in words that say what to do.
        shortages: Species with too few presentations; empty where that is not the reason.
    """

    level: str
    max_apcer: float
    modalities: tuple[Modality, ...]
    reason: str
    shortages: tuple[Shortage, ...] = ()

    @property
    def id(self) -> str:
        """Level and modalities, as an operating point is named."""
        return f"{self.level}/{'+'.join(m.value for m in self.modalities)}"


@dataclass(frozen=True)
class Shortfall:
    """Why presentations support no threshold.

    Attributes:
        reason: In words that say what to do.
        shortages: Species with too few presentations; empty where that is not the reason.
    """

    reason: str
    shortages: tuple[Shortage, ...] = ()

    def of(self, target: LevelTarget, modalities: Sequence[Modality]) -> Refusal:
        """Return it as a level's."""
        return Refusal(
            target.level, target.max_apcer, tuple(modalities), self.reason, self.shortages
        )


def attacks_needed(max_apcer: float) -> int:
    """Return how many attacks of a species show `max_apcer` if none of them is accepted.

    The least n with 1 - 0.05 ** (1 / n) <= max_apcer.
    """
    needed = 1
    while binomial_upper(0, needed) > max_apcer:
        needed *= 2
    low = needed // 2
    while needed - low > 1:
        middle = (low + needed) // 2
        low, needed = (middle, needed) if binomial_upper(0, middle) > max_apcer else (low, middle)
    return needed


def attacks_allowed(attempts: int, max_apcer: float) -> int | None:
    """Return how many of `attempts` attacks may be accepted within a bound; None if not even 0."""
    if attempts < 1 or binomial_upper(0, attempts) > max_apcer:
        return None
    # Doubling first: few are allowed as a rule, and the bound of many takes long to sum.
    low, high = 0, 1
    while high < attempts and binomial_upper(high, attempts) <= max_apcer:
        low, high = high, min(2 * high, attempts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if binomial_upper(middle, attempts) > max_apcer else (middle, high)
        )
    return low


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
        scores: One entry a presentation, every capture with the same modalities; P(bona fide).
        target: Level and bound.
        modalities: Those modalities, in model order.
        source: Which captures these are, in words; the counts are added.
        graph_sha256: The graph that gave the scores.
        calibrated: Whether the scores were calibrated.

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
    worst = max(apcer, key=lambda name: apcer[name].upper())
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
) -> float | Shortfall:
    """Return the threshold of lowest BPCER that keeps every species' APCER bound to `max_apcer`.

    Args:
        values: float64 [N], one a presentation, accepted when greater than the threshold.
        labels: bool [N], True for bona fide.
        species: PAI species of each presentation.
        max_apcer: Largest one-sided 95 % upper bound of any species' APCER.
        floor: The threshold is no lower.
        expected: Species that must be among the attacks: a bound without them says nothing of them.

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
    short = tuple(
        Shortage(name, count, needed - count)
        for name, count in sorted(attempts.items())
        if attacks_allowed(count, max_apcer) is None
    )
    if short:
        wanted = ", ".join(
            f"{item.more} more {item.species} (has {item.attempts})" for item in short
        )
        return Shortfall(f"a bound of {max_apcer:g} needs {wanted}", short)
    names = np.asarray(species, dtype=object)
    least_by_species = {
        name: _score_exceeded_by(
            values[~labels & (names == name)], attacks_allowed(count, max_apcer) or 0
        )
        for name, count in sorted(attempts.items())
    }
    lowest = max(*least_by_species.values(), floor)
    threshold = _between(lowest, values, labels)
    if threshold is None:
        strictest = max(least_by_species, key=lambda name: least_by_species[name])
        return Shortfall(
            f"no bona fide presentation scores above {lowest:.4f}, which the attacks of "
            f"{strictest} ask for: train the model further"
        )
    return threshold


def provisional_point(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    species: Sequence[str],
    modalities: Sequence[Modality],
    *,
    level: str = "standard",
    source: str,
    graph_sha256: str,
    max_apcer: float = 0.05,
) -> OperatingPoint:
    """Return the point with the lowest BPCER among those that accept few enough attacks.

    Few enough: of every PAI species at most the share `max_apcer`. The thresholds that do equally
    well lie between two neighboring scores; their middle is taken, or, where scores lie close
    together, a threshold a little higher and clear of the attacks. The default gives BPCER20 of
    ISO/IEC 30107-3: asking for no attack at all lets the one oddest capture set the threshold.
    Provisional, because it is chosen and counted on the same captures: `apcer_upper`, the worst
    species' bound, says how few captures there were, not how the point does on others.

    Args:
        scores: float [N], P(bona fide) in [0, 1].
        labels: bool [N], True for bona fide.
        species: PAI species of each capture.
        modalities: Modalities every capture held, in model order.
        level: Security level the point is for.
        source: Which captures these are, in words; the measured rates are added.
        graph_sha256: The graph that gave the scores.
        max_apcer: Largest APCER allowed of any species, in [0, 1).

    Raises:
        DatasetError: A class is absent, a score is not in [0, 1], or `max_apcer` is outside its
            range, or every bona fide capture would be refused.
    """
    scores = np.asarray(scores, np.float64)
    labels = np.asarray(labels, bool)
    if not 0.0 <= max_apcer < 1.0:
        raise DatasetError(f"max_apcer {max_apcer} is not in [0, 1)")
    require_probabilities(scores)
    if not labels.any() or labels.all():
        absent = "bona fide" if not labels.any() else "attack"
        raise DatasetError(
            f"the captures hold no {absent} presentation: a threshold needs both classes"
        )
    names = np.asarray(species, dtype=object)
    lowest = max(
        _score_exceeded_by(attacks, _share(max_apcer, attacks.size))
        for attacks in (scores[~labels & (names == name)] for name in set(names[~labels]))
    )
    threshold = _between(lowest, scores, labels)
    if threshold is None:
        raise DatasetError(
            f"no bona fide capture scores above {lowest:.4f}, which the attacks ask for: "
            "no threshold is of use, train the model further"
        )
    threshold = _clear(threshold, scores, labels)
    by_species = apcer_by_species(scores, labels, species, threshold)
    missed = bpcer(scores, labels, threshold)
    return OperatingPoint(
        level=level,
        modalities=tuple(modalities),
        threshold=threshold,
        source=(
            f"{source}; lowest BPCER with APCER at most {max_apcer:g} of every species; "
            f"on these captures {counts(by_species, missed)}"
        ),
        apcer_upper=max(rate.upper() for rate in by_species.values()),
        graph_sha256=graph_sha256,
    )


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


def _share(part: float, count: int) -> int:
    return int(part * count + 1e-9)  # 0.05 of 60 is 3, whatever binary makes of it


def _score_exceeded_by(attacks: NDArray[np.float64], accepted: int) -> float:
    """Return the least threshold that at most `accepted` of one species' scores exceed."""
    return float(np.sort(attacks)[::-1][accepted])


def _between(lowest: float, scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float | None:
    """Return the middle of the thresholds that do as well as `lowest`; None if all are refused."""
    if not (scores[labels] > lowest).any():
        return None
    # Up to the next score of either class nothing changes.
    following = float(scores[scores > lowest].min())
    threshold = (lowest + following) / 2
    return threshold if lowest <= threshold < following else lowest  # neighboring floats


def _clear(threshold: float, scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return `threshold`, or one a little higher where attacks lie close above or below it."""
    attacks = scores[~labels]
    below = attacks[attacks <= threshold]
    if log_odds(scores[scores > threshold].min()) - log_odds(below.max()) >= _BAND:
        return threshold
    clear = max(_clear_of_attacks(float(below.max()), attacks), threshold)
    return clear if (scores[labels] > clear).any() else threshold


def _clear_of_attacks(lowest: float, attacks: NDArray[np.float64]) -> float:
    """Return the middle of the widest gap between attacks' log-odds within the band above."""
    start = log_odds(lowest)
    above = np.unique(log_odds(attacks[attacks > lowest]))
    edges = np.array([start, *above[above < start + _BAND], start + _BAND])
    widest = int(np.argmax(np.diff(edges)))
    return float(1.0 / (1.0 + np.exp(-(edges[widest] + edges[widest + 1]) / 2)))


def counts(apcer: Mapping[str, ErrorRate], refused: ErrorRate) -> str:
    """Return the counts behind the rates, as an operating point's source tells them."""
    accepted = ", ".join(f"{name} {rate.errors}/{rate.total}" for name, rate in apcer.items())
    return f"APCER {accepted}, BPCER {refused.errors}/{refused.total}"
