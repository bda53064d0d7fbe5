"""Error rates of ISO/IEC 30107-3 at one threshold, where LIVE means score > threshold.

Terms are those of its clause 3.2 (metrics); APCER and BPCER follow clause 13.2.2 (classification
metrics), APNRR and BPNRR clause 13.2.3 (non-response metrics). HTER and ACER are not of that
standard: they stand here to compare with papers.

The functions over arrays take one entry a presentation: fuse frames first (`scores.fuse`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import DatasetError
from fasdk_calibration.metrics.bounds import ErrorRate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_calibration.metrics.scores import Scores


def apcer_by_species(
    scores: NDArray[np.float64],
    is_bona_fide: NDArray[np.bool_],
    species: Sequence[str],
    threshold: float,
) -> dict[str, ErrorRate]:
    """Return APCER, the share of attack presentations accepted as live, by PAI species.

    Args:
        scores: float64 [N], greater is more live.
        is_bona_fide: bool [N], label of each score.
        species: PAI species of each presentation; those of bona fide ones are not looked at.
        threshold: A presentation is accepted when its score is greater.

    Returns:
        One rate a species, in name order.

    Raises:
        DatasetError: The lengths differ, a score or the threshold is NaN, or there is no attack.
    """
    scores, is_bona_fide = checked(scores, is_bona_fide, len(species))
    _require_threshold(threshold)
    names = np.asarray(species, dtype=object)
    accepted = scores > threshold
    found = sorted({str(name) for name in names[~is_bona_fide]})
    if not found:
        raise DatasetError("no attack among the captures: APCER cannot be measured")
    rates: dict[str, ErrorRate] = {}
    for name in found:
        these = ~is_bona_fide & (names == name)
        rates[name] = ErrorRate(int(accepted[these].sum()), int(these.sum()))
    return rates


def worst_species(rates: Mapping[str, ErrorRate]) -> str:
    """Return the PAI species of the highest rate; of equal ones the least attempted, then by name.

    Raises:
        DatasetError: There is none.
    """
    if not rates:
        raise DatasetError("no PAI species to choose the worst of")
    return min(rates, key=lambda name: (-rates[name].rate, rates[name].total, name))


def bpcer(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], threshold: float
) -> ErrorRate:
    """Return BPCER, the share of bona fide presentations not accepted; see `apcer_by_species`.

    Raises:
        DatasetError: The lengths differ, a score or the threshold is NaN, or there is no bona fide
            capture.
    """
    scores, is_bona_fide = checked(scores, is_bona_fide, len(scores))
    _require_threshold(threshold)
    if not is_bona_fide.any():
        raise DatasetError("no bona fide capture: BPCER cannot be measured")
    rejected = ~(scores[is_bona_fide] > threshold)
    return ErrorRate(int(rejected.sum()), int(is_bona_fide.sum()))


def half_total_error_rate(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], threshold: float
) -> float:
    """Return HTER: the mean of the shares of attacks accepted and of bona fide captures refused.

    All attacks count alike, whatever their species, as in the papers this figure compares with. It
    is not a metric of ISO/IEC 30107-3.

    Args:
        scores: float64 [N], greater is more live.
        is_bona_fide: bool [N], label of each score.
        threshold: A presentation is accepted when its score is greater.

    Raises:
        DatasetError: The lengths differ, a score or the threshold is NaN, or a class is absent.
    """
    attacks = apcer_by_species(scores, is_bona_fide, ["attack"] * len(scores), threshold)
    refused = bpcer(scores, is_bona_fide, threshold)
    return (attacks["attack"].rate + refused.rate) / 2


def average_error_rate(apcer: Mapping[str, ErrorRate], refused: ErrorRate) -> float:
    """Return ACER: the mean of the worst species' APCER and BPCER, as papers since OULU-NPU do.

    It is not a metric of ISO/IEC 30107-3.

    Raises:
        DatasetError: There is no species.
    """
    return (apcer[worst_species(apcer)].rate + refused.rate) / 2


def apnrr_by_species(scores: Scores) -> dict[str, ErrorRate]:
    """Return APNRR, the share of attack presentations without a response, by PAI species.

    Non-responses are counted here and in `bpnrr` alone: APCER and BPCER are of the presentations
    that were classified (ISO/IEC 30107-3, 13.2.2 and 13.2.3 keep the two apart).

    Args:
        scores: Scores of presentations, one entry each.

    Raises:
        DatasetError: There is no attack.
    """
    names = np.asarray(scores.species, dtype=object)
    attack = ~scores.is_bona_fide
    if not attack.any():
        raise DatasetError("no attack among the captures: APNRR cannot be measured")
    return {
        name: _without_response(scores, attack & (names == name))
        for name in sorted(set(names[attack]))
    }


def bpnrr(scores: Scores) -> ErrorRate:
    """Return BPNRR, the share of bona fide presentations without a response.

    Args:
        scores: Scores of presentations, one entry each.

    Raises:
        DatasetError: There is no bona fide presentation.
    """
    if not scores.is_bona_fide.any():
        raise DatasetError("no bona fide capture: BPNRR cannot be measured")
    return _without_response(scores, scores.is_bona_fide)


def _without_response(scores: Scores, these: NDArray[np.bool_]) -> ErrorRate:
    return ErrorRate(int((~scores.responded[these]).sum()), int(these.sum()))


def checked(
    scores: NDArray[np.float64], is_bona_fide: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and labels as float64 [count] and bool [count].

    Raises:
        DatasetError: The lengths differ, or a score is NaN: it is neither above nor below anything.
    """
    scores, is_bona_fide = np.asarray(scores, np.float64), np.asarray(is_bona_fide, bool)
    if scores.ndim != 1 or scores.shape != is_bona_fide.shape or scores.size != count:
        raise DatasetError(
            f"{scores.shape} scores, {is_bona_fide.shape} labels, {count} species: "
            "expected one of each a capture"
        )
    unknown = int(np.isnan(scores).sum())
    if unknown:
        raise DatasetError(
            f"{unknown} of {count} scores are NaN: leave non-responses out and count them apart"
        )
    return scores, is_bona_fide


def _require_threshold(threshold: float) -> None:
    if np.isnan(threshold):
        raise DatasetError("the threshold is NaN: no score is above or below it")
