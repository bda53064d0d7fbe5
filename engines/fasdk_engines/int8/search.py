"""`--precision auto`: give layers back to floating point, worst first, until the budget holds.

A layer's worth is the error it removes over the multiply-accumulates it gives back. The layers are
tried in that order, as prefixes: every candidate is a whole graph, judged as written on every
development capture. The budget is a must, whatever it costs: the flips that were counted and the
flips to expect of other captures scored alike, because none of 200 says little of one in 1,000.

Captures that nobody has seen yet differ, so beyond it a margin is aimed at: half of the score drift
and a tenth of the flips to expect. A tenth, because among a hundred presentations of a species one
flip is ten times what a rate may change by. The margin may cost layers as long as nine tenths of
the multiply-accumulates stay in eight bits; where it cannot be had for that, the candidate with the
fewest flips to expect is taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from fasdk_engines.int8.costs import LayerCost, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_calibration.budget import BudgetLimits
    from fasdk_engines.int8.judge import Judgement
    from fasdk_engines.quantisation import Layer

# Shares of what is allowed that are aimed at.
MARGIN_OF_FLIPS, MARGIN_OF_DRIFT = 0.1, 0.5
SHARE_FOR_MARGIN = 0.9  # of the multiply-accumulates of Linear and Conv layers
SEARCH_SECONDS = 300.0  # after which a candidate that holds is good enough


class Level(str, Enum):
    """How well a candidate does, from bad to good."""

    MISSES = "misses"
    HOLDS = "holds"
    HOLDS_WITH_MARGIN = "holds with margin"

    def reaches(self, wanted: Level) -> bool:
        """Return whether it is as good as `wanted`, or better."""
        levels = list(Level)
        return levels.index(self) >= levels.index(wanted)


@dataclass(frozen=True)
class Trial:
    """One candidate and how it did.

    Attributes:
        kept_float: Layers given back, most worth first.
        int8_share: Share of the multiply-accumulates of Linear and Conv layers in eight bits.
        judged: Captures it was asked; all of them unless its case was lost before.
        captures: Development captures.
        level: How well it did.
        expected_flips: Share of flips to expect; see `CombinationFigures`.
        mean_drift: Mean absolute score difference.
        misses: What it missed.
    """

    kept_float: tuple[str, ...]
    int8_share: float
    judged: int
    captures: int
    level: Level
    expected_flips: float
    mean_drift: float
    misses: tuple[str, ...]

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        kept_float: Sequence[str],
        judgement: Judgement,
        limits: BudgetLimits,
    ) -> Trial:
        """Note how a candidate did."""
        misses = judgement.misses
        if not judgement.expected_flips <= limits.max_flips:
            misses += (
                f"decision flips to expect {judgement.expected_flips:.4f}, "
                f"limit {limits.max_flips:g}",
            )
        return cls(
            kept_float=tuple(kept_float),
            int8_share=int8_share(layers, kept_float),
            judged=judgement.judged,
            captures=judgement.captures,
            level=level_of(judgement, limits),
            expected_flips=judgement.expected_flips,
            mean_drift=judgement.mean_drift,
            misses=misses,
        )


@dataclass
class Search:
    """The search over prefixes of an order of layers.

    Attributes:
        layers: Every Linear and Conv, in graph order.
        order: Names of the layers in eight bits, most worth giving back first.
        judge: Judges a graph with these layers in floating point.
        limits: The budget.
        trials: Every candidate judged, in order.
        seconds: After this long a candidate that holds ends the search.
        clock: Tells the time in seconds.
    """

    layers: Sequence[Layer]
    order: Sequence[str]
    judge: Callable[[frozenset[str]], Judgement]
    limits: BudgetLimits
    trials: list[Trial] = field(default_factory=list)
    seconds: float = SEARCH_SECONDS
    clock: Callable[[], float] = time.monotonic
    _judged: dict[tuple[str, ...], tuple[Trial, Judgement]] = field(default_factory=dict)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._since = self.clock()

    def run(self, guess: Callable[[Trial], int]) -> tuple[Trial, Judgement] | None:
        """Return the candidate to take, or None where even the float graph misses the budget.

        Args:
            guess: From the first trial, how many layers to give back next.
        """
        first, _ = found = self._candidate(())
        if first.level is Level.HOLDS_WITH_MARGIN:
            return found
        start = guess(first)
        with_margin = self._shortest(
            Level.HOLDS_WITH_MARGIN, affordable(self.layers, self.order), start
        )
        if with_margin is not None:
            return with_margin
        # No margin to be had: as much of one as there is. More layers mostly give more.
        reserve = affordable(self.layers, self.order)
        for count in range(len(reserve), 0, -1):
            if self._is_late() or self._candidate(reserve[:count])[0].level is Level.HOLDS:
                break
        holding = [tried for tried in self._judged.values() if tried[0].level is Level.HOLDS]
        if holding:
            return min(holding, key=lambda tried: tried[0].expected_flips)
        return self._shortest(Level.HOLDS, tuple(self.order), start)

    def _candidate(self, kept: tuple[str, ...]) -> tuple[Trial, Judgement]:
        """Judge the candidate that gives back these layers, once."""
        if kept not in self._judged:
            judgement = self.judge(frozenset(kept))
            trial = Trial.of(self.layers, kept, judgement, self.limits)
            self.trials.append(trial)
            self._judged[kept] = trial, judgement
        return self._judged[kept]

    def _shortest(
        self, wanted: Level, order: tuple[str, ...], start: int
    ) -> tuple[Trial, Judgement] | None:
        """Return the shortest prefix of an order found to reach a level, by bisection.

        The empty one is known not to. Where a longer prefix does worse than a shorter one, a
        neighbour of the shortest may be found instead; what is returned has always been judged.
        """
        low, high, step = 0, len(order) + 1, max(1, start)
        found = None
        while high - low > 1:
            count = min(len(order), low + step) if found is None else (low + high) // 2
            tried = self._candidate(order[:count])
            if tried[0].level.reaches(wanted):
                high, found = count, tried
            else:
                low, step = count, 2 * step
            if self._is_late() and (found is not None or self._any_holds()):
                break
        return found

    def _is_late(self) -> bool:
        return self.clock() - self._since > self.seconds

    def _any_holds(self) -> bool:
        return any(trial.level.reaches(Level.HOLDS) for trial in self.trials)


def level_of(judgement: Judgement, limits: BudgetLimits) -> Level:
    """Return how well a candidate did."""
    if not judgement.holds or judgement.expected_flips > limits.max_flips:
        return Level.MISSES
    with_margin = (
        judgement.expected_flips <= MARGIN_OF_FLIPS * limits.max_flips
        and judgement.mean_drift <= MARGIN_OF_DRIFT * limits.max_drift
    )
    return Level.HOLDS_WITH_MARGIN if with_margin else Level.HOLDS


def affordable(layers: Sequence[Layer], order: Sequence[str]) -> tuple[str, ...]:
    """Return the layers that may be given back for margin, in order, without those too large."""
    taken: list[str] = []
    for name in order:
        if int8_share(layers, [*taken, name]) >= SHARE_FOR_MARGIN:
            taken.append(name)
    return tuple(taken)


def int8_share(layers: Sequence[Layer], kept_float: Sequence[str]) -> float:
    """Return the share of Linear and Conv multiply-accumulates in eight bits."""
    kept, total = set(kept_float), sum(layer.macs for layer in layers)
    in_int8 = sum(y.macs for y in layers if y.quantised and y.name not in kept)
    return in_int8 / total if total else 0.0


def guess_length(costs: Sequence[LayerCost], first: Trial, limits: BudgetLimits) -> int:
    """Return how many layers to give back for the margin, were their errors independent.

    Flips and drift are in proportion to the error's root mean square, and the squares of
    independent errors add up.
    """
    excess = max(
        first.expected_flips / max(MARGIN_OF_FLIPS * limits.max_flips, 1e-12),
        first.mean_drift / max(MARGIN_OF_DRIFT * limits.max_drift, 1e-12),
        1.0,
    )
    errors = {cost.name: cost.error for cost in costs}
    left = total = sum(errors.values())
    if not math.isfinite(total):  # as many as break it, and one more
        return min(len(costs), 1 + sum(not math.isfinite(error) for error in errors.values()))
    for count, name in enumerate(ranked(costs), start=1):
        left -= errors[name]
        if left <= total / excess**2:
            return count
    return len(costs)
