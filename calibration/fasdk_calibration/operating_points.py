"""Choose the threshold a bundle decides by, and say what error rate was measured at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Modality
from fasdk.decision import OperatingPoint
from fasdk.errors import DatasetError
from fasdk_calibration.metrics import apcer_by_species, bpcer

if TYPE_CHECKING:
    from numpy.typing import NDArray


def provisional_point(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    species: Sequence[str],
    modalities: Sequence[Modality],
    *,
    level: str = "standard",
    source: str,
) -> OperatingPoint:
    """Return the point that accepts no attack of the captures at hand and most bona fide ones.

    Lowest APCER first, of the worst species; lowest BPCER second: that leaves the thresholds from
    the highest attack score up to the lowest bona fide score above it, and the middle of that gap
    is taken. Provisional, because it is chosen and counted on the same captures: `apcer_upper` is
    the worst species' bound for 0 errors, which says how few captures there were, not how the point
    does on others.

    Args:
        scores: float [N], P(bona fide) in [0, 1].
        labels: bool [N], True for bona fide.
        species: PAI species of each capture.
        modalities: Modalities every capture held, in model order.
        level: Security level the point is for.
        source: Which captures these are, in words; the measured rates are added.

    Raises:
        DatasetError: A class is absent, a score is not in [0, 1], or no bona fide capture scores
            above every attack.
    """
    scores = np.asarray(scores, np.float64)
    labels = np.asarray(labels, bool)
    outside = ~((scores >= 0.0) & (scores <= 1.0))  # true for NaN as well
    if outside.any():
        raise DatasetError(
            f"{int(outside.sum())} of {scores.size} scores are not numbers in [0, 1]: "
            "no threshold can be chosen on them"
        )
    if not labels.any() or labels.all():
        absent = "bona fide" if not labels.any() else "attack"
        raise DatasetError(
            f"the captures hold no {absent} presentation: a threshold needs both classes"
        )
    highest_attack = float(scores[~labels].max())
    above = scores[labels & (scores > highest_attack)]
    if not above.size:
        raise DatasetError(
            f"no bona fide capture scores above the highest attack ({highest_attack:.4f}): "
            "no threshold is of use, train the model further"
        )
    threshold = (highest_attack + float(above.min())) / 2
    if not highest_attack <= threshold < float(above.min()):  # neighbouring floats
        threshold = highest_attack
    by_species = apcer_by_species(scores, labels, species, threshold)
    missed = bpcer(scores, labels, threshold)
    counts = ", ".join(f"{name} {rate.errors}/{rate.total}" for name, rate in by_species.items())
    return OperatingPoint(
        level=level,
        modalities=tuple(modalities),
        threshold=threshold,
        source=(
            f"{source}; threshold midway between the highest attack score and the next bona fide "
            f"one; on these captures APCER {counts}, BPCER {missed.errors}/{missed.total}"
        ),
        apcer_upper=max(rate.upper() for rate in by_species.values()),
    )
