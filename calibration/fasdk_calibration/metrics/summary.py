"""Summary of a set of scores: error rates with confidence bounds, counted in presentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from fasdk.errors import DatasetError
from fasdk.settings import take_choices
from fasdk_calibration.metrics.bootstrap import (
    RESAMPLES,
    SEED,
    BootstrapIntervals,
    bootstrap_intervals,
)
from fasdk_calibration.metrics.bounds import ErrorRate
from fasdk_calibration.metrics.curves import (
    EerRule,
    RatesAtTarget,
    bpcer_at_apcer,
    curve,
    eer_threshold,
    tpr_at_fpr,
)
from fasdk_calibration.metrics.rates import (
    apcer_by_species,
    apnrr_by_species,
    average_error_rate,
    bpcer,
    bpnrr,
    half_total_error_rate,
    worst_species,
)
from fasdk_calibration.metrics.scores import Scores, fuse

APCER_TARGETS = (0.1, 0.05, 0.01)
FPR_TARGETS = (0.1, 0.01, 0.001)
FEW_SUBJECTS = 10


class ThresholdSource(str, Enum):
    """Origin of the threshold; chosen on the very scores it is applied to, it flatters them."""

    GIVEN = "given"
    DEVELOPMENT = "development set"
    SAME_SCORES = "these scores"


@dataclass(frozen=True)
class Summary:
    """Error rates of one set of scores.

    Attributes:
        frames: Number of entries before fusion.
        presentations: Number of presentations, non-responses included.
        subjects: Number of different subjects.
        threshold: Score above which a presentation is LIVE.
        threshold_source: Captures the threshold was chosen on.
        apcer: APCER of each PAI species, of the presentations that got a response.
        worst_species: The species with the highest APCER.
        bpcer: BPCER of the presentations that got a response.
        apnrr: APNRR of each species: attack presentations without a response.
        bpnrr: BPNRR: bona fide presentations without a response.
        acer: Mean of the worst species' APCER and BPCER; not of ISO/IEC 30107-3.
        hter: Mean of the share of all attacks accepted and BPCER; not of ISO/IEC 30107-3.
        auc: Area under the ROC curve.
        eer: Equal error rate, interpolated.
        eer_threshold: The lowest score that minimizes |FPR - FNR| on these scores.
        hter_at_eer: HTER there; optimistic, as its threshold is chosen on these scores.
        bpcer_at_apcer: BPCER at each target of the worst species' APCER.
        tpr_at_fpr: TPR at each target of the share of all attacks accepted.
        intervals: Intervals of AUC, EER and HTER; None where a class comes from a single subject.
        resamples: Number of resamples behind the intervals.
        seed: Seed of the resampling.
        warnings: Reservations a reader of the figures should know.
    """

    frames: int
    presentations: int
    subjects: int
    threshold: float
    threshold_source: ThresholdSource
    apcer: dict[str, ErrorRate]
    worst_species: str
    bpcer: ErrorRate
    apnrr: dict[str, ErrorRate]
    bpnrr: ErrorRate
    acer: float
    hter: float
    auc: float
    eer: float
    eer_threshold: float
    hter_at_eer: float
    bpcer_at_apcer: tuple[RatesAtTarget, ...]
    tpr_at_fpr: tuple[RatesAtTarget, ...]
    intervals: BootstrapIntervals | None
    resamples: int
    seed: int
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        """Take the threshold's source as its member."""
        take_choices(self, threshold_source=ThresholdSource)


def summarize(
    scores: Scores,
    *,
    threshold: float | None = None,
    development: Scores | None = None,
    apcer_targets: Sequence[float] = APCER_TARGETS,
    fpr_targets: Sequence[float] = FPR_TARGETS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Summary:
    """Return the error rates of scores at one threshold, and the figures over all thresholds.

    Args:
        scores: Frames or presentations; frames of one presentation are fused.
        threshold: Fixed threshold, or None.
        development: Scores of other captures to choose it on: the lowest of them that minimizes
            |FPR - FNR|. With neither, it is chosen so on the scores themselves.
        apcer_targets: APCER targets of BPCER at APCER, each in [0, 1).
        fpr_targets: FPR targets of TPR at FPR, each in [0, 1).
        resamples: Number of resamples of the subjects behind the intervals.
        seed: Seed of the resampling.

    Raises:
        DatasetError: A class is absent or never got a response, frames of one presentation
            contradict each other, or both a threshold and a development set are given.
    """
    if threshold is not None and development is not None:
        raise DatasetError("a threshold and a development set to choose it on: give one of them")
    fused = fuse(scores)
    scored = _responses(fused, "scores")
    values, live, species = scored.values, scored.is_bona_fide, scored.species
    points = curve(values, live)
    nearest = points.nearest_to_equal()
    source = ThresholdSource.GIVEN
    if development is not None:
        source = ThresholdSource.DEVELOPMENT
        chosen_on = _responses(fuse(development), "development scores")
        threshold = eer_threshold(chosen_on.values, chosen_on.is_bona_fide, EerRule.SCORE)
    elif threshold is None:
        source = ThresholdSource.SAME_SCORES
        threshold = float(points.thresholds[nearest])
    apcer = apcer_by_species(values, live, species, threshold)
    refused = bpcer(values, live, threshold)
    intervals = bootstrap_intervals(
        values, live, scored.subject, threshold, resamples=resamples, seed=seed
    )
    at_apcer = tuple(bpcer_at_apcer(values, live, species, target) for target in apcer_targets)
    warnings = [
        *_silent_species(fused, apcer),
        *_few_subjects(scored),
        *_small_for_targets(apcer, at_apcer),
    ]
    if points.auc < 0.5:
        warnings.append(
            f"AUC {points.auc:.4f} is below one half: is 1 the label of bona fide, and a greater "
            "score more live?"
        )
    return Summary(
        frames=len(scores),
        presentations=len(fused),
        subjects=len(set(fused.subject)),
        threshold=threshold,
        threshold_source=source,
        apcer=apcer,
        worst_species=worst_species(apcer),
        bpcer=refused,
        apnrr=apnrr_by_species(fused),
        bpnrr=bpnrr(fused),
        acer=average_error_rate(apcer, refused),
        hter=half_total_error_rate(values, live, threshold),
        auc=points.auc,
        eer=points.equal_error_rate,
        eer_threshold=float(points.thresholds[nearest]),
        hter_at_eer=float(points.fpr[nearest] + points.fnr[nearest]) / 2,
        bpcer_at_apcer=at_apcer,
        tpr_at_fpr=tuple(tpr_at_fpr(values, live, target) for target in fpr_targets),
        intervals=intervals,
        resamples=resamples,
        seed=seed,
        warnings=tuple(warnings),
    )


def _responses(fused: Scores, what: str) -> Scores:
    """Return the presentations that got a response, of both classes."""
    for name, of_class in (
        ("bona fide presentation (label 1)", fused.is_bona_fide),
        ("attack presentation (label 0)", ~fused.is_bona_fide),
    ):
        if not of_class.any():
            raise DatasetError(f"{what}: no {name} among {len(fused)}: both classes are needed")
        if not (of_class & fused.responded).any():
            raise DatasetError(f"{what}: no {name} got a response: nothing can be measured")
    return fused if fused.responded.all() else fused.select(fused.responded)


def _silent_species(fused: Scores, apcer: dict[str, ErrorRate]) -> list[str]:
    attempted = {
        name for name, live in zip(fused.species, fused.is_bona_fide, strict=True) if not live
    }
    return [
        f"no presentation of species {name!r} got a response: it has no APCER"
        for name in sorted(attempted - set(apcer))
    ]


def _few_subjects(scored: Scores) -> list[str]:
    subjects = np.asarray(scored.subject, dtype=object)
    found = []
    for name, of_class in (("bona fide", scored.is_bona_fide), ("attack", ~scored.is_bona_fide)):
        count = len(set(subjects[of_class]))
        if count < 2:
            found.append(
                f"{name} presentations are of one subject: no interval of AUC, EER or HTER"
            )
        elif count < FEW_SUBJECTS:
            found.append(
                f"{name} presentations are of {count} subjects: intervals of AUC, EER and HTER "
                "are rough"
            )
    return found


def _small_for_targets(apcer: dict[str, ErrorRate], at_apcer: Sequence[RatesAtTarget]) -> list[str]:
    fewest = min(apcer, key=lambda name: (apcer[name].total, name))
    total = apcer[fewest].total
    coarse = [at.name for at in at_apcer if at.target * total < 1 - 1e-9]
    if not coarse:
        return []
    return [
        f"{total} attacks of species {fewest!r} are too few for {', '.join(coarse)} to allow one "
        f"of them: no error among {total} still leaves an APCER of up to "
        f"{100 * ErrorRate(0, total).upper():.1f} % (one-sided 95 %)"
    ]
