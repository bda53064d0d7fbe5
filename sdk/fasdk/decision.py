"""Turn logits into a score, and a score into a verdict at a published operating point."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fasdk.capture import Modality
from fasdk.errors import OperatingPointError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Verdict(str, Enum):
    """What a door may act on. Only LIVE opens it."""

    LIVE = "live"
    SPOOF = "spoof"
    RETRY = "retry"
    ERROR = "error"


class OperatingPoint(BaseModel):
    """A threshold with the error rates measured at it.

    Attributes:
        level: Security level it was tuned for, such as "standard".
        modalities: Modalities that must be present, in model order.
        threshold: Score in [0, 1]; a capture is live when its score is greater.
        source: Which captures it was chosen on, in words a reviewer can check.
        apcer_upper: One-sided 95 % upper bound of the worst PAI species' APCER
            (ISO/IEC 30107-3, attack presentation classification error rate), in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: str
    modalities: tuple[Modality, ...] = Field(min_length=1)
    threshold: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    source: str
    apcer_upper: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)

    @field_validator("modalities")
    @classmethod
    def _distinct(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        if len(set(modalities)) != len(modalities):
            raise ValueError("a modality is named twice")
        return modalities

    @property
    def id(self) -> str:
        """Name it the way a log line should: level and modalities."""
        return f"{self.level}/{'+'.join(m.value for m in self.modalities)}"


def select_point(
    points: Sequence[OperatingPoint], level: str, present: frozenset[Modality]
) -> OperatingPoint:
    """Return the point tuned for `level` with exactly the modalities in `present`.

    Raises:
        OperatingPointError: No point was tuned for that combination. A point tuned with more
            modalities is never borrowed: its threshold says nothing about fewer.
    """
    for point in points:
        if point.level == level and frozenset(point.modalities) == present:
            return point
    tuned = ", ".join(sorted(p.id for p in points)) or "none"
    asked = f"{level}/{'+'.join(m.value for m in Modality if m in present)}"
    raise OperatingPointError(
        f"no operating point for {asked}; this bundle has {tuned}: "
        "build it with evaluation captures like these"
    )


def class_scores(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return softmax class scores.

    Args:
        logits: float32 [classes], one capture's.

    Returns:
        float64 [classes], summing to 1; all NaN when any logit is not finite, because a softmax
        of infinity can still look like a confident answer.
    """
    values = np.asarray(logits, np.float64)
    if not np.isfinite(values).all():
        return np.full(values.shape, np.nan)
    shifted = np.exp(values - values.max())
    return np.asarray(shifted / shifted.sum())


def decide(score: float, point: OperatingPoint) -> Verdict:
    """Judge one score, P(bona fide) in [0, 1]; anything else is an ERROR, never LIVE."""
    if not (0.0 <= score <= 1.0):  # also false for NaN
        return Verdict.ERROR
    return Verdict.LIVE if score > point.threshold else Verdict.SPOOF
