"""Mixed-precision search: the fewest changes to layers with which the liveness budget holds.

A layer in INT8 has two fallbacks. Its activation is held in two INT8 terms, so that its weight is
multiplied twice and stays in INT8; or the layer reverts to float, which leaves no error at all.
Either takes the time of a float16 layer. The worth of a fallback is the error it removes divided by
the multiply-accumulates of the layer. Fallbacks are made in the order of their worth, and the
search is over prefixes of that order: every candidate is a whole graph, evaluated by the Q/DQ
reference on every development capture.

The budget must hold, whatever it costs: for the flips that were counted and for the expected flips
of other captures scored alike, because no flip among 200 captures says little about one in 1,000.
Captures not seen yet differ from these, so a margin beyond the budget is aimed at: half of the
allowed score drift and a fifth of the allowed flips, expected of all captures and of either class
alone. A fifth, because among a hundred presentations of a species one flip is ten times what a rate
may change by; of either class, because a threshold mostly lies among bona fide presentations, and
then every flip is one of theirs. For the budget and for the margin, nine tenths of the
multiply-accumulates stay in INT8 if that is enough; only the budget may cost more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from fasdk_engines.quantization.graph.layers import int8_share
from fasdk_engines.quantization.mixed_precision.sensitivity import (
    LayerSensitivity,
    working_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_engines.quantization.graph.layers import Layer
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
    from fasdk_engines.quantization.mixed_precision.evaluator import BudgetEvaluation

# Shares of the allowed expected flips and mean drift that are aimed at.
MARGIN_OF_FLIPS, MARGIN_OF_DRIFT = 0.2, 0.5
MIN_INT8_SHARE = 0.9  # of the multiply-accumulates of Linear and Conv layers, where possible
SEARCH_SECONDS = 150.0  # of work on all cores, after which a candidate that holds is taken


class BudgetStatus(str, Enum):
    """Outcome of a candidate, from worst to best."""

    MISSES = "misses"
    HOLDS = "holds"
    HOLDS_WITH_MARGIN = "holds with margin"

    def reaches(self, wanted: BudgetStatus) -> bool:
        """Return whether it is as good as `wanted`, or better."""
        statuses = list(BudgetStatus)
        return statuses.index(self) >= statuses.index(wanted)


@dataclass(frozen=True)
class Fallback:
    """One change that makes a layer more accurate.

    Attributes:
        name: Name of the layer's node.
        to_float: Whether the layer reverts to float; else its activation gets two INT8 terms.
        gain: Error it removes, a mean square of log-odds; see `LayerSensitivity`.
        macs: Multiply-accumulates of the layer for one capture.
    """

    name: str
    to_float: bool
    gain: float
    macs: int


@dataclass(frozen=True)
class PrecisionAssignment:
    """Layers that differ from plain INT8.

    Attributes:
        float_layers: Names of layers in floating point.
        residual_layers: Names of layers in INT8 whose activation is held in two INT8 terms.
    """

    float_layers: frozenset[str] = frozenset()
    residual_layers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trial:
    """One candidate and its figures, as calibration.json records it.

    Attributes:
        float_layers: Names of layers reverted to float, most worth first.
        residual_layers: Names of layers whose activation is held in two INT8 terms, in graph order.
        int8_share: Share of the multiply-accumulates of Linear and Conv layers in INT8, in [0, 1].
        evaluated: Number of captures evaluated; all of them unless the budget was missed before.
        captures: Number of development captures.
        status: Whether the budget holds, and with margin.
        expected_flips: Expected share of flips; see `CombinationFigures`.
        mean_drift: Mean absolute score difference, in [0, 1].
        misses: Messages, one for each limit it misses.
        expected_class_flips: Expected share of flips of one class; see `CombinationFigures`.
    """

    float_layers: tuple[str, ...]
    residual_layers: tuple[str, ...]
    int8_share: float
    evaluated: int
    captures: int
    status: BudgetStatus
    expected_flips: float
    mean_drift: float
    misses: tuple[str, ...]
    expected_class_flips: float = 0.0

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        float_layers: Sequence[str],
        residual_layers: frozenset[str],
        evaluation: BudgetEvaluation,
        limits: BudgetLimits,
    ) -> Trial:
        """Summarize the evaluation of a candidate."""
        misses = evaluation.misses
        if not evaluation.expected_flips <= limits.max_flips:
            misses += (
                f"expected decision flips {evaluation.expected_flips:.4f}, "
                f"limit {limits.max_flips:g}",
            )
        return cls(
            float_layers=tuple(float_layers),
            residual_layers=tuple(y.name for y in layers if y.name in residual_layers),
            int8_share=int8_share(layers, float_layers),
            evaluated=evaluation.evaluated,
            captures=evaluation.captures,
            status=budget_status(evaluation, limits),
            expected_flips=evaluation.expected_flips,
            mean_drift=evaluation.mean_drift,
            misses=misses,
            expected_class_flips=evaluation.expected_class_flips,
        )


@dataclass(frozen=True, eq=False)
class Candidate:
    """A precision assignment that was evaluated.

    Attributes:
        trial: Figures of the candidate.
        assignment: The layers that differ from plain INT8.
        evaluation: Evaluation against the budget, logits included.
    """

    trial: Trial
    assignment: PrecisionAssignment
    evaluation: BudgetEvaluation


@dataclass
class Search:
    """Search over prefixes of a ranked list of fallbacks.

    Attributes:
        layers: Every Linear and Conv layer, in graph order.
        residual_layers: Names of layers that start with their activation in two INT8 terms.
        fallbacks: Fallbacks that leave `MIN_INT8_SHARE` in INT8, most worth first.
        further_fallbacks: Fallbacks to be made after all of those, most worth first.
        evaluate: Evaluates a precision assignment.
        limits: Limits of the budget.
        trials: Every candidate evaluated, in order.
        seconds: After this time a candidate that holds ends the search.
        clock: Returns the time in seconds.
    """

    layers: Sequence[Layer]
    residual_layers: frozenset[str]
    fallbacks: tuple[Fallback, ...]
    further_fallbacks: tuple[Fallback, ...]
    evaluate: Callable[[PrecisionAssignment], BudgetEvaluation]
    limits: BudgetLimits
    trials: list[Trial] = field(default_factory=list)
    seconds: float = SEARCH_SECONDS
    clock: Callable[[], float] = working_seconds
    _evaluated: dict[tuple[Fallback, ...], Candidate] = field(default_factory=dict)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._since = self.clock()

    def run(self, estimate: Callable[[Trial], int]) -> Candidate | None:
        """Return the candidate to take, or None where even the float graph misses the budget.

        Args:
            estimate: Returns, from the first trial, how many fallbacks to make next.
        """
        first = self._candidate(())
        if first.trial.status is BudgetStatus.HOLDS_WITH_MARGIN:
            return first
        start = estimate(first.trial)
        found = self._shortest(BudgetStatus.HOLDS_WITH_MARGIN, (), self.fallbacks, start)
        if found is not None:
            return found
        # The margin is out of reach: get as close to it as possible. More fallbacks mostly help.
        for count in range(len(self.fallbacks), 0, -1):
            if self._is_late():
                break
            if self._candidate(self.fallbacks[:count]).trial.status is BudgetStatus.HOLDS:
                break
        holding = [x for x in self._evaluated.values() if x.trial.status is BudgetStatus.HOLDS]
        if holding:
            return min(holding, key=lambda tried: _excess_flips(tried.trial, self.limits))
        return self._shortest(BudgetStatus.HOLDS, self.fallbacks, self.further_fallbacks, 1)

    def _candidate(self, fallbacks: tuple[Fallback, ...]) -> Candidate:
        """Evaluate the candidate that makes these fallbacks, once."""
        if fallbacks not in self._evaluated:
            reverted = tuple(fallback.name for fallback in fallbacks if fallback.to_float)
            improved = self.residual_layers.union(fallback.name for fallback in fallbacks)
            assignment = PrecisionAssignment(frozenset(reverted), improved.difference(reverted))
            evaluation = self.evaluate(assignment)
            trial = Trial.of(
                self.layers, reverted, assignment.residual_layers, evaluation, self.limits
            )
            self.trials.append(trial)
            self._evaluated[fallbacks] = Candidate(trial, assignment, evaluation)
        return self._evaluated[fallbacks]

    def _shortest(
        self,
        wanted: BudgetStatus,
        made: tuple[Fallback, ...],
        fallbacks: tuple[Fallback, ...],
        start: int,
    ) -> Candidate | None:
        """Return the fewest fallbacks found to reach a status after those made, by bisection.

        No fallback at all is known not to reach it. Where more fallbacks do worse than fewer, a
        neighbor of the fewest may be found instead; what is returned has always been evaluated.
        """
        low, high, step = 0, len(fallbacks) + 1, max(1, start)
        found = None
        while high - low > 1:
            count = min(len(fallbacks), low + step) if found is None else (low + high) // 2
            tried = self._candidate(made + fallbacks[:count])
            if tried.trial.status.reaches(wanted):
                high, found = count, tried
            else:
                low, step = count, 2 * step
            if self._is_late() and (found is not None or self._any_holds()):
                break
        return found

    def _is_late(self) -> bool:
        return self.clock() - self._since > self.seconds

    def _any_holds(self) -> bool:
        return any(trial.status.reaches(BudgetStatus.HOLDS) for trial in self.trials)


def budget_status(evaluation: BudgetEvaluation, limits: BudgetLimits) -> BudgetStatus:
    """Return whether a candidate misses the budget, holds it, or holds it with margin."""
    if not evaluation.holds or evaluation.expected_flips > limits.max_flips:
        return BudgetStatus.MISSES
    with_margin = (
        _excess_flips(evaluation, limits) <= 1.0
        and evaluation.mean_drift <= MARGIN_OF_DRIFT * limits.max_drift
    )
    return BudgetStatus.HOLDS_WITH_MARGIN if with_margin else BudgetStatus.HOLDS


def _excess_flips(found: BudgetEvaluation | Trial, limits: BudgetLimits) -> float:
    """Return expected flips over those aimed at, the worse of all captures and of one class."""
    return max(
        found.expected_flips / max(MARGIN_OF_FLIPS * limits.max_flips, 1e-12),
        found.expected_class_flips / max(MARGIN_OF_FLIPS * limits.max_rate_change, 1e-12),
    )


def rank_fallbacks(
    layers: Sequence[Layer],
    sensitivities: Sequence[LayerSensitivity],
    residual_layers: frozenset[str],
) -> tuple[tuple[Fallback, ...], tuple[Fallback, ...]]:
    """Rank fallbacks by error removed for each multiply-accumulate, then by graph order.

    Two INT8 terms take nothing from the INT8 share, so what may revert to float is spent where two
    terms would leave most error.

    Args:
        layers: Every Linear and Conv layer.
        sensitivities: Sensitivity of each layer in INT8.
        residual_layers: Names of layers whose activation is held in two INT8 terms already.

    Returns:
        The fallbacks that leave `MIN_INT8_SHARE` in INT8, and those that may follow.
    """

    def worth(fallback: Fallback) -> float:
        return fallback.gain / max(1, fallback.macs)

    to_float = sorted(
        (Fallback(s.name, True, s.residual_error, s.macs) for s in sensitivities),
        key=worth,
        reverse=True,
    )
    affordable: list[Fallback] = []
    for fallback in to_float:
        if int8_share(layers, [x.name for x in (*affordable, fallback)]) >= MIN_INT8_SHARE:
            affordable.append(fallback)
    reverting = {fallback.name for fallback in affordable}
    whole = {s.name: _current_error(s, residual_layers) for s in sensitivities}
    fallbacks = [replace(fallback, gain=whole[fallback.name]) for fallback in affordable]
    fallbacks += [
        Fallback(s.name, False, s.error - s.residual_error, s.macs)
        for s in sensitivities
        if s.name not in residual_layers | reverting and s.residual_error < s.error
    ]
    further = tuple(fallback for fallback in to_float if fallback.name not in reverting)
    return tuple(sorted(fallbacks, key=worth, reverse=True)), further


def _current_error(sensitivity: LayerSensitivity, residual_layers: frozenset[str]) -> float:
    is_residual = sensitivity.name in residual_layers
    return sensitivity.residual_error if is_residual else sensitivity.error


def estimate_fallbacks(
    sensitivities: Sequence[LayerSensitivity],
    residual_layers: frozenset[str],
    fallbacks: Sequence[Fallback],
    first: Trial,
    limits: BudgetLimits,
) -> int:
    """Return how many fallbacks reach the margin if the errors of layers were independent.

    Flips and drift are proportional to the root mean square of the error, and the squares of
    independent errors add up.

    Args:
        sensitivities: Sensitivity of each layer in INT8.
        residual_layers: Names of layers whose activation is held in two INT8 terms already.
        fallbacks: Fallbacks in the order they are tried.
        first: The trial without fallbacks.
        limits: Limits of the budget.
    """
    excess = max(
        _excess_flips(first, limits),
        first.mean_drift / max(MARGIN_OF_DRIFT * limits.max_drift, 1e-12),
        1.0,
    )
    left = total = sum(_current_error(s, residual_layers) for s in sensitivities)
    if not math.isfinite(total):  # as many as have an infinite error, and one more
        return min(len(fallbacks), 1 + sum(not math.isfinite(x.gain) for x in fallbacks))
    for count, fallback in enumerate(fallbacks, start=1):
        left -= fallback.gain
        if left <= total / excess**2:
            return count
    return len(fallbacks)
