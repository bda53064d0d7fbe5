"""Liveness budget: limits on decision flips, score drift and error-rate changes.

The scores of the float graph are the reference and its operating points are frozen: the quantized
graph is evaluated at the same thresholds, one combination of modalities at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import DatasetError, UsageError
from fasdk_calibration.metrics import Scores, apcer_by_species, bpcer, fuse, logit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.decision import OperatingPoint

_WINDOW = 32  # captures nearest to the threshold from which density and drift are estimated
_ROUNDING = 1e-12  # so that 1 of 1,000 does not exceed 0.001 in binary arithmetic


@dataclass(frozen=True)
class BudgetLimits:
    """Largest allowed value of each figure, in each combination of modalities.

    Attributes:
        max_flips: Share of captures whose verdict changes at the frozen operating point.
        max_drift: Mean absolute difference of scores, in [0, 1].
        max_rate_change: Absolute change of the worst species' APCER and of BPCER, in [0, 1].
    """

    max_flips: float = 0.001
    max_drift: float = 0.005
    max_rate_change: float = 0.001

    def __post_init__(self) -> None:
        """Require every limit to be a share."""
        for name in ("max_flips", "max_drift", "max_rate_change"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {value}: give a share from 0 to below 1"
                )


@dataclass(frozen=True)
class RateChange:
    """An error rate of ISO/IEC 30107-3 before and after quantization, counted by presentation.

    Attributes:
        species: The worst PAI species before and after, or "bona fide" twice for BPCER.
        before: Rate with the float graph, in [0, 1].
        after: Rate with the quantized graph, in [0, 1].
        presentations: Number of presentations of the class the rate is about.
    """

    species: tuple[str, str]
    before: float
    after: float
    presentations: int

    @property
    def change(self) -> float:
        """Absolute difference of the rates, in [0, 1]."""
        return abs(self.after - self.before)


@dataclass(frozen=True)
class CombinationFigures:
    """Effect of quantization on captures that hold one combination of modalities.

    Attributes:
        modalities: The combination, in model order, joined by "+".
        captures: Number of captures that hold it.
        threshold: Threshold of the frozen operating point, or None where there is none: then only
            drift counts.
        flips: Number of captures whose verdict changes; a score that is not a number is a change.
        expected_flips: Expected share of flips of other captures, in [0, 1]; see `expected_flips`.
            Where the captures are too few to show a rare flip, it still distinguishes a small drift
            from a large one.
        expected_class_flips: The same for the captures of one class, bona fide or attack, whichever
            expects more: a threshold among captures of one class changes the rate of that class
            alone.
        mean_drift: Mean absolute difference of scores, in [0, 1]; a score that is not a number
            counts as 1.
        largest_drift: Largest absolute difference of scores, in [0, 1].
        apcer: Change of the worst species' APCER, or None without a threshold or attacks.
        bpcer: Change of BPCER, or None without a threshold or bona fide presentations.
    """

    modalities: str
    captures: int
    threshold: float | None
    flips: int | None
    expected_flips: float | None
    expected_class_flips: float | None
    mean_drift: float
    largest_drift: float
    apcer: RateChange | None
    bpcer: RateChange | None


@dataclass(frozen=True)
class BudgetReport:
    """The figures of every combination of modalities, and the limits they exceed.

    Attributes:
        limits: Limits of the budget.
        combinations: Figures of each combination, most captures first.
        misses: Messages, one for each figure above its limit; empty when the budget holds.
    """

    limits: BudgetLimits
    combinations: tuple[CombinationFigures, ...]
    misses: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every figure is within its limit."""
        return not self.misses

    @property
    def expected_flips(self) -> float:
        """Largest expected share of flips of any combination; see `CombinationFigures`."""
        return max((c.expected_flips or 0.0 for c in self.combinations), default=0.0)

    @property
    def expected_class_flips(self) -> float:
        """Largest expected share of flips of one class, of any combination."""
        return max((c.expected_class_flips or 0.0 for c in self.combinations), default=0.0)

    @property
    def mean_drift(self) -> float:
        """Largest mean score drift of any combination, in [0, 1]."""
        return max(c.mean_drift for c in self.combinations)


def check_budget(
    reference: Scores,
    values: NDArray[np.float64],
    present: Sequence[tuple[Modality, ...]],
    points: Sequence[OperatingPoint],
    limits: BudgetLimits,
) -> BudgetReport:
    """Compare the scores of a quantized graph with the float graph's, capture by capture.

    Args:
        reference: The float graph's scores, P(bona fide), with the label of each capture.
        values: float64 [N], the quantized graph's scores of the same captures, in the same order.
        present: Modalities that each capture holds, in model order.
        points: The float graph's operating points, one for each combination, all of one level.
        limits: Limits of the budget.

    Raises:
        DatasetError: There is no capture, a reference score is not a number, or the lengths differ.
    """
    values = np.asarray(values, np.float64)
    count = len(reference.values)
    if not count or values.shape != (count,) or len(present) != count:
        raise DatasetError(
            f"{count} reference scores, {values.shape} scores and {len(present)} combinations: "
            "expected one of each a capture, and at least one capture"
        )
    if not np.isfinite(reference.values).all():
        raise DatasetError("a reference score is not a number: nothing can be compared with it")
    thresholds = {tuple(point.modalities): point.threshold for point in points}
    figures = []
    for held in set(present):
        rows = np.array([found == held for found in present])
        figures.append(_compare_combination(held, reference, values, rows, thresholds.get(held)))
    figures.sort(key=lambda found: (-found.captures, found.modalities))
    misses = tuple(miss for found in figures for miss in _misses(found, limits))
    return BudgetReport(limits, tuple(figures), misses)


def _compare_combination(
    held: tuple[Modality, ...],
    reference: Scores,
    values: NDArray[np.float64],
    rows: NDArray[np.bool_],
    threshold: float | None,
) -> CombinationFigures:
    before, after = reference.values[rows], values[rows]
    known = np.isfinite(after)
    drift = np.where(known, np.abs(after - before), 1.0)
    flips = expected = of_class = None
    apcer = refused = None
    if threshold is not None:
        flips = int((((before > threshold) != (after > threshold)) | ~known).sum())
        expected = expected_flips(before, after, threshold)
        one = reference.select(rows)
        of_class = max(
            expected_flips(before[these], after[these], threshold)
            for these in (one.is_bona_fide, ~one.is_bona_fide)
            if these.any()
        )
        # A score that is not a number never accepts.
        other = replace(one, values=np.where(known, after, 0.0))
        apcer, refused = _rate_changes(fuse(one), fuse(other), threshold)
    return CombinationFigures(
        modalities="+".join(modality.value for modality in held),
        captures=len(before),
        threshold=threshold,
        flips=flips,
        expected_flips=expected,
        expected_class_flips=of_class,
        mean_drift=float(drift.mean()),
        largest_drift=float(drift.max()),
        apcer=apcer,
        bpcer=refused,
    )


def _rate_changes(
    before: Scores, after: Scores, threshold: float
) -> tuple[RateChange | None, RateChange | None]:
    live = before.is_bona_fide
    apcer = refused = None
    if not live.all():
        rates = [apcer_by_species(s.values, live, s.species, threshold) for s in (before, after)]
        worst = [max(found, key=lambda name: found[name].rate) for found in rates]
        apcer = RateChange(
            (worst[0], worst[1]),
            rates[0][worst[0]].rate,
            rates[1][worst[1]].rate,
            int((~live).sum()),
        )
    if live.any():
        lost, now = (bpcer(s.values, live, threshold).rate for s in (before, after))
        refused = RateChange(("bona fide", "bona fide"), lost, now, int(live.sum()))
    return apcer, refused


def expected_flips(
    before: NDArray[np.float64], after: NDArray[np.float64], threshold: float
) -> float:
    """Return the expected share of flips of other captures drawn like these, in [0, 1].

    To first order it is the density of captures at the threshold times the mean absolute drift of
    captures there, both in log-odds and both estimated from the captures nearest to the threshold.
    So it does not depend on whether any single capture happens to lie on the threshold.

    Args:
        before: float64 [N], P(bona fide) of the float graph.
        after: float64 [N], the same of the quantized graph; one that is not a number is a flip.
        threshold: Score in [0, 1]; a capture is live when its score is greater.
    """
    known = np.isfinite(after)
    lost = float((~known).mean())
    if not known.any():
        return lost
    odds = logit(before[known])
    distance = np.abs(odds - float(logit(np.array([threshold]))[0]))
    nearest = np.argsort(distance, kind="stable")[:_WINDOW]
    drift = float(np.abs(logit(after[known]) - odds)[nearest].mean())
    if drift == 0.0:
        return lost
    reach = max(float(distance[nearest[-1]]), drift)  # the window is at least as wide as the drift
    density = len(nearest) / (2.0 * reach * len(odds))
    return min(1.0, lost + (1.0 - lost) * density * drift)


def _misses(found: CombinationFigures, limits: BudgetLimits) -> list[str]:
    measured: list[tuple[str, float, float, str]] = []
    if found.flips is not None:
        share = found.flips / found.captures
        of = f" ({found.flips} of {found.captures} captures)"
        measured.append(("decision flips", share, limits.max_flips, of))
    measured.append(("mean score drift", found.mean_drift, limits.max_drift, ""))
    for name, rate in (("worst species' APCER", found.apcer), ("BPCER", found.bpcer)):
        if rate is not None:
            of = f" (from {rate.before:.4%} to {rate.after:.4%})"
            measured.append((f"change of {name}", rate.change, limits.max_rate_change, of))
    return [
        f"{found.modalities}: {name} {value:.4f}{of}, limit {limit:g}"
        for name, value, limit, of in measured
        if not value <= limit + _ROUNDING
    ]
