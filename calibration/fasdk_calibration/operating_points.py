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
    graph_sha256: str,
    max_apcer: float = 0.05,
) -> OperatingPoint:
    """Return the point with the lowest BPCER among those that accept few enough attacks.

    Few enough: of every PAI species at most the share `max_apcer`. The thresholds that do equally
    well lie between two neighbouring scores; their middle is taken. The default gives BPCER20 of
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
    names = np.asarray(species, dtype=object)
    lowest = max(
        _lowest_threshold(scores[~labels & (names == name)], max_apcer)
        for name in set(names[~labels])
    )
    above = scores[labels & (scores > lowest)]
    if not above.size:
        raise DatasetError(
            f"no bona fide capture scores above {lowest:.4f}, which the attacks ask for: "
            "no threshold is of use, train the model further"
        )
    # Up to the next score of either class nothing changes.
    following = float(scores[scores > lowest].min())
    threshold = (lowest + following) / 2
    if not lowest <= threshold < following:  # neighbouring floats
        threshold = lowest
    by_species = apcer_by_species(scores, labels, species, threshold)
    missed = bpcer(scores, labels, threshold)
    counts = ", ".join(f"{name} {rate.errors}/{rate.total}" for name, rate in by_species.items())
    return OperatingPoint(
        level=level,
        modalities=tuple(modalities),
        threshold=threshold,
        source=(
            f"{source}; lowest BPCER with APCER at most {max_apcer:g} of every species; "
            f"on these captures APCER {counts}, BPCER {missed.errors}/{missed.total}"
        ),
        apcer_upper=max(rate.upper() for rate in by_species.values()),
        graph_sha256=graph_sha256,
    )


def _lowest_threshold(attacks: NDArray[np.float64], max_apcer: float) -> float:
    """Return the least score that may serve as threshold for one species."""
    accepted = int(max_apcer * attacks.size + 1e-9)  # 0.05 of 60 is 3, whatever binary makes of it
    return float(np.sort(attacks)[::-1][accepted])
