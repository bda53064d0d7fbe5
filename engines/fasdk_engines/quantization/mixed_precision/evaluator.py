"""Hold a candidate graph against the float graph on the development captures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import live_score, log_odds
from fasdk.preprocess import to_batch
from fasdk_calibration.metrics import Scores
from fasdk_engines.quantization.mixed_precision.budget import (
    BudgetLimits,
    BudgetReport,
    expected_flips,
    judge_budget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.decision import OperatingPoint
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.quantization.mixed_precision.work_folder import Section

    Batch = Mapping[str, NDArray[np.float32]]
    Runner = Callable[[Batch], NDArray[np.float32]]
    Progress = Callable[[int, int], None]

_BATCH = 8


@dataclass(frozen=True, eq=False)
class Judgment:
    """What a candidate did.

    Attributes:
        logits: float32 [N, classes] in the order of the list; NaN where it was not asked.
        judged: Captures it was asked; fewer than N where it was stopped, its case being lost.
        captures: N.
        report: Every figure against its limit, or None where it was stopped.
        expected_flips: Share of flips to expect; see `CombinationFigures`.
        mean_drift: Mean absolute score difference of the captures asked.
        misses: What it missed, one line each; empty where the budget holds.
        expected_class_flips: Share of one class's flips to expect; see `CombinationFigures`. Of a
            candidate that was stopped, that of all.
    """

    logits: NDArray[np.float32]
    judged: int
    captures: int
    report: BudgetReport | None
    expected_flips: float
    mean_drift: float
    misses: tuple[str, ...]
    expected_class_flips: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every capture was asked and every figure is within its limit."""
        return self.report is not None and not self.misses


class Judge:
    """The development captures, the float graph's answers to them and its frozen thresholds.

    Captures are asked in the order of their distance to the threshold, nearest first, so that a
    candidate whose case is lost shows it soon.

    Attributes:
        limits: What a candidate is held to.
        order: Positions of the captures, in the order they are asked.

    Args:
        development: The captures and their labels.
        reference: float32 [N, classes], the float graph's logits, in list order.
        points: The float graph's operating points.
        specs: Preprocessing by modality.
        presence: Column order of the graph's presence input, or None.
        live_index: Which logit is bona fide.
        modalities: Model order.
        limits: The budget.
    """

    def __init__(
        self,
        development: DevelopmentSet,
        reference: NDArray[np.float32],
        points: Sequence[OperatingPoint],
        *,
        specs: Mapping[Modality, PreprocessSpec],
        presence: Sequence[Modality] | None,
        live_index: int,
        modalities: Sequence[Modality],
        limits: BudgetLimits,
    ) -> None:
        self.limits = limits
        self._captures = development.captures
        self._points = tuple(points)
        self._specs, self._presence, self._live_index = specs, presence, live_index
        self._present = [
            tuple(m for m in modalities if m in capture.present) for capture in self._captures
        ]
        records = development.records
        self.reference = Scores(
            values=self._scores(reference),
            is_bona_fide=np.array([record.is_bona_fide for record in records]),
            species=tuple(record.species for record in records),
            presentation=tuple(record.presentation for record in records),
            subject=tuple(record.subject for record in records),
            domain=tuple(record.domain for record in records),
        )
        thresholds = {tuple(point.modalities): point.threshold for point in self._points}
        self._thresholds = np.array([thresholds.get(held, np.nan) for held in self._present])
        self._counts = Counter(self._present)
        self.reference_odds = np.array([log_odds(row, live_index) for row in reference])
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = np.log(self._thresholds) - np.log1p(-self._thresholds)
        distance = np.abs(self.reference_odds - limit)
        self.order = np.argsort(np.where(np.isnan(distance), np.inf, distance), kind="stable")

    def batch(self, positions: Iterable[int]) -> Batch:
        """Return captures, by their positions in the list, as the graph's inputs."""
        captures = [self._captures[int(position)] for position in positions]
        return to_batch(captures, self._specs, self._presence)

    def odds(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds of bona fide, float64 [N], of logits [N, classes]."""
        return np.array([log_odds(row, self._live_index) for row in logits])

    def judge(
        self,
        open_runner: Callable[[], Runner],
        section: Section,
        name: str,
        *,
        progress: Progress,
        stop_early: bool = False,
    ) -> Judgment:
        """Ask a candidate every capture, or as many as it takes to see that its case is lost.

        Args:
            open_runner: Loads the candidate; not called where all answers are stored.
            section: Keeps the answers, so that a killed build does not ask again.
            name: What to keep them as.
            progress: Hears captures done, of how many.
            stop_early: Whether it may be stopped.

        Raises:
            BackendError: The candidate cannot be run.
        """
        count = len(self.order)
        stored = section.load_array(name)
        rows = [] if stored is None else list(stored[:count])
        runner: Runner | None = None
        lost = self._lost(rows) if stop_early else ""
        while len(rows) < count and not lost:
            runner = runner or open_runner()
            rows += list(runner(self.batch(self.order[len(rows) : len(rows) + _BATCH])))
            lost = self._lost(rows) if stop_early else ""
            section.save_rows(name, rows, last=len(rows) == count or bool(lost))
            progress(len(rows), count)
        return self._judgment(np.stack(rows), lost)

    def _lost(self, rows: Sequence[NDArray[np.float32]]) -> str:
        """Return why no further answer can save the candidate, or nothing."""
        if not rows or len(rows) == len(self.order):
            return ""
        asked = self.order[: len(rows)]
        before, after = self.reference.values[asked], self._scores(np.stack(rows))
        flips = self._flips(before, after, self._thresholds[asked])
        drift = np.where(np.isfinite(after), np.abs(after - before), 1.0)
        for held, of in self._counts.items():
            these = np.array([self._present[position] == held for position in asked])
            found, moved = int(flips[these].sum()), float(drift[these].sum())
            where = f"{'+'.join(m.value for m in held)}: given up after {len(rows)} captures: "
            if found > self.limits.max_flips * of + 1e-9:
                allowed = f"{self.limits.max_flips:g} of {of} are allowed"
                return f"{where}{found} decision flips where {allowed}"
            if moved > self.limits.max_drift * of + 1e-9:
                return (
                    f"{where}mean score drift at least {moved / of:.4f}, "
                    f"limit {self.limits.max_drift:g}"
                )
        return ""

    @staticmethod
    def _flips(
        before: NDArray[np.float64], after: NDArray[np.float64], thresholds: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        changed = ((before > thresholds) != (after > thresholds)) | ~np.isfinite(after)
        return np.asarray(changed & ~np.isnan(thresholds))

    def _judgment(self, rows: NDArray[np.float32], lost: str) -> Judgment:
        count, asked = len(self.order), self.order[: len(rows)]
        logits = np.full((count, rows.shape[1]), np.nan, np.float32)
        logits[asked] = rows
        scores = self._scores(logits)
        if lost:
            before, after = self.reference.values[asked], scores[asked]
            known = ~np.isnan(self._thresholds[asked])
            # The captures not asked lie farther from the threshold: as if none of them flipped.
            expected = max(
                expected_flips(before[these], after[these], threshold) * these.sum() / of
                for threshold, of in self._by_threshold()
                if (these := known & (self._thresholds[asked] == threshold)).any()
            )
            drift = np.where(np.isfinite(after), np.abs(after - before), 1.0)
            return Judgment(
                logits,
                len(rows),
                count,
                None,
                float(expected),
                float(drift.mean()),
                (lost,),
                float(expected),
            )
        report = judge_budget(self.reference, scores, self._present, self._points, self.limits)
        return Judgment(
            logits,
            count,
            count,
            report,
            report.expected_flips,
            report.mean_drift,
            report.misses,
            report.expected_class_flips,
        )

    def _by_threshold(self) -> list[tuple[float, int]]:
        known = self._thresholds[~np.isnan(self._thresholds)]
        return [(float(t), int((known == t).sum())) for t in np.unique(known)]

    def _scores(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.array([live_score(row, self._live_index) for row in logits])
