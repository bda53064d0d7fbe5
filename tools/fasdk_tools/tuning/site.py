"""Re-tuning for a site: its few captures with the development scores that the bundle carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from fasdk.bundle.members import EVALUATION, GRAPH
from fasdk.capture import Modality
from fasdk.decision import OperatingPoint, ScoreCalibration, select_calibration
from fasdk.errors import OperatingPointError, UsageError
from fasdk_calibration.metrics import apcer_by_species, bpcer, fuse, worst_species
from fasdk_calibration.thresholds.levels import LevelTarget, Shortfall
from fasdk_calibration.thresholds.operating_points import (
    TunedPoint,
    counts,
    middle_threshold,
    require_probabilities,
)
from fasdk_calibration.thresholds.site_tuning import ScoresByClass, site_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.bundle.bundle import Bundle
    from fasdk_calibration.metrics import Scores
    from fasdk_calibration.thresholds.levels import Refusal

_MOST = 40.0  # log-odds; a score nearer to 0 or 1 is no number any more
_DECIMALS = 4
SITE_METHOD = (
    "per PAI species: the site's log-odds are taken to be the vendor's, shifted by an amount of "
    "the species' own and stretched by one factor; tolerance limit mean + K s of the site's "
    "attacks, K from draws of the vendor's scores at 96 %, for the vendor's quantile at 99 %; "
    "species that the site did not show keep the vendor's, moved up by what the genuine people "
    "may have moved; refused where the site's scores do not fit"
)


class DevelopmentScores(BaseModel):
    """Scores of the presentations that a bundle was tuned on, for one combination of modalities.

    Attributes:
        modalities: The combination, in model order.
        bona_fide: Log-odds of the fused, calibrated scores of genuine people, in order of size.
        attacks: The same of each PAI species.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: tuple[Modality, ...]
    bona_fide: tuple[float, ...]
    attacks: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, modalities: Sequence[Modality], scores: Scores) -> DevelopmentScores:
        """Return the scores of presentations, P(bona fide), without whose they are.

        Args:
            modalities: The combination, in model order.
            scores: Calibrated scores, one entry a presentation.
        """
        split = by_class(scores)
        return cls(
            modalities=tuple(modalities),
            bona_fide=_ordered(split.bona_fide),
            attacks={name: _ordered(values) for name, values in split.attacks.items()},
        )

    @property
    def by_class(self) -> ScoresByClass:
        """The scores as arrays."""
        return ScoresByClass(
            np.array(self.bona_fide, np.float64),
            {name: np.array(values, np.float64) for name, values in self.attacks.items()},
        )


def by_class(scores: Scores) -> ScoresByClass:
    """Return calibrated scores of presentations as log-odds by class and species."""
    values = log_odds_of(scores.values)
    names = np.asarray(scores.species, dtype=object)
    live = scores.is_bona_fide
    return ScoresByClass(
        values[live],
        {str(name): values[~live & (names == name)] for name in sorted(set(names[~live]))},
    )


def log_odds_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of probabilities, within 40 of 0."""
    with np.errstate(divide="ignore"):
        found = np.clip(np.log(scores) - np.log1p(-scores), -_MOST, _MOST)
    return np.asarray(found, np.float64)


def development_scores(bundle: Bundle) -> dict[frozenset[Modality], DevelopmentScores]:
    """Return the development scores that a bundle carries, by combination of modalities.

    Raises:
        UsageError: It carries none, or those of another graph.
    """
    content = bundle.document(EVALUATION) or {}
    stored = content.get("development_scores")
    if content.get("kind") != "tuned" or not isinstance(stored, list) or not stored:
        raise UsageError(
            f"{bundle.path} carries no development scores: ask the vendor for a bundle that "
            "`fasdk tune` of this release wrote, or tune without --vendor-development"
        )
    if content.get("graph_sha256") != bundle.manifest.members[GRAPH]:
        raise UsageError(
            f"{bundle.path}: its development scores are another graph's: tune it on the vendor's "
            "captures first"
        )
    try:
        read = [DevelopmentScores.model_validate(each) for each in stored]
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{bundle.path}: evaluation.json: development_scores: {where}: {first['msg']}"
        ) from wrong
    return {frozenset(each.modalities): each for each in read}


def calibration_for(bundle: Bundle, modalities: Sequence[Modality]) -> ScoreCalibration:
    """Return the bundle's own calibration, in whose scores the development scores are.

    Raises:
        OperatingPointError: The bundle has none for the combination.
    """
    found = select_calibration(bundle.manifest.score_calibrations, frozenset(modalities))
    if found is None:
        names = "+".join(m.value for m in modalities)
        raise OperatingPointError(f"the bundle was not tuned with {names}: nothing can be borrowed")
    return found


def retune_level(
    frames: Scores,
    vendor: DevelopmentScores,
    target: LevelTarget,
    *,
    source: str,
    graph_sha256: str,
) -> TunedPoint | Refusal:
    """Return the site's operating point of one level, or why its captures support none.

    Args:
        frames: The site's calibrated scores, one entry a capture.
        vendor: The vendor's development scores of the same modalities and calibration.
        target: Security level with its APCER bound.
        source: Description of the site's captures; the counts are appended.
        graph_sha256: Digest of the graph that gave the scores.
    """
    scores = fuse(frames)
    require_probabilities(scores.values)
    found = site_threshold(vendor.by_class, by_class(scores), target.max_apcer)
    if isinstance(found, Shortfall):
        return found.of(target, vendor.modalities)
    lowest = 1.0 / (1.0 + math.exp(-found.lowest))
    threshold = middle_threshold(lowest, scores.values, scores.is_bona_fide)
    if threshold is None:
        strictest = max(found.by_species, key=lambda name: found.by_species[name])
        return Shortfall(
            f"no genuine site presentation scores above {lowest:.4f}, which {strictest} asks for"
        ).of(target, vendor.modalities)
    apcer = apcer_by_species(scores.values, scores.is_bona_fide, scores.species, threshold)
    refused = bpcer(scores.values, scores.is_bona_fide, threshold)
    point = OperatingPoint(
        level=target.level,
        modalities=vendor.modalities,
        threshold=threshold,
        source=(
            f"{source}, merged with the vendor's development scores; bound {target.max_apcer:g}; "
            f"{counts(apcer, refused)}"
        ),
        # What the method holds it to; the site's own counts are too few to show it.
        apcer_upper=target.max_apcer,
        graph_sha256=graph_sha256,
        calibrated=True,
    )
    return TunedPoint(point, target, apcer, refused, worst_species(apcer))


def _ordered(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(value, _DECIMALS) for value in sorted(values.tolist()))
