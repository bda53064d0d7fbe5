"""Records of error rates, each with its counts and confidence bounds.

APCER, BPCER, APNRR and BPNRR are of ISO/IEC 30107-3; ACER, HTER, EER and AUC are not of that
standard and stand here because papers report them. All are in [0, 1], of presentations, or of
single rows where the case counts those (`Unit`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fasdk.settings import take_choices

if TYPE_CHECKING:
    from fasdk_calibration.metrics import ErrorRate, Interval


class Unit(str, Enum):
    """What an error rate counts.

    PRESENTATION: the unit of ISO/IEC 30107-3; the captures of one presentation are fused to their
        mean score first.
    ROW: each capture by itself, as the code published with the benchmarks counts. Rows of one
        presentation are not independent.
    """

    PRESENTATION = "presentation"
    ROW = "row"


class ThresholdKind(str, Enum):
    """Set of captures a threshold was chosen on; never those it is applied to."""

    OPERATING_POINT = "operating point"
    DEVELOPMENT = "development set"
    FIXED = "fixed"  # a number that the protocol itself states, such as 0.5


@dataclass(frozen=True)
class NamedThreshold:
    """A threshold to compute error rates at.

    Attributes:
        name: Security level, or rule it was chosen by.
        kind: Set of captures the threshold was chosen on.
        value: Score above which a presentation is LIVE.
        source: Description of the captures it was chosen on.
        claimed_apcer_upper: One-sided 95 % bound of the worst species' APCER that it comes with.
    """

    name: str
    kind: ThresholdKind
    value: float
    source: str
    claimed_apcer_upper: float | None = None

    def __post_init__(self) -> None:
        """Take the kind as its member."""
        take_choices(self, kind=ThresholdKind)


@dataclass(frozen=True)
class Rate:
    """An error rate with its two-sided 95 % Clopper-Pearson bounds, all in [0, 1].

    Attributes:
        rate: Observed rate, errors / attempts.
        lower: Lower confidence bound.
        upper: Upper confidence bound.
        errors: Number of presentations classified wrongly.
        attempts: Number of presentations classified.
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
        species: Name of the species.
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
        value: Figure estimated from all captures.
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
class RatesAtThreshold:
    """Error rates of some presentations at one threshold; those without a response left out.

    Attributes:
        apcer: APCER of each PAI species, in name order; empty without attacks.
        worst_species: The species with the highest APCER.
        worst_apcer: APCER of that species.
        bpcer: BPCER, or None without bona fide presentations.
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
class DomainRates:
    """Error rates of one domain's presentations at one threshold."""

    domain: str
    decisions: RatesAtThreshold


@dataclass(frozen=True)
class AtThreshold:
    """Error rates of a case at one threshold.

    Attributes:
        name: Name of the threshold.
        kind: Set of captures it was chosen on.
        threshold: Score above which a presentation is LIVE.
        source: Description of the captures it was chosen on.
        claimed_apcer_upper: The one-sided 95 % bound of the worst species' APCER it came with.
        is_contradicted: Whether a species' lower bound lies above that claim.
        overall: Error rates of all presentations.
        domains: Error rates of each domain, in name order.
    """

    name: str
    kind: ThresholdKind
    threshold: float
    source: str
    claimed_apcer_upper: float | None
    is_contradicted: bool
    overall: RatesAtThreshold
    domains: tuple[DomainRates, ...]

    def __post_init__(self) -> None:
        """Take the kind as its member."""
        take_choices(self, kind=ThresholdKind)


@dataclass(frozen=True)
class AtTarget:
    """BPCER where APCER just holds a target, the threshold chosen on the test itself.

    Attributes:
        name: BPCER10, BPCER20 or BPCER100 of ISO/IEC 30107-3, or TPR at an FPR.
        target: Largest share accepted of any species, or of all attacks for a TPR.
        threshold: The lowest score that holds it.
        bpcer: BPCER at that threshold.
        tpr: 1 - BPCER.
    """

    name: str
    target: float
    threshold: float
    bpcer: Rate
    tpr: float


@dataclass(frozen=True)
class DomainSeparation:
    """AUC and EER of one domain; None where it lacks a class."""

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
        hter_at_eer: HTER there: what the published tables call HTER where rows are counted.
        bpcer_at_apcer: BPCER where the worst species' APCER is at most 10 %, 5 % and 1 %.
        tpr_at_fpr: TPR where at most 1 %, 0.1 % and 0.01 % of all attacks are accepted.
        curve: Points of the ROC and DET curve.
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
        limit: End of the bins, in natural log-odds.
        bona_fide: Number of bona fide presentations by bin.
        attacks: Number of attack presentations by bin.
    """

    limit: float
    bona_fide: tuple[int, ...]
    attacks: tuple[int, ...]


@dataclass(frozen=True)
class NonResponses:
    """Non-responses (ISO/IEC 30107-3, 13.2.3): presentations without a score, counted here alone.

    Attributes:
        frames: Number of captures without a score.
        apnrr: APNRR of each PAI species; empty without attacks.
        bpnrr: BPNRR, or None without bona fide presentations.
    """

    frames: int
    apnrr: tuple[SpeciesRate, ...]
    bpnrr: Rate | None


@dataclass(frozen=True)
class CaseFigures:
    """All error rates of one set of captures, counted in one unit.

    Attributes:
        captures: Number of captures.
        presentations: Number of presentations, whatever is counted.
        subjects: Number of different subjects.
        bona_fide: Number of bona fide presentations, or rows.
        attacks: Number of attack presentations, or rows.
        non_responses: Presentations without a score.
        separation: Figures that need no threshold; None where a class is absent.
        separation_note: Reason why `separation` is None, else empty.
        thresholds: Error rates at each threshold.
        domains: AUC and EER of each domain.
        histogram: Histogram of the scores.
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
