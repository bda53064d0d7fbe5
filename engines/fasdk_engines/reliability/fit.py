"""Fit of a graph's reliability on the development captures of its build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fasdk.capture import Modality
from fasdk.preprocess import to_batch
from fasdk_engines.graph.captures import spread
from fasdk_engines.reliability.features import LEAST_SIDE, LEVELS, PictureFeatures
from fasdk_engines.reliability.graph import GraphReliability, SensorReliability
from fasdk_engines.reliability.simulated import simulated_faults
from fasdk_engines.reliability.statistics import PictureStatistics, RankCurve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.graph.captures import DevelopmentSet

LEAST_CAPTURES = 100
LEAST_SUBJECTS = 10
MOST_CAPTURES = 600
"""Captures of each modality that a fit takes, spread over the list; more cost time alone."""
FOLDS = 5
_SEED = 0
_CAPTURES_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Fit:
    """Outcome of a fit.

    Attributes:
        reliability: What a graph computes; None where the captures are too few.
        note: One sentence on it for the manifest.
    """

    reliability: GraphReliability | None
    note: str


@dataclass(frozen=True, eq=False)
class _Rows:
    """Features of the pictures of one modality.

    Attributes:
        good: Features of each picture, float64 [N, F].
        faulty: Features of the same with each simulated fault, float64 [N, faults, F].
    """

    good: NDArray[np.float64]
    faulty: NDArray[np.float64]

    def statistics(self, kept: NDArray[np.bool_]) -> PictureStatistics:
        """Return the statistics of some of the pictures."""
        faulty = self.faulty[kept]
        return PictureStatistics.of(self.good[kept], faulty.reshape(-1, faulty.shape[-1]))


def fit_reliability(
    development: DevelopmentSet,
    specs: Mapping[Modality, PreprocessSpec],
    *,
    with_presence: bool,
) -> Fit:
    """Fit the reliability of every modality on the captures that hold it.

    Args:
        development: Captures, bona fide and attacks alike: both are what a sensor shows at work.
        specs: Preprocessing by modality, in model order.
        with_presence: Whether the model is told which modalities are present.
    """
    sensors = {}
    for modality, spec in specs.items():
        if min(spec.width, spec.height) < LEAST_SIDE:
            return Fit(None, f"no reliability: {spec.width}x{spec.height} pixels are too few")
        held = [n for n, capture in enumerate(development.captures) if modality in capture.present]
        people = len({development.records[n].subject for n in held})
        if len(held) < LEAST_CAPTURES or people < LEAST_SUBJECTS:
            return Fit(
                None,
                f"no reliability: {len(held)} development captures of {people} people hold "
                f"{modality.value}, at least {LEAST_CAPTURES} of {LEAST_SUBJECTS} are needed",
            )
        held = spread(held, MOST_CAPTURES)
        features = PictureFeatures(modality, spec)
        rows = _rows(features, modality, specs, [development.captures[n] for n in held])
        measures = _measures_of_others(rows, [development.records[n].subject for n in held])
        if not (measures.max(axis=0) > measures.min(axis=0)).all():
            return Fit(None, f"no reliability: all pictures of {modality.value} are alike")
        whole = rows.statistics(np.ones(len(held), np.bool_))
        sensors[modality] = SensorReliability(features, whole, RankCurve.of(measures))
    return Fit(
        GraphReliability(sensors, with_presence=with_presence),
        f"reliability: ranks among the {len(development.captures)} development captures in "
        f"{development.name}",
    )


def _measures_of_others(rows: _Rows, subjects: Sequence[str]) -> NDArray[np.float64]:
    """Return the measures of each picture, float64 [N, 2], by statistics of other people alone."""
    number = {subject: place for place, subject in enumerate(sorted(set(subjects)))}
    folds = np.array([number[subject] % FOLDS for subject in subjects])
    measures = np.empty((len(subjects), 2))
    for fold in range(FOLDS):
        inside = folds == fold
        measures[inside] = rows.statistics(~inside).measures(rows.good[inside])
    return measures


def _rows(
    features: PictureFeatures,
    modality: Modality,
    specs: Mapping[Modality, PreprocessSpec],
    captures: Sequence[Capture],
) -> _Rows:
    size = (specs[modality].width, specs[modality].height)
    others = [m for m, s in specs.items() if m is not modality and (s.width, s.height) == size]
    # Color is swapped with infrared, which comes last, and infrared with color.
    other = None if not others else others[0] if modality is Modality.IR else others[-1]
    if any(other not in capture.present for capture in captures):
        other = None
    rows = []
    for start in range(0, len(captures), _CAPTURES_AT_ONCE):
        pictures = []
        for number, capture in enumerate(captures[start : start + _CAPTURES_AT_ONCE], start):
            rng = np.random.default_rng([_SEED, number])
            picture = _levels(capture, modality, specs[modality])
            seen = None
            if other is not None:
                seen = _levels(capture, other, specs[other]).mean(axis=2, keepdims=True)
                seen = seen.repeat(3, axis=2)
            pictures.append(np.stack([picture, *simulated_faults(picture, seen, rng)]))
        levels = np.stack(pictures).transpose(0, 1, 4, 2, 3) / np.float32(LEVELS)
        with torch.no_grad():
            found = features.of_levels(torch.from_numpy(levels).flatten(0, 1)).numpy()
        rows.append(found.reshape(*levels.shape[:2], -1).astype(np.float64))
    together = np.concatenate(rows)
    return _Rows(together[:, 0], together[:, 1:])


def _levels(capture: Capture, modality: Modality, spec: PreprocessSpec) -> NDArray[np.float32]:
    """Return a picture as the model sees it, float32 [H, W, 3], levels from 0 to 255."""
    tensor = to_batch([capture], {modality: spec})[modality.value][0]
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    levels: NDArray[np.float32] = tensor.transpose(1, 2, 0) * std + mean
    return levels
