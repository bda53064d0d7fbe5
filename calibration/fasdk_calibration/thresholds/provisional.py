"""Provisional operating point from the few captures a build has at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError, NoThresholdError
from fasdk_calibration.metrics import apcer_by_species, bpcer, logit
from fasdk_calibration.metrics.curves import lowest_threshold
from fasdk_calibration.thresholds.operating_points import (
    counts,
    middle_threshold,
    require_probabilities,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Modality

# A threshold on an attack's own score leaves its verdict to rounding, so up to a quarter of a
# log-odds is given to lie clear of them; what bona fide captures score in between is refused.
_BAND = 0.25


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
    species' bound, shows how few captures there were, not how the point does on others.

    Args:
        scores: float [N], P(bona fide) in [0, 1].
        labels: bool [N], True for bona fide.
        species: PAI species of each capture.
        modalities: Modalities every capture held, in model order.
        level: Security level the point is for.
        source: Description of the captures; the measured rates are appended.
        graph_sha256: Digest of the graph that gave the scores.
        max_apcer: Largest APCER allowed of any species, in [0, 1).

    Raises:
        DatasetError: A class is absent, a score is not in [0, 1], or `max_apcer` is outside its
            range.
        NoThresholdError: Every bona fide capture would be refused.
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
        lowest_threshold(attacks, max_apcer)
        for attacks in (scores[~labels & (names == name)] for name in set(names[~labels]))
    )
    threshold = middle_threshold(lowest, scores, labels)
    if threshold is None:
        raise NoThresholdError(
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


def _clear(threshold: float, scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return `threshold`, or one a little higher where attacks lie close above or below it."""
    attacks = scores[~labels]
    below = attacks[attacks <= threshold]
    if logit(scores[scores > threshold].min()) - logit(below.max()) >= _BAND:
        return threshold
    clear = max(_clear_of_attacks(float(below.max()), attacks), threshold)
    return clear if (scores[labels] > clear).any() else threshold


def _clear_of_attacks(lowest: float, attacks: NDArray[np.float64]) -> float:
    """Return the middle of the widest gap between attacks' log-odds within the band above."""
    start = logit(lowest)
    above = np.unique(logit(attacks[attacks > lowest]))
    edges = np.array([start, *above[above < start + _BAND], start + _BAND])
    widest = int(np.argmax(np.diff(edges)))
    return float(1.0 / (1.0 + np.exp(-(edges[widest] + edges[widest + 1]) / 2)))
