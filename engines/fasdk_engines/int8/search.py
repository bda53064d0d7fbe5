"""`--precision auto`: give layers back to floating point, worst first, until the budget holds.

A layer's worth is the error it removes over the multiply-accumulates it gives back. The layers are
tried in that order, as prefixes: every candidate is a whole graph, judged as written on every
development capture. The budget itself is a must. Captures that nobody has seen yet differ, so
beyond it half of the flips and of the score drift is aimed at, flips as they are to be expected of
other captures scored alike; that margin may cost layers as long as nine tenths of the
multiply-accumulates stay in eight bits.
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

MARGIN = 0.5  # share of the flips and of the drift allowed that is aimed at
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
        return cls(
            kept_float=tuple(kept_float),
            int8_share=int8_share(layers, kept_float),
            judged=judgement.judged,
            captures=judgement.captures,
            level=level_of(judgement, limits),
            expected_flips=judgement.expected_flips,
            mean_drift=judgement.mean_drift,
            misses=judgement.misses,
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
    _judged: dict[int, tuple[Trial, Judgement]] = field(default_factory=dict)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._since = self.clock()

    def run(self, guess: Callable[[Trial], int]) -> tuple[Trial, Judgement] | None:
        """Return the candidate to take, or None where even the float graph misses the budget.

        Args:
            guess: From the first trial, how many layers to give back next.
        """
        first = self.level(0)
        if first is Level.HOLDS_WITH_MARGIN:
            return self._judged[0]
        affordable = self._affordable()
        start = guess(self._judged[0][0])
        found = self._shortest(Level.HOLDS_WITH_MARGIN, 0, affordable, start)
        if found is not None:
            return self._judged[found]
        holding = [n for n, (t, _) in self._judged.items() if t.level.reaches(Level.HOLDS)]
        if holding:  # no margin to be had: as much of one as there is
            return self._judged[min(holding, key=lambda n: self._judged[n][0].expected_flips)]
        found = self._shortest(Level.HOLDS, affordable, len(self.order), start)
        return None if found is None else self._judged[found]

    def level(self, count: int) -> Level:
        """Judge the candidate that gives back the first `count` layers, once."""
        if count not in self._judged:
            kept = tuple(self.order[:count])
            judgement = self.judge(frozenset(kept))
            trial = Trial.of(self.layers, kept, judgement, self.limits)
            self.trials.append(trial)
            self._judged[count] = trial, judgement
        return self._judged[count][0].level

    def _affordable(self) -> int:
        """Return the longest prefix that leaves enough in eight bits to be spent on margin."""
        count = 0
        while (
            count < len(self.order)
            and int8_share(self.layers, self.order[: count + 1]) >= SHARE_FOR_MARGIN
        ):
            count += 1
        return count

    def _shortest(self, wanted: Level, low: int, limit: int, start: int) -> int | None:
        """Return the shortest prefix in (low, limit] found to reach a level, by bisection.

        `low` is known not to reach it. Where a longer prefix does worse than a shorter one, a
        neighbour of the shortest may be found instead; what is returned has always been judged.
        """
        high: int | None = None
        step = max(1, start - low)
        while low < (limit if high is None else high - 1):
            count = min(limit, low + step) if high is None else (low + high) // 2
            if self.level(count).reaches(wanted):
                high = count
            else:
                low, step = count, 2 * step
            if self._is_late() and (high is not None or self._any_holds()):
                break
        return high

    def _is_late(self) -> bool:
        return self.clock() - self._since > self.seconds

    def _any_holds(self) -> bool:
        return any(trial.level.reaches(Level.HOLDS) for trial in self.trials)


def level_of(judgement: Judgement, limits: BudgetLimits) -> Level:
    """Return how well a candidate did."""
    if not judgement.holds:
        return Level.MISSES
    with_margin = (
        judgement.expected_flips <= MARGIN * limits.max_flips
        and judgement.mean_drift <= MARGIN * limits.max_drift
    )
    return Level.HOLDS_WITH_MARGIN if with_margin else Level.HOLDS


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
        first.expected_flips / max(MARGIN * limits.max_flips, 1e-12),
        first.mean_drift / max(MARGIN * limits.max_drift, 1e-12),
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
