"""Separation of attacks from bona fide captures by a network's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import class_scores
from fasdk_calibration.metrics import auc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.models.base import Family

_ENOUGH = 10  # captures of a class from which an AUC is compared with chance
# One-sided 95 % point of the normal distribution.
_QUANTILE = 1.645


def chance_auc(captures: int, attacks: int) -> float:
    """Return the AUC that scores without any relation to the labels stay below in 95 % of cases.

    The normal approximation of Mann and Whitney, Annals of Mathematical Statistics 18, 1947; one
    half where a class has fewer captures than the approximation needs.
    """
    bona_fide = captures - attacks
    if min(bona_fide, attacks) < _ENOUGH:
        return 0.5
    deviation = np.sqrt((captures + 1) / (12.0 * bona_fide * attacks))
    return float(0.5 + _QUANTILE * deviation)


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve of labeled captures, by the class that is taken for bona fide.

    Attributes:
        name: Name of the captures' list.
        captures: Number of captures.
        attacks: Number of them that are attacks.
        by_class: AUC with each class taken for bona fide, in class order; 1 separates perfectly,
            one half is chance.
        live_index: Index of the bona fide class as described.
        labels: Class names.
    """

    name: str
    captures: int
    attacks: int
    by_class: tuple[float, ...]
    live_index: int
    labels: tuple[str, ...]

    @property
    def auc(self) -> float:
        """AUC with the class as described."""
        return self.by_class[self.live_index]

    @property
    def chance(self) -> float:
        """Largest AUC that scores without any relation to the labels reach; see `chance_auc`."""
        return chance_auc(self.captures, self.attacks)

    @property
    def doubt(self) -> str | None:
        """What is wrong and what to do about it; None where the scores tell the classes apart."""
        if self.auc > self.chance:
            return None
        found = (
            f"AUC {self.auc:.4f} on {self.captures} captures of {self.name} with class "
            f"{self.live_index} ({self.labels[self.live_index]!r}) as live"
        )
        best = int(np.argmax(self.by_class))
        if best != self.live_index and self.by_class[best] > self.chance:
            return (
                f"{found}, AUC {self.by_class[best]:.4f} with class {best} "
                f"({self.labels[best]!r}): is live_index = {best} meant, or are the list's labels "
                "the other way round, or the color planes?"
            )
        return (
            f"{found}, no better than chance: the network is not trained, or its input is not "
            "what it was trained on (units, order of the planes, crop; of an ONNX file "
            "`fasdk describe FILE.onnx --reference LIST` tries the usual ones)"
        )


def measure_separation(
    development: DevelopmentSet, logits: NDArray[np.float32], family: Family
) -> Separation | None:
    """Return how well a family's logits separate labeled captures; None without both classes.

    Args:
        development: The captures and their labels.
        logits: float32 [N, classes].
        family: Model family that gave them.
    """
    truth = np.array([record.is_bona_fide for record in development.records], bool)
    if truth.all() or not truth.any():
        return None
    scores = np.array([class_scores(row) for row in logits])
    return Separation(
        name=development.name,
        captures=len(truth),
        attacks=int((~truth).sum()),
        by_class=tuple(float(auc(column, truth)) for column in scores.T),
        live_index=family.live_index,
        labels=family.labels,
    )
