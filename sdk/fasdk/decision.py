"""Turn logits into a score, and a score into a verdict at a published operating point."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fasdk.capture import Modality
from fasdk.errors import OperatingPointError
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Verdict(str, Enum):
    """What a door may act on. Only LIVE opens it."""

    LIVE = "live"
    SPOOF = "spoof"
    RETRY = "retry"
    ERROR = "error"


@dataclass(frozen=True)
class Decision:
    """The answer on one capture.

    Attributes:
        verdict: Only LIVE opens a door.
        reasons: Why it is not a plain LIVE or SPOOF, in words; empty otherwise.
        codes: The same for programs, one a reason.
        score: P(bona fide) in [0, 1], calibrated if the bundle says how; NaN where there is none.
        threshold: The score had to be greater than this; None without an operating point.
        operating_point: Name of the threshold, such as "standard/rgb+depth+ir", or None.
        class_scores: Softmax score by label, never calibrated.
        modalities: Modalities the capture held and the model used, in model order.
        reliability: The model's own certainty by modality, in [0, 1]; empty where it has none.
        bundle_id: Which bundle answered.
        timings_ms: Milliseconds by stage, and `end_to_end`.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    codes: tuple[Reason, ...] = ()
    score: float = math.nan
    threshold: float | None = None
    operating_point: str | None = None
    class_scores: dict[str, float] = field(default_factory=dict)
    modalities: tuple[Modality, ...] = ()
    reliability: dict[str, float] = field(default_factory=dict)
    bundle_id: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)


def distinct(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    """Return a combination of modalities, if each is named once.

    Raises:
        ValueError: One is named twice.
    """
    if len(set(modalities)) != len(modalities):
        raise ValueError("a modality is named twice")
    return modalities


class MissingModalities(str, Enum):
    """What becomes of a capture that lacks one of the model's modalities.

    What a bundle's manifest requires is asked for under any of these.

    - REQUIRE: RETRY (modality-missing) that names it: the next capture may hold it.
    - DEGRADE: it is judged by what is there, at the operating point tuned for exactly that
      combination; ERROR (no-operating-point) without one, never a borrowed threshold.
    - REFUSE: ERROR (bad-capture) that names it: this rig is not what the door was set up for, and
      nobody in front of it can mend that.
    """

    REQUIRE = "require"
    DEGRADE = "degrade"
    REFUSE = "refuse"


_Combination = Annotated[tuple[Modality, ...], Field(min_length=1), AfterValidator(distinct)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ScoreCalibration(BaseModel):
    """What turns a model's score into a probability, for one combination of modalities.

    The score becomes 1 / (1 + exp(-(slope * x + offset))), where x is the natural log-odds of the
    softmax score of bona fide (Platt, "Probabilistic outputs for support vector machines", 1999).
    As `slope` is positive no two captures change places.

    Attributes:
        modalities: The combination it was fitted on, in model order.
        slope: Factor of the log-odds.
        offset: What is added to them.
        graph_sha256: The graph it was fitted on; it says nothing about another.
        source: Which captures it was fitted on and under which prior, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: _Combination
    slope: float = Field(gt=0.0, allow_inf_nan=False)
    offset: float = Field(allow_inf_nan=False)
    graph_sha256: _Sha256
    source: str

    def score(self, log_odds: float) -> float:
        """Return P(bona fide) in [0, 1]; NaN for log-odds that are not finite."""
        if not math.isfinite(log_odds):
            return math.nan
        return _sigmoid(self.slope * log_odds + self.offset)


class OperatingPoint(BaseModel):
    """A threshold with the error rates measured at it.

    Attributes:
        level: Security level it was tuned for, such as "standard".
        modalities: Modalities that must be present, in model order.
        threshold: Score in [0, 1]; a capture is live when its score is greater.
        source: Which captures it was chosen on, in words a reviewer can check.
        apcer_upper: One-sided 95 % upper bound of the worst PAI species' APCER
            (ISO/IEC 30107-3, attack presentation classification error rate), in [0, 1].
        graph_sha256: The graph whose scores it was chosen on. Another precision is another graph.
        calibrated: Whether those scores were calibrated; a `ScoreCalibration` must then be there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: str
    modalities: _Combination
    threshold: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    source: str
    apcer_upper: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    graph_sha256: _Sha256
    calibrated: bool = False

    @property
    def id(self) -> str:
        """Name it the way a log line should: level and modalities."""
        return point_id(self.level, self.modalities)


def point_id(level: str, modalities: Sequence[Modality]) -> str:
    """Return how a level with a combination of modalities is named, as in "standard/rgb+ir"."""
    return f"{level}/{'+'.join(m.value for m in modalities)}"


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
    asked = point_id(level, [m for m in Modality if m in present])
    raise OperatingPointError(
        f"no operating point for {asked}; this bundle has {tuned}: "
        "run `fasdk tune` on captures like these"
    )


def missing_fault(
    policy: MissingModalities, modalities: Sequence[Modality], present: Sequence[Modality]
) -> tuple[Verdict, Finding] | None:
    """Return the answer to a capture that lacks modalities, or None where it may be judged.

    Args:
        policy: What becomes of such a capture.
        modalities: The model's.
        present: The capture's.
    """
    absent = ", ".join(m.value for m in modalities if m not in present)
    if not absent or policy is MissingModalities.DEGRADE:
        return None
    asked = ", ".join(m.value for m in modalities)
    if policy is MissingModalities.REQUIRE:
        message = f"the capture lacks {absent}, every one of {asked} is asked for: try again"
        return Verdict.RETRY, Finding(Reason.MODALITY_MISSING, message)
    message = (
        f"the capture lacks {absent}, captures without every one of {asked} are refused: mend the "
        "camera, or allow it with MissingModalities.DEGRADE"
    )
    return Verdict.ERROR, Finding(Reason.BAD_CAPTURE, message)


def select_calibration(
    calibrations: Sequence[ScoreCalibration], present: frozenset[Modality]
) -> ScoreCalibration | None:
    """Return what was fitted on exactly the modalities in `present`, or None for softmax."""
    return next((c for c in calibrations if frozenset(c.modalities) == present), None)


def class_scores(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return softmax class scores.

    Args:
        logits: float32 [classes], one capture's.

    Returns:
        float64 [classes], summing to 1; all NaN when any logit is not finite, because a softmax
        of infinity can still look like a confident answer.
    """
    return np.array(softmax(np.asarray(logits, np.float64).tolist()))


def softmax(logits: Sequence[float]) -> list[float]:
    """Return what `class_scores` does, number by number: for so few, an array costs more."""
    if not all(map(math.isfinite, logits)):
        return [math.nan] * len(logits)
    largest = max(logits)
    parts = [math.exp(value - largest) for value in logits]
    whole = sum(parts)
    return [part / whole for part in parts]


def log_odds(logits: NDArray[np.float32] | Sequence[float], live_index: int) -> float:
    """Return the natural log-odds of the softmax score of bona fide.

    Taken from the logits, because a softmax score within 1e-16 of 1 has lost them.

    Args:
        logits: float32 [classes], one capture's.
        live_index: Which logit is bona fide.

    Returns:
        NaN when any logit is not finite.
    """
    others: list[float] = np.asarray(logits, np.float64).tolist()
    if not all(map(math.isfinite, others)):
        return math.nan
    live = others.pop(live_index)
    largest = max(others)
    return live - largest - math.log(sum(math.exp(value - largest) for value in others))


def live_score(
    logits: NDArray[np.float32], live_index: int, calibration: ScoreCalibration | None = None
) -> float:
    """Return P(bona fide) of one capture: its softmax score, calibrated where that was fitted.

    Args:
        logits: float32 [classes].
        live_index: Which logit is bona fide.
        calibration: See `select_calibration`.

    Returns:
        A number in [0, 1]; NaN when any logit is not finite.
    """
    if calibration is None:
        return float(class_scores(logits)[live_index])
    return calibration.score(log_odds(logits, live_index))


def decide(score: float, point: OperatingPoint) -> Verdict:
    """Judge one score, P(bona fide) in [0, 1]; anything else is an ERROR, never LIVE."""
    if not (0.0 <= score <= 1.0):  # also false for NaN
        return Verdict.ERROR
    return Verdict.LIVE if score > point.threshold else Verdict.SPOOF


def _sigmoid(value: float) -> float:
    # Of the two forms the one whose exponential cannot overflow.
    if value >= 0.0:
        return 1.0 / (1.0 + math.exp(-value))
    return math.exp(value) / (1.0 + math.exp(value))
