"""Decisions: scores from logits, verdicts at operating points, and refusals with their reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fasdk.capture import Modality
from fasdk.errors import OperatingPointError, UsageError
from fasdk.reasons import Finding, Reason, by_rank
from fasdk.settings import take_choices
from fasdk.truth import NoTruthValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


class Verdict(NoTruthValue, str, Enum):
    """Outcome a door may act on. Only LIVE opens it; `if verdict` raises TypeError."""

    LIVE = "live"
    SPOOF = "spoof"
    RETRY = "retry"
    ERROR = "error"


@dataclass(frozen=True)
class Decision(NoTruthValue):
    """Answer on one capture; `if decision.is_live` opens a door, `if decision` raises TypeError.

    Attributes:
        verdict: Verdict; only LIVE opens a door.
        reasons: Explanations of a verdict that is not a plain LIVE or SPOOF, one line each; empty
            otherwise.
        codes: Reason codes for programs, in the order of `reasons`.
        score: P(bona fide) in [0, 1], calibrated where the bundle has a calibration for it; NaN
            where there is no score.
        threshold: Score in [0, 1] that had to be exceeded; None without an operating point.
        operating_point: Name of the operating point, such as "standard/rgb+depth+ir", or None.
        class_scores: Softmax score in [0, 1] by label, never calibrated.
        modalities: Modalities the capture held and the model used, in model order.
        reliability: How typical the picture of each sensor in the capture is of those the bundle
            was built on, by modality, in [0, 1]: 5 % of good pictures lie below 0.05. Empty where
            the bundle was built without development captures.
        certainty: The model's own certainty by modality, in [0, 1]; empty where it has none. It
            does not tell whether a sensor works.
        bundle_id: Identifier of the bundle that answered.
        trust: Trust mode the bundle was opened in: "key" and the id of the key that signed it, or
            "unsigned"; empty where no bundle answered.
        timings_ms: Milliseconds by stage, and `end_to_end`.

    Raises:
        UsageError: LIVE with reason codes: a fault was found, so no door may open.
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
    certainty: dict[str, float] = field(default_factory=dict)
    bundle_id: str = ""
    trust: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a decision that would open a door although a fault was found."""
        take_choices(self, verdict=Verdict, codes=(Reason,), modalities=(Modality,))
        if self.codes and self.verdict is Verdict.LIVE:
            raise UsageError(
                f"a LIVE decision has the codes {', '.join(self.codes)}, expected none: "
                "make it with add_findings, which answers RETRY or ERROR"
            )

    @property
    def is_live(self) -> bool:
        """Whether the verdict is LIVE, the only one on which a door may open."""
        return self.verdict is Verdict.LIVE


def add_findings(decision: Decision, findings: Iterable[Finding]) -> Decision:
    """Return a decision with findings added, which are then what decides.

    The only place where findings become a verdict: RETRY where a retry helps against every reason,
    those of `decision` included, otherwise ERROR. Never LIVE and never SPOOF.

    Args:
        decision: Decision before the findings; it comes back unchanged where there are none.
        findings: Findings in any order. They follow the decision's own reasons by rank; a reason
            that is there already is not repeated.
    """
    found = by_rank(findings)
    if not found:
        return decision
    new = [finding for finding in found if finding.reason not in decision.codes]
    codes = (*decision.codes, *(finding.reason for finding in new))
    return replace(
        decision,
        verdict=Verdict.RETRY if all(code.retry_helps for code in codes) else Verdict.ERROR,
        reasons=(*decision.reasons, *(finding.message for finding in new)),
        codes=codes,
    )


def refused(
    findings: Iterable[Finding],
    *,
    bundle_id: str = "",
    trust: str = "",
    modalities: tuple[Modality, ...] = (),
) -> Decision:
    """Return the decision on a capture that was not scored; see `add_findings` for the verdict.

    Args:
        findings: Why it was not scored; ERROR without codes where there are none.
        bundle_id: Identifier of the bundle in force, or empty.
        trust: Trust mode of that bundle, or empty.
        modalities: Modalities of the capture.
    """
    unscored = Decision(
        verdict=Verdict.ERROR, bundle_id=bundle_id, trust=trust, modalities=modalities
    )
    return add_findings(unscored, findings)


def distinct(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    """Return a combination of modalities, if each is named once.

    Raises:
        ValueError: One is named twice.
    """
    if len(set(modalities)) != len(modalities):
        raise ValueError("a modality is named twice")
    return modalities


class MissingModalities(str, Enum):
    """Treatment of a capture that lacks one of the model's modalities.

    The modalities a bundle's manifest requires are required under each of these.

    - REQUIRE: RETRY (modality-missing) that names it: the next capture may hold it. The default,
      since whoever may choose which sensors to cover gets the combination that suits an attack.
    - DEGRADE: Scored on the modalities present, at the operating point tuned for exactly that
      combination; ERROR (no-operating-point) without one, never another combination's threshold.
      A track answers ERROR (new-combination) to one that its camera is not known to show.
    - REFUSE: ERROR (bad-capture) that names it: the rig is not the one this door was set up with,
      and the person in front of it cannot fix that.
    """

    REQUIRE = "require"
    DEGRADE = "degrade"
    REFUSE = "refuse"


_Combination = Annotated[tuple[Modality, ...], Field(min_length=1), AfterValidator(distinct)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ScoreCalibration(BaseModel):
    """Platt calibration of a model's score, for one combination of modalities.

    The score becomes 1 / (1 + exp(-(slope * x + offset))), where x is the natural log-odds of the
    softmax score of bona fide (Platt, "Probabilistic outputs for support vector machines", 1999).
    As `slope` is positive no two captures change places.

    Attributes:
        modalities: Combination of modalities it was fitted on, in model order.
        slope: Factor of the log-odds, above 0.
        offset: Term added to the scaled log-odds.
        graph_sha256: SHA-256 of the graph it was fitted on, in hexadecimal; it does not hold for
            another graph.
        source: Description of the captures it was fitted on and of the assumed prior.
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
        source: Description of the captures it was chosen on, for a reviewer to check.
        apcer_upper: One-sided 95 % upper bound of the worst PAI species' APCER
            (ISO/IEC 30107-3, attack presentation classification error rate), in [0, 1].
        graph_sha256: SHA-256 of the graph whose scores it was chosen on, in hexadecimal. Another
            precision is another graph.
        calibrated: Whether those scores were calibrated; a `ScoreCalibration` must then exist.
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
        """Name for logs: security level and modalities."""
        return point_id(self.level, self.modalities)


def point_id(level: str, modalities: Sequence[Modality]) -> str:
    """Return the name of a security level with modalities, such as "standard/rgb+ir"."""
    return f"{level}/{'+'.join(m.value for m in modalities)}"


def select_point(
    points: Sequence[OperatingPoint], level: str, present: frozenset[Modality]
) -> OperatingPoint:
    """Return the point tuned for `level` with exactly the modalities in `present`.

    Raises:
        OperatingPointError: No point was tuned for that combination. A point tuned with more
            modalities is never used instead: its threshold does not hold for fewer.
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


def missing_finding(
    policy: MissingModalities, modalities: Sequence[Modality], present: Sequence[Modality]
) -> Finding | None:
    """Return the finding on a capture that lacks modalities, or None where it may be scored.

    Args:
        policy: Treatment of such a capture.
        modalities: Modalities of the model.
        present: Modalities of the capture.
    """
    absent = ", ".join(m.value for m in modalities if m not in present)
    # A capture without any frame is none, whatever the policy: the session says so.
    if not absent or not present or policy is MissingModalities.DEGRADE:
        return None
    asked = ", ".join(m.value for m in modalities)
    if policy is MissingModalities.REQUIRE:
        message = (
            f"the capture lacks {absent}, every one of {asked} is required: try again; for a rig "
            "without that sensor open the session with missing=MissingModalities.DEGRADE (on the "
            "command line --missing-modalities degrade)"
        )
        return Finding(Reason.MODALITY_MISSING, message)
    message = (
        f"the capture lacks {absent}, captures without every one of {asked} are refused: fix the "
        "camera, or allow it with MissingModalities.DEGRADE"
    )
    return Finding(Reason.BAD_CAPTURE, message)


def select_calibration(
    calibrations: Sequence[ScoreCalibration], present: frozenset[Modality]
) -> ScoreCalibration | None:
    """Return the calibration fitted on exactly the modalities in `present`, or None."""
    return next((c for c in calibrations if frozenset(c.modalities) == present), None)


def class_scores(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return softmax class scores.

    Args:
        logits: float32 [classes] of one capture.

    Returns:
        float64 [classes], summing to 1; all NaN when any logit is not finite, because a softmax
        of infinity can still look like a confident answer.
    """
    return np.array(softmax(np.asarray(logits, np.float64).tolist()))


def softmax(logits: Sequence[float]) -> list[float]:
    """Return `class_scores` of a list; for two classes an array would cost more time."""
    if not all(map(math.isfinite, logits)):
        return [math.nan] * len(logits)
    largest = max(logits)
    parts = [math.exp(value - largest) for value in logits]
    whole = sum(parts)
    return [part / whole for part in parts]


def log_odds(logits: NDArray[np.float32] | Sequence[float], live_index: int) -> float:
    """Return the natural log-odds of the softmax score of bona fide.

    Computed from the logits, because a softmax score within 1e-16 of 1 has lost them.

    Args:
        logits: float32 [classes] of one capture.
        live_index: Index of the bona fide class.

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
    """Return P(bona fide) of one capture: its softmax score, calibrated if a calibration is given.

    Args:
        logits: Logits of one capture, float32 [classes].
        live_index: Index of the bona fide class.
        calibration: Calibration for the capture's modalities, or None for the softmax score.

    Returns:
        A number in [0, 1]; NaN when any logit is not finite.
    """
    if calibration is None:
        return float(class_scores(logits)[live_index])
    return calibration.score(log_odds(logits, live_index))


def decide(score: float, point: OperatingPoint) -> Verdict:
    """Return the verdict on a score, P(bona fide) in [0, 1]; any other number is an ERROR."""
    if not (0.0 <= score <= 1.0):  # also false for NaN
        return Verdict.ERROR
    return Verdict.LIVE if score > point.threshold else Verdict.SPOOF


def _sigmoid(value: float) -> float:
    # Of the two equal forms, the one whose exponential cannot overflow.
    if value >= 0.0:
        return 1.0 / (1.0 + math.exp(-value))
    return math.exp(value) / (1.0 + math.exp(value))
