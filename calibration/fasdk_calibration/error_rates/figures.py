"""The figures of an evaluation: plain records, every rate with its counts and bounds.

APCER, BPCER, APNRR and BPNRR are of ISO/IEC 30107-3; ACER, HTER, EER and AUC are not of that
standard and stand here because papers report them. All are in [0, 1], of presentations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk_calibration.metrics import ErrorRate, Interval


class ThresholdKind(str, Enum):
    """Where a threshold was chosen; never on the captures it is tried on."""

    OPERATING_POINT = "operating point"
    DEVELOPMENT = "development set"


@dataclass(frozen=True)
class NamedThreshold:
    """A threshold to try.

    Attributes:
        name: A security level, or what it was chosen by.
        kind: Where it was chosen.
        value: A presentation is LIVE when its score is greater.
        source: Which captures it was chosen on, in words.
        claimed_apcer_upper: One-sided 95 % bound of the worst species' APCER that it comes with.
    """

    name: str
    kind: ThresholdKind
    value: float
    source: str
    claimed_apcer_upper: float | None = None


@dataclass(frozen=True)
class Rate:
    """An error rate with its two-sided 95 % Clopper-Pearson bounds, all in [0, 1].

    Attributes:
        rate: errors / attempts.
        lower: Lower bound.
        upper: Upper bound.
        errors: Presentations judged wrongly.
        attempts: Presentations judged.
    """

    rate: float
    lower: float
    upper: float
    errors: int
    attempts: int

    @classmethod
    def of(cls, counted: ErrorRate) -> Rate:
        """Return a counted rate with its bounds."""
        interval = counted.interval()
        return cls(counted.rate, interval.lower, interval.upper, counted.errors, counted.total)


@dataclass(frozen=True)
class SpeciesRate(Rate):
    """The rate of one PAI species.

    Attributes:
        species: Its name.
    """

    species: str

    @classmethod
    def named(cls, species: str, counted: ErrorRate) -> SpeciesRate:
        """Return a species' counted rate with its bounds."""
        of_all = Rate.of(counted)
        return cls(of_all.rate, of_all.lower, of_all.upper, of_all.errors, of_all.attempts, species)


@dataclass(frozen=True)
class Estimate:
    """A figure in [0, 1] with two-sided 95 % bounds by resampling subjects.

    Attributes:
        value: The figure.
        lower: Lower bound; None where one subject makes up a class, or none was asked for.
        upper: Upper bound, or None.
    """

    value: float
    lower: float | None = None
    upper: float | None = None

    @classmethod
    def within(cls, value: float, interval: Interval | None) -> Estimate:
        """Return a figure with the bounds that were found, if any."""
        return cls(value) if interval is None else cls(value, interval.lower, interval.upper)


@dataclass(frozen=True)
class Decisions:
    """Error rates of some presentations at one threshold; those without a response left out.

    Attributes:
        apcer: By PAI species, in name order; empty without attacks.
        worst_species: The species with the highest APCER.
        worst_apcer: Its APCER.
        bpcer: None without bona fide presentations.
        attacks_accepted: Share of all attacks accepted, species pooled.
        acer: (worst APCER + BPCER) / 2.
        hter: (share of all attacks accepted + BPCER) / 2.
    """

    apcer: tuple[SpeciesRate, ...]
    worst_species: str | None
    worst_apcer: Rate | None
    bpcer: Rate | None
    attacks_accepted: Rate | None
    acer: float | None
    hter: Estimate | None


@dataclass(frozen=True)
class DomainDecisions:
    """Error rates of one domain's presentations at one threshold."""

    domain: str
    decisions: Decisions


@dataclass(frozen=True)
class AtThreshold:
    """What a threshold does on a case.

    Attributes:
        name: Its name.
        kind: Where it was chosen.
        threshold: Its value.
        source: Which captures it was chosen on.
        claimed_apcer_upper: The one-sided 95 % bound of the worst species' APCER it came with.
        is_contradicted: Whether a species' lower bound lies above that claim.
        overall: All presentations.
        domains: By domain, in name order.
    """

    name: str
    kind: ThresholdKind
    threshold: float
    source: str
    claimed_apcer_upper: float | None
    is_contradicted: bool
    overall: Decisions
    domains: tuple[DomainDecisions, ...]


@dataclass(frozen=True)
class AtTarget:
    """BPCER where APCER just holds a target, the threshold chosen on the test itself.

    Attributes:
        name: BPCER10, BPCER20 or BPCER100 of ISO/IEC 30107-3, or TPR at an FPR.
        target: Largest share accepted of any species, or of all attacks for a TPR.
        threshold: The lowest score that holds it.
        bpcer: What it costs.
        tpr: 1 - BPCER.
    """

    name: str
    target: float
    threshold: float
    bpcer: Rate
    tpr: float


@dataclass(frozen=True)
class DomainSeparation:
    """How well the classes of one domain are told apart; None where it lacks one of them."""

    domain: str
    presentations: int
    bona_fide: int
    attacks: int
    auc: float | None
    eer: float | None


@dataclass(frozen=True)
class CurvePoints:
    """Points of the ROC and DET curve, thinned; accepted and refused are shares in [0, 1]."""

    accepted: tuple[float, ...]
    refused: tuple[float, ...]


@dataclass(frozen=True)
class Separation:
    """Figures that need no threshold, or choose it on the test, as no device can.

    Attributes:
        auc: Area under the ROC curve.
        eer: Equal error rate, interpolated.
        eer_threshold: The lowest score that minimizes the difference of the two error rates.
        hter_at_eer: HTER there: what the published tables call HTER.
        bpcer_at_apcer: At the targets 10 %, 5 % and 1 % of the worst species.
        tpr_at_fpr: At 1 % and 0.1 % of all attacks.
        curve: ROC and DET.
    """

    auc: Estimate
    eer: Estimate
    eer_threshold: float
    hter_at_eer: Estimate
    bpcer_at_apcer: tuple[AtTarget, ...]
    tpr_at_fpr: tuple[AtTarget, ...]
    curve: CurvePoints


@dataclass(frozen=True)
class Histogram:
    """Presentations by score, in equal bins of log-odds from -limit to limit; the ends hold more.

    Attributes:
        limit: Natural log-odds.
        bona_fide: Count by bin.
        attacks: Count by bin.
    """

    limit: float
    bona_fide: tuple[int, ...]
    attacks: tuple[int, ...]


@dataclass(frozen=True)
class NonResponses:
    """Presentations the system gave no score; they count nowhere else.

    Attributes:
        frames: Captures without a score.
        apnrr: By PAI species (ISO/IEC 30107-3); empty without attacks.
        bpnrr: Of bona fide presentations, or None without any.
    """

    frames: int
    apnrr: tuple[SpeciesRate, ...]
    bpnrr: Rate | None


@dataclass(frozen=True)
class CaseFigures:
    """Everything counted on one set of presentations.

    Attributes:
        captures: Frames sets.
        presentations: Captures fused.
        subjects: Different people.
        bona_fide: Bona fide presentations.
        attacks: Attack presentations.
        non_responses: Those without a score.
        separation: None where a class is absent.
        separation_note: Why it is None, else empty.
        thresholds: One entry a threshold.
        domains: Per domain, without a threshold.
        histogram: Of the scores.
    """

    captures: int
    presentations: int
    subjects: int
    bona_fide: int
    attacks: int
    non_responses: NonResponses
    separation: Separation | None
    separation_note: str
    thresholds: tuple[AtThreshold, ...]
    domains: tuple[DomainSeparation, ...]
    histogram: Histogram
