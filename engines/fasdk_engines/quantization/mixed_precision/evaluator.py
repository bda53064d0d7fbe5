"""Evaluation of a candidate graph against the liveness budget on the development captures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import live_score
from fasdk.decision import log_odds as log_odds_of
from fasdk.preprocess import to_batch
from fasdk_calibration.metrics import Scores
from fasdk_engines.quantization.mixed_precision.budget import (
    BudgetLimits,
    BudgetReport,
    check_budget,
    expected_flips,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.decision import OperatingPoint
    from fasdk.preprocess import PreprocessSpec
    from fasdk.progress import Progress
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.quantization.work_folder import Section

    Batch = Mapping[str, NDArray[np.float32]]
    Runner = Callable[[Batch], NDArray[np.float32]]

_BATCH = 8


@dataclass(frozen=True, eq=False)
class BudgetEvaluation:
    """Result of evaluating one candidate graph.

    Attributes:
        logits: float32 [N, classes] in the order of the list; NaN where it was not evaluated.
        evaluated: Number of captures evaluated; fewer than N where it was stopped because the
            budget was already missed.
        captures: N, the number of development captures.
        report: Every figure against its limit, or None where it was stopped.
        expected_flips: Expected share of flips; see `CombinationFigures`.
        mean_drift: Mean absolute score difference of the captures evaluated, in [0, 1].
        misses: Messages, one for each limit it misses; empty where the budget holds.
        expected_class_flips: Expected share of flips of one class; see `CombinationFigures`. For a
            candidate that was stopped, that of all captures.
    """

    logits: NDArray[np.float32]
    evaluated: int
    captures: int
    report: BudgetReport | None
    expected_flips: float
    mean_drift: float
    misses: tuple[str, ...]
    expected_class_flips: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every capture was evaluated and every figure is within its limit."""
        return self.report is not None and not self.misses


class BudgetEvaluator:
    """Evaluates candidate graphs against the float graph at its frozen operating points.

    Captures are evaluated in the order of their distance to the threshold, nearest first, so that a
    candidate that misses the budget shows it early.

    Attributes:
        limits: Limits of the budget.
        order: Positions of the captures in the list, in the order they are evaluated.

    Args:
        development: The captures and their labels.
        reference: float32 [N, classes], the float graph's logits, in list order.
        points: The float graph's operating points.
        specs: Preprocessing by modality.
        presence: Column order of the graph's presence input, or None.
        live_index: Index of the bona fide logit.
        modalities: Modalities in model order.
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
        self.reference = Scores.of_captures(development.records, self._scores(reference))
        thresholds = {tuple(point.modalities): point.threshold for point in self._points}
        self._thresholds = np.array([thresholds.get(held, np.nan) for held in self._present])
        self._counts = Counter(self._present)
        self.reference_log_odds = np.array([log_odds_of(row, live_index) for row in reference])
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = np.log(self._thresholds) - np.log1p(-self._thresholds)
        distance = np.abs(self.reference_log_odds - limit)
        self.order = np.argsort(np.where(np.isnan(distance), np.inf, distance), kind="stable")

    def batch(self, positions: Iterable[int]) -> Batch:
        """Return captures, by their positions in the list, as graph inputs, float32 [B, ...]."""
        captures = [self._captures[int(position)] for position in positions]
        return to_batch(captures, self._specs, self._presence)

    def log_odds(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds of bona fide, float64 [N], of logits [N, classes]."""
        return np.array([log_odds_of(row, self._live_index) for row in logits])

    def evaluate(
        self,
        open_runner: Callable[[], Runner],
        section: Section,
        name: str,
        *,
        progress: Progress,
        task: str = "candidate",
        stop_early: bool = False,
    ) -> BudgetEvaluation:
        """Run a candidate on every capture, or until the budget can no longer hold.

        Args:
            open_runner: Loads the candidate; not called where all logits are stored.
            section: Stores logits, so that a killed build does not compute them again.
            name: Name to store them under.
            progress: Receives the captures evaluated, of how many.
            task: Name of the task to report progress of.
            stop_early: Whether to stop as soon as the budget is missed.

        Raises:
            BackendError: The candidate cannot be run.
        """
        count = len(self.order)
        stored = section.load_array(name)
        rows = [] if stored is None else list(stored[:count])
        runner: Runner | None = None
        miss = self._early_miss(rows) if stop_early else ""
        while len(rows) < count and not miss:
            runner = runner or open_runner()
            rows += list(runner(self.batch(self.order[len(rows) : len(rows) + _BATCH])))
            miss = self._early_miss(rows) if stop_early else ""
            section.save_rows(name, rows, last=len(rows) == count or bool(miss))
            progress.update(task, len(rows), count)
        return self._evaluation(np.stack(rows), miss)

    def _early_miss(self, rows: Sequence[NDArray[np.float32]]) -> str:
        """Return the limit that is missed whatever the remaining captures give; empty if none."""
        if not rows or len(rows) == len(self.order):
            return ""
        evaluated = self.order[: len(rows)]
        before, after = self.reference.values[evaluated], self._scores(np.stack(rows))
        flips = self._flips(before, after, self._thresholds[evaluated])
        drift = np.where(np.isfinite(after), np.abs(after - before), 1.0)
        for held, of in self._counts.items():
            these = np.array([self._present[position] == held for position in evaluated])
            found, moved = int(flips[these].sum()), float(drift[these].sum())
            where = f"{'+'.join(m.value for m in held)}: stopped after {len(rows)} captures: "
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

    def _evaluation(self, rows: NDArray[np.float32], miss: str) -> BudgetEvaluation:
        count, evaluated = len(self.order), self.order[: len(rows)]
        logits = np.full((count, rows.shape[1]), np.nan, np.float32)
        logits[evaluated] = rows
        scores = self._scores(logits)
        if miss:
            before, after = self.reference.values[evaluated], scores[evaluated]
            known = ~np.isnan(self._thresholds[evaluated])
            # The remaining captures lie farther from the threshold: none is counted as a flip.
            expected = max(
                expected_flips(before[these], after[these], threshold) * these.sum() / of
                for threshold, of in self._by_threshold()
                if (these := known & (self._thresholds[evaluated] == threshold)).any()
            )
            drift = np.where(np.isfinite(after), np.abs(after - before), 1.0)
            return BudgetEvaluation(
                logits=logits,
                evaluated=len(rows),
                captures=count,
                report=None,
                expected_flips=float(expected),
                mean_drift=float(drift.mean()),
                misses=(miss,),
                expected_class_flips=float(expected),
            )
        report = check_budget(self.reference, scores, self._present, self._points, self.limits)
        return BudgetEvaluation(
            logits=logits,
            evaluated=count,
            captures=count,
            report=report,
            expected_flips=report.expected_flips,
            mean_drift=report.mean_drift,
            misses=report.misses,
            expected_class_flips=report.expected_class_flips,
        )

    def _by_threshold(self) -> list[tuple[float, int]]:
        known = self._thresholds[~np.isnan(self._thresholds)]
        return [(float(t), int((known == t).sum())) for t in np.unique(known)]

    def _scores(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.array([live_score(row, self._live_index) for row in logits])
