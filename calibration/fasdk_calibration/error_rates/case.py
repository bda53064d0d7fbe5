"""Error rates of scored captures by threshold, domain and species, with confidence bounds.

The unit is the presentation, whose frames are fused to their mean score first, or the single row
(`Unit`). LIVE means score > threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasdk.settings import as_choice
from fasdk_calibration.error_rates.figures import (
    AtTarget,
    AtThreshold,
    CaseFigures,
    CurvePoints,
    DomainRates,
    DomainSeparation,
    Estimate,
    Histogram,
    NamedThreshold,
    NonResponses,
    Rate,
    RatesAtThreshold,
    Separation,
    SpeciesRate,
    ThresholdKind,
    Unit,
)
from fasdk_calibration.metrics import (
    ErrorRate,
    Scores,
    apcer_by_species,
    apnrr_by_species,
    auc,
    average_error_rate,
    bootstrap_intervals,
    bpcer,
    bpcer_at_apcer,
    bpnrr,
    curve,
    eer_threshold,
    equal_error_rate,
    fuse,
    half_total_error_rate,
    logit,
    tpr_at_fpr,
    worst_species,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_calibration.metrics import BootstrapIntervals, Interval, RatesAtTarget

HISTOGRAM_LIMITS = (3.0, 5.0, 7.0, 10.0)  # log-odds
HISTOGRAM_BINS = 40
CURVE_POINTS = 400
APCER_TARGETS = (0.10, 0.05, 0.01)
FPR_TARGETS = (0.01, 0.001, 0.0001)


def compute_error_rates(
    frames: Scores, thresholds: Sequence[NamedThreshold], unit: Unit | str = Unit.PRESENTATION
) -> CaseFigures:
    """Return all error rates of a set of scored captures.

    Args:
        frames: P(bona fide), one entry a capture.
        thresholds: Thresholds chosen on other captures, counted in the same unit.
        unit: What the rates count.

    Raises:
        DatasetError: Frames of one presentation disagree on label, species or subject.
        UsageError: There is no such unit.
    """
    fused = count_in(frames, unit)
    scored = fused.select(fused.responded) if fused.responded.any() else None
    both = scored is not None and 0 < scored.is_bona_fide.sum() < len(scored)
    bounds = (
        _bounds(scored, thresholds)
        if scored is not None and both
        else [None] * max(1, len(thresholds))
    )
    return CaseFigures(
        captures=len(frames),
        presentations=len(set(zip(frames.domain, frames.presentation, strict=True))),
        subjects=len(set(fused.subject)),
        bona_fide=int(fused.is_bona_fide.sum()),
        attacks=int((~fused.is_bona_fide).sum()),
        non_responses=_non_responses(frames, fused),
        separation=_separation(scored, bounds[0]) if scored is not None and both else None,
        separation_note="" if both else _why_not_separated(scored),
        thresholds=()
        if scored is None
        else tuple(
            _at_threshold(scored, threshold, None if found is None else found.hter)
            for threshold, found in zip(thresholds, bounds, strict=False)
        ),
        domains=() if scored is None else _by_domain(scored),
        histogram=_histogram(scored),
    )


def _bounds(
    scored: Scores, thresholds: Sequence[NamedThreshold]
) -> list[BootstrapIntervals | None]:
    """Return the bootstrap of every threshold, at least one; AUC and EER are in each the same."""
    values = [threshold.value for threshold in thresholds] or [0.5]
    return [
        bootstrap_intervals(scored.values, scored.is_bona_fide, scored.subject, value)
        for value in values
    ]


def _why_not_separated(scored: Scores | None) -> str:
    if scored is None:
        return "no presentation got a score"
    absent = "attack" if scored.is_bona_fide.any() else "bona fide"
    return f"no {absent} presentation with a score: AUC, EER and curves need both classes"


def _non_responses(frames: Scores, fused: Scores) -> NonResponses:
    live = fused.is_bona_fide
    return NonResponses(
        frames=int((~frames.responded).sum()),
        apnrr=()
        if live.all()
        else tuple(SpeciesRate.named(s, r) for s, r in apnrr_by_species(fused).items()),
        bpnrr=Rate.of(bpnrr(fused)) if live.any() else None,
    )


def _separation(scored: Scores, intervals: BootstrapIntervals | None) -> Separation:
    values, live = scored.values, scored.is_bona_fide
    points = curve(values, live)
    nearest = points.nearest_to_equal()
    threshold = float(points.thresholds[nearest])
    hter = half_total_error_rate(values, live, threshold)
    kept = _thinned(points.fpr, points.fnr)
    return Separation(
        auc=Estimate.within(points.auc, None if intervals is None else intervals.auc),
        eer=Estimate.within(points.equal_error_rate, None if intervals is None else intervals.eer),
        eer_threshold=threshold,
        hter_at_eer=Estimate.within(hter, None if intervals is None else intervals.hter_at_eer),
        bpcer_at_apcer=tuple(
            _at_target(found.name, found)
            for found in (
                bpcer_at_apcer(values, live, scored.species, target) for target in APCER_TARGETS
            )
        ),
        tpr_at_fpr=tuple(
            _at_target(f"TPR at FPR {100 * target:g}%", tpr_at_fpr(values, live, target))
            for target in FPR_TARGETS
        ),
        curve=CurvePoints(tuple(map(float, points.fpr[kept])), tuple(map(float, points.fnr[kept]))),
    )


def _at_target(name: str, found: RatesAtTarget) -> AtTarget:
    return AtTarget(name, found.target, found.threshold, Rate.of(found.bpcer), found.tpr)


def _thinned(fpr: NDArray[np.float64], fnr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return indices of the points where a curve turns, at most about `CURVE_POINTS` of them."""
    # In the middle of a straight run, horizontal or vertical, a point adds nothing.
    flat = np.zeros(fpr.size, bool)
    flat[1:-1] = ((np.diff(fpr)[:-1] == 0) & (np.diff(fpr)[1:] == 0)) | (
        (np.diff(fnr)[:-1] == 0) & (np.diff(fnr)[1:] == 0)
    )
    turns = np.flatnonzero(~flat)
    if turns.size <= CURVE_POINTS:
        return turns
    # Equally spaced along the curve, so that its steep part keeps its share.
    length = np.concatenate([[0.0], np.cumsum(-np.diff(fpr[turns]) + np.diff(fnr[turns]))])
    at = np.searchsorted(length, np.linspace(0.0, length[-1], CURVE_POINTS))
    return np.asarray(turns[np.unique(np.minimum(at, turns.size - 1))])


def _at_threshold(
    scored: Scores, threshold: NamedThreshold, bounds: Interval | None
) -> AtThreshold:
    overall = _decisions(scored, threshold.value, bounds)
    claimed = threshold.claimed_apcer_upper
    return AtThreshold(
        name=threshold.name,
        kind=threshold.kind,
        threshold=threshold.value,
        source=threshold.source,
        claimed_apcer_upper=claimed,
        is_contradicted=claimed is not None and any(r.lower > claimed for r in overall.apcer),
        overall=overall,
        domains=tuple(
            DomainRates(name, _decisions(part, threshold.value, None))
            for name, part in _domains(scored)
        ),
    )


def _decisions(scored: Scores, threshold: float, bounds: Interval | None) -> RatesAtThreshold:
    values, live = scored.values, scored.is_bona_fide
    by_species = {} if live.all() else apcer_by_species(values, live, scored.species, threshold)
    refused = bpcer(values, live, threshold) if live.any() else None
    worst = worst_species(by_species) if by_species else None
    pooled = (
        ErrorRate(int((values[~live] > threshold).sum()), int((~live).sum())) if worst else None
    )
    hter = None
    if worst is not None and refused is not None:
        hter = Estimate.within(half_total_error_rate(values, live, threshold), bounds)
    return RatesAtThreshold(
        apcer=tuple(SpeciesRate.named(name, rate) for name, rate in by_species.items()),
        worst_species=worst,
        worst_apcer=None if worst is None else Rate.of(by_species[worst]),
        bpcer=None if refused is None else Rate.of(refused),
        attacks_accepted=None if pooled is None else Rate.of(pooled),
        acer=None if refused is None or worst is None else average_error_rate(by_species, refused),
        hter=hter,
    )


def _domains(scored: Scores) -> list[tuple[str, Scores]]:
    names = np.asarray(scored.domain, dtype=object)
    return [(name, scored.select(names == name)) for name in sorted(set(scored.domain))]


def _by_domain(scored: Scores) -> tuple[DomainSeparation, ...]:
    found = []
    for name, part in _domains(scored):
        live = int(part.is_bona_fide.sum())
        both = 0 < live < len(part)
        found.append(
            DomainSeparation(
                domain=name,
                presentations=len(part),
                bona_fide=live,
                attacks=len(part) - live,
                auc=auc(part.values, part.is_bona_fide) if both else None,
                eer=equal_error_rate(part.values, part.is_bona_fide) if both else None,
            )
        )
    return tuple(found)


def _histogram(scored: Scores | None) -> Histogram:
    if scored is None:
        none = (0,) * HISTOGRAM_BINS
        return Histogram(HISTOGRAM_LIMITS[0], none, none)
    log_odds = logit(scored.values)
    # As narrow as nearly all scores allow, so that bins separate them.
    outer = float(np.quantile(np.abs(log_odds), 0.98, method="lower"))
    limit = next((each for each in HISTOGRAM_LIMITS if outer <= each), HISTOGRAM_LIMITS[-1])
    share = (np.clip(log_odds, -limit, limit) / limit + 1) / 2
    bins = np.minimum((share * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
    counts = [
        np.bincount(bins[of_class], minlength=HISTOGRAM_BINS).tolist()
        for of_class in (scored.is_bona_fide, ~scored.is_bona_fide)
    ]
    return Histogram(limit, tuple(counts[0]), tuple(counts[1]))


def count_in(frames: Scores, unit: Unit | str) -> Scores:
    """Return one entry for everything that a unit counts.

    Args:
        frames: One entry a capture.
        unit: What is counted.

    Raises:
        DatasetError: Frames of one presentation disagree on label, species or subject.
        UsageError: There is no such unit.
    """
    return fuse(frames) if as_choice("unit", unit, Unit) is Unit.PRESENTATION else frames


def development_threshold(
    frames: Scores, source: str, unit: Unit | str = Unit.PRESENTATION
) -> NamedThreshold:
    """Return the equal-error threshold of development captures, for use on others.

    Args:
        frames: P(bona fide), one entry a development capture.
        source: Description of those captures.
        unit: What the error rates that are made equal count.

    Raises:
        DatasetError: A class is absent among those with a score.
        UsageError: There is no such unit.
    """
    fused = count_in(frames, unit)
    scored = fused.select(fused.responded)
    return NamedThreshold(
        name="development EER",
        kind=ThresholdKind.DEVELOPMENT,
        value=eer_threshold(scored.values, scored.is_bona_fide),
        source=source,
    )
