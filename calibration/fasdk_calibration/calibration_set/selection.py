"""Selection of a calibration set: stratified, then spread over the model's features.

Ranges depend on outliers and bias corrections on the mean, so the set holds every stratum in its
share, and within a stratum the captures that are least like those already chosen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk_calibration.datasets import CaptureRecord

# Neighboring pixels of a camera frame correlate: above 0.8 on every capture examined, and 0 for
# white noise.
_MIN_CORRELATION = 0.2


@dataclass(frozen=True, order=True)
class Stratum:
    """A kind of capture, of which a calibration set holds its share.

    Attributes:
        domain: Name of the domain the captures come from.
        label: "bona fide" or "attack".
        species: PAI species; "bona fide" for bona fide.
        modalities: Modalities it holds, in the order of `Modality`, joined by "+".
    """

    domain: str
    label: str
    species: str
    modalities: str


@dataclass(frozen=True)
class StratumShare:
    """Number of captures of one stratum.

    Attributes:
        stratum: Stratum that the counts belong to.
        candidates: Number of candidates in it.
        chosen: Number of those in the calibration set.
    """

    stratum: Stratum
    candidates: int
    chosen: int


@dataclass(frozen=True)
class Selection:
    """The candidates chosen for a calibration set.

    Attributes:
        indices: Positions of the chosen among the candidates, ascending.
        radius: Largest Euclidean distance, in features, of any candidate to the nearest chosen one.
        strata: Number of captures of every stratum, in order.
    """

    indices: tuple[int, ...]
    radius: float
    strata: tuple[StratumShare, ...]


def stratum_of(record: CaptureRecord) -> Stratum:
    """Return the stratum a capture belongs to."""
    held = [m.value for m in Modality if getattr(record, m.value) is not None]
    return Stratum(record.domain, record.label.value, record.species, "+".join(held))


def thin(strata: Sequence[Stratum], size: int) -> tuple[int, ...]:
    """Return at most `size` positions, the share of every stratum evenly spread over its captures.

    It needs no features; it shortens a list so that features can be computed for the rest.

    Raises:
        DatasetError: There is no candidate, or `size` is below 1.
    """
    quotas = _quotas(strata, size)
    positions = _positions(strata)
    kept: list[int] = []
    for stratum, quota in quotas.items():
        of_stratum = positions[stratum]
        picks = np.linspace(0, len(of_stratum) - 1, quota).round().astype(int)
        kept += [of_stratum[pick] for pick in picks]
    return tuple(sorted(kept))


def select(features: NDArray[np.float32], strata: Sequence[Stratum], size: int) -> Selection:
    """Return at most `size` candidates: each stratum's share, chosen for coverage.

    Every stratum gets one as far as `size` allows, the rest in proportion (largest remainder). Then
    greedy k-center (Gonzalez, Theoretical Computer Science 38, 1985) over all: from the candidate
    nearest to the mean, always the one farthest from those chosen whose stratum still wants one.
    Deterministic; on ties the earlier candidate.

    Args:
        features: float [N, D], the model's features of each candidate.
        strata: The candidates' strata.
        size: Number of captures to choose; all candidates where there are no more.

    Raises:
        DatasetError: There is no candidate, `size` is below 1, or the features are not finite, not
            one row a candidate, or all the same.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) != len(strata):
        raise DatasetError(
            f"features have shape {list(np.shape(features))} for {len(strata)} calibration "
            "captures: expected one row a capture"
        )
    quotas = _quotas(strata, size)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if broken.size:
        raise DatasetError(
            f"the model's features of {broken.size} of {len(values)} calibration captures are not "
            "finite: nothing can be calibrated on them"
        )
    if len(values) > 1 and not (values != values[0]).any():
        raise DatasetError(
            f"the model sees no difference between the {len(values)} calibration captures: "
            "give captures of different people and attacks"
        )
    chosen, distances = _k_center(values, strata, quotas)
    return _selection(chosen, strata, float(np.sqrt(distances.max())))


def take_all(strata: Sequence[Stratum]) -> Selection:
    """Return a selection of every candidate, for a list that is not longer than the set.

    Raises:
        DatasetError: There is no candidate.
    """
    _quotas(strata, max(1, len(strata)))
    return _selection(range(len(strata)), strata, 0.0)


def _selection(chosen: Iterable[int], strata: Sequence[Stratum], radius: float) -> Selection:
    indices = tuple(sorted(chosen))
    counts = Counter(strata[index] for index in indices)
    return Selection(
        indices=indices,
        radius=radius,
        strata=tuple(
            StratumShare(stratum, len(positions), counts[stratum])
            for stratum, positions in sorted(_positions(strata).items())
        ),
    )


def _k_center(
    values: NDArray[np.float64], strata: Sequence[Stratum], quotas: Mapping[Stratum, int]
) -> tuple[list[int], NDArray[np.float64]]:
    """Return the chosen positions and every candidate's squared distance to the nearest."""
    left = dict(quotas)
    order = sorted(left)
    codes = np.array([order.index(stratum) for stratum in strata])
    wanted = np.array([left[stratum] for stratum in order])[codes] > 0
    distances = np.full(len(values), np.inf)
    # The first chosen is the candidate nearest to the mean.
    nearness = -np.square(values - values.mean(axis=0)).sum(axis=1)
    chosen: list[int] = []
    for number in range(sum(quotas.values())):
        worth = nearness if number == 0 else distances
        index = int(np.argmax(np.where(wanted, worth, -np.inf)))
        chosen.append(index)
        wanted[index] = False
        left[strata[index]] -= 1
        if left[strata[index]] == 0:
            wanted &= codes != codes[index]
        distances = np.minimum(distances, np.square(values - values[index]).sum(axis=1))
    return chosen, distances


def _quotas(strata: Sequence[Stratum], size: int) -> dict[Stratum, int]:
    """Return how many of each stratum to take: one each while `size` allows, then in proportion."""
    if size < 1:
        raise DatasetError(f"calibration size is {size}: at least 1 capture is needed")
    if not strata:
        raise DatasetError("there is no calibration capture: give at least one")
    counts = Counter(strata)
    if len(strata) <= size:
        return dict(sorted(counts.items()))
    ranked = sorted(counts, key=lambda stratum: (-counts[stratum], stratum))
    if len(ranked) >= size:
        return dict(sorted((s, int(rank < size)) for rank, s in enumerate(ranked)))
    exact = {stratum: size * counts[stratum] / len(strata) for stratum in ranked}
    quotas = {stratum: max(1, int(exact[stratum])) for stratum in ranked}
    while sum(quotas.values()) < size:  # to the largest remainder
        quotas[max(ranked, key=lambda s: exact[s] - quotas[s])] += 1
    while sum(quotas.values()) > size:  # what rare strata got, from the best represented
        quotas[max(ranked, key=lambda s: (quotas[s] > 1, quotas[s] - exact[s]))] -= 1
    return dict(sorted(quotas.items()))


def _positions(strata: Sequence[Stratum]) -> dict[Stratum, list[int]]:
    positions: dict[Stratum, list[int]] = {}
    for index, stratum in enumerate(strata):
        positions.setdefault(stratum, []).append(index)
    return positions


def require_camera_frames(batches: Iterable[Mapping[str, NDArray[np.float32]]], name: str) -> None:
    """Refuse a set of which more than half are noise in every modality they hold.

    A constant image, such as that of a missing modality, is ignored.

    Args:
        batches: Graph inputs, float32 [B, channels, H, W] by name; inputs of other ranks are
            ignored.
        name: File name of the calibration list.

    Raises:
        DatasetError: More than half are noise; ranges measured on noise do not suit faces.
    """
    captures, noise = 0, 0
    for batch in batches:
        images = [array for array in batch.values() if array.ndim == 4]
        for index in range(len(images[0]) if images else 0):
            found = [_neighbor_correlation(array[index]) for array in images]
            known = [value for value in found if value is not None]
            captures += 1
            noise += bool(known) and max(known) < _MIN_CORRELATION
    if 2 * noise > captures:
        raise DatasetError(
            f"{noise} of {captures} calibration captures in {name} look like random noise "
            f"(neighboring pixels correlate by less than {_MIN_CORRELATION}): "
            "calibrate on a camera's captures of faces and attacks"
        )


def _neighbor_correlation(image: NDArray[np.float32]) -> float | None:
    """Return the correlation of horizontal neighbors, in [-1, 1]; None for a constant image."""
    planes: NDArray[Any] = image.astype(np.float64)
    planes = planes - planes.mean(axis=(1, 2), keepdims=True)
    variance = float(np.square(planes).mean())
    if variance < 1e-12 or planes.shape[2] < 2:
        return None
    return float((planes[:, :, 1:] * planes[:, :, :-1]).mean()) / variance
