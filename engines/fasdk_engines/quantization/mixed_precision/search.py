"""`--precision auto`: spend accuracy on layers, where it buys most, until the budget holds.

A layer in eight bits can be eased in two ways. Its activation is held in two int8 terms, so that it
multiplies twice and stays in eight bits; or it is given back to floating point, which leaves no
error at all. Either takes the time of a float16 layer. A move's worth is the error it removes over
the layer's multiply-accumulates; moves are made in that order, as prefixes: every candidate is a
whole graph, judged as written on every development capture.

The budget is a must, whatever it costs: the flips that were counted and the flips to expect of
other captures scored alike, because none of 200 says little of one in 1,000. Captures that nobody
has seen yet differ, so beyond it a margin is aimed at: half of the score drift and a fifth of the
flips to expect, of all captures and of either class alone. A fifth, because among a hundred
presentations of a species one flip is ten times what a rate may change by; of either class, because
a threshold mostly lies among bona fide presentations, and then every flip is one of theirs. For the
budget, and for the margin, nine tenths of the
multiply-accumulates stay in eight bits if that is enough; only the budget may cost more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from fasdk_engines.quantization.mixed_precision.sensitivity import LayerCost, working_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_engines.quantization import Layer
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
    from fasdk_engines.quantization.mixed_precision.evaluator import Judgment

# Shares of what is allowed that are aimed at.
MARGIN_OF_FLIPS, MARGIN_OF_DRIFT = 0.2, 0.5
KEPT_SHARE = 0.9  # of the multiply-accumulates of Linear and Conv layers, where possible
SEARCH_SECONDS = 150.0  # of work on all cores, after which a candidate that holds is good enough


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
class Move:
    """One layer eased.

    Attributes:
        name: Its node's name.
        to_float: Whether it goes to floating point; else its activation gets two int8 terms.
        gain: Error it removes; see `LayerCost`.
        macs: Its multiply-accumulates.
    """

    name: str
    to_float: bool
    gain: float
    macs: int


@dataclass(frozen=True)
class Mixture:
    """Which layers are not in plain eight bits.

    Attributes:
        kept_float: Those in floating point.
        two_terms: Those in eight bits with their activation in two int8 terms.
    """

    kept_float: frozenset[str] = frozenset()
    two_terms: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trial:
    """One candidate and how it did.

    Attributes:
        kept_float: Layers given back, most worth first.
        two_terms: Layers whose activation is held in two int8 terms, in graph order.
        int8_share: Share of the multiply-accumulates of Linear and Conv layers in eight bits.
        judged: Captures it was asked; all of them unless its case was lost before.
        captures: Development captures.
        level: How well it did.
        expected_flips: Share of flips to expect; see `CombinationFigures`.
        mean_drift: Mean absolute score difference.
        misses: What it missed.
        expected_class_flips: Share of one class's flips to expect; see `CombinationFigures`.
    """

    kept_float: tuple[str, ...]
    two_terms: tuple[str, ...]
    int8_share: float
    judged: int
    captures: int
    level: Level
    expected_flips: float
    mean_drift: float
    misses: tuple[str, ...]
    expected_class_flips: float = 0.0

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        kept_float: Sequence[str],
        two_terms: frozenset[str],
        judgment: Judgment,
        limits: BudgetLimits,
    ) -> Trial:
        """Note how a candidate did."""
        misses = judgment.misses
        if not judgment.expected_flips <= limits.max_flips:
            misses += (
                f"decision flips to expect {judgment.expected_flips:.4f}, "
                f"limit {limits.max_flips:g}",
            )
        return cls(
            kept_float=tuple(kept_float),
            two_terms=tuple(y.name for y in layers if y.name in two_terms),
            int8_share=int8_share(layers, kept_float),
            judged=judgment.judged,
            captures=judgment.captures,
            level=level_of(judgment, limits),
            expected_flips=judgment.expected_flips,
            mean_drift=judgment.mean_drift,
            misses=misses,
            expected_class_flips=judgment.expected_class_flips,
        )


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mixture that was judged."""

    trial: Trial
    mixture: Mixture
    judgment: Judgment


@dataclass
class Search:
    """The search over prefixes of moves.

    Attributes:
        layers: Every Linear and Conv, in graph order.
        two_terms: Layers that start with their activation in two int8 terms.
        moves: Moves that leave `KEPT_SHARE` in eight bits, most worth first.
        further: Moves to be made after all of those, most worth first.
        judge: Judges a graph.
        limits: The budget.
        trials: Every candidate judged, in order.
        seconds: After this long a candidate that holds ends the search.
        clock: Tells the time in seconds.
    """

    layers: Sequence[Layer]
    two_terms: frozenset[str]
    moves: tuple[Move, ...]
    further: tuple[Move, ...]
    judge: Callable[[Mixture], Judgment]
    limits: BudgetLimits
    trials: list[Trial] = field(default_factory=list)
    seconds: float = SEARCH_SECONDS
    clock: Callable[[], float] = working_seconds
    _judged: dict[tuple[Move, ...], Candidate] = field(default_factory=dict)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._since = self.clock()

    def run(self, guess: Callable[[Trial], int]) -> Candidate | None:
        """Return the candidate to take, or None where even the float graph misses the budget.

        Args:
            guess: From the first trial, how many moves to make next.
        """
        first = self._candidate(())
        if first.trial.level is Level.HOLDS_WITH_MARGIN:
            return first
        start = guess(first.trial)
        found = self._shortest(Level.HOLDS_WITH_MARGIN, (), self.moves, start)
        if found is not None:
            return found
        # No margin to be had: as much of one as there is. More moves mostly give more.
        for count in range(len(self.moves), 0, -1):
            if self._is_late() or self._candidate(self.moves[:count]).trial.level is Level.HOLDS:
                break
        holding = [tried for tried in self._judged.values() if tried.trial.level is Level.HOLDS]
        if holding:
            return min(
                holding,
                key=lambda tried: _excess_flips(tried.trial, self.limits),
            )
        return self._shortest(Level.HOLDS, self.moves, self.further, 1)

    def _candidate(self, moves: tuple[Move, ...]) -> Candidate:
        """Judge the candidate that makes these moves, once."""
        if moves not in self._judged:
            kept = tuple(move.name for move in moves if move.to_float)
            eased = self.two_terms.union(move.name for move in moves)
            mixture = Mixture(frozenset(kept), eased.difference(kept))
            judgment = self.judge(mixture)
            trial = Trial.of(self.layers, kept, mixture.two_terms, judgment, self.limits)
            self.trials.append(trial)
            self._judged[moves] = Candidate(trial, mixture, judgment)
        return self._judged[moves]

    def _shortest(
        self, wanted: Level, made: tuple[Move, ...], moves: tuple[Move, ...], start: int
    ) -> Candidate | None:
        """Return the fewest moves found to reach a level after those made, by bisection.

        None at all is known not to. Where more moves do worse than fewer, a neighbor of the fewest
        may be found instead; what is returned has always been judged.
        """
        low, high, step = 0, len(moves) + 1, max(1, start)
        found = None
        while high - low > 1:
            count = min(len(moves), low + step) if found is None else (low + high) // 2
            tried = self._candidate(made + moves[:count])
            if tried.trial.level.reaches(wanted):
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


def level_of(judgment: Judgment, limits: BudgetLimits) -> Level:
    """Return how well a candidate did."""
    if not judgment.holds or judgment.expected_flips > limits.max_flips:
        return Level.MISSES
    with_margin = (
        _excess_flips(judgment, limits) <= 1.0
        and judgment.mean_drift <= MARGIN_OF_DRIFT * limits.max_drift
    )
    return Level.HOLDS_WITH_MARGIN if with_margin else Level.HOLDS


def _excess_flips(found: Judgment | Trial, limits: BudgetLimits) -> float:
    """Return the flips to expect over those aimed at, of all captures or of one class."""
    return max(
        found.expected_flips / max(MARGIN_OF_FLIPS * limits.max_flips, 1e-12),
        found.expected_class_flips / max(MARGIN_OF_FLIPS * limits.max_rate_change, 1e-12),
    )


def rank_moves(
    layers: Sequence[Layer], costs: Sequence[LayerCost], two_terms: frozenset[str]
) -> tuple[tuple[Move, ...], tuple[Move, ...]]:
    """Return the moves that leave `KEPT_SHARE` in eight bits, and those that may follow.

    Each by error removed for each multiply-accumulate, then by place. Two terms cost no share, so
    what may go to floating point goes where two terms would leave most.

    Args:
        layers: Every Linear and Conv.
        costs: Of those in eight bits.
        two_terms: Layers that have two terms already.
    """

    def worth(move: Move) -> float:
        return move.gain / max(1, move.macs)

    to_float = sorted(
        (Move(c.name, True, c.fine_error, c.macs) for c in costs), key=worth, reverse=True
    )
    affordable: list[Move] = []
    for move in to_float:
        if int8_share(layers, [m.name for m in (*affordable, move)]) >= KEPT_SHARE:
            affordable.append(move)
    gone = {move.name for move in affordable}
    whole = {c.name: c.fine_error if c.name in two_terms else c.error for c in costs}
    moves = [replace(move, gain=whole[move.name]) for move in affordable]
    moves += [
        Move(c.name, False, c.error - c.fine_error, c.macs)
        for c in costs
        if c.name not in two_terms | gone and c.fine_error < c.error
    ]
    further = tuple(move for move in to_float if move.name not in gone)
    return tuple(sorted(moves, key=worth, reverse=True)), further


def int8_share(layers: Sequence[Layer], kept_float: Sequence[str]) -> float:
    """Return the share of Linear and Conv multiply-accumulates in eight bits."""
    kept, total = set(kept_float), sum(layer.macs for layer in layers)
    in_int8 = sum(y.macs for y in layers if y.quantized and y.name not in kept)
    return in_int8 / total if total else 0.0


def guess_length(
    costs: Sequence[LayerCost],
    two_terms: frozenset[str],
    moves: Sequence[Move],
    first: Trial,
    limits: BudgetLimits,
) -> int:
    """Return how many moves to make for the margin, were the layers' errors independent.

    Flips and drift are in proportion to the error's root mean square, and the squares of
    independent errors add up.
    """
    excess = max(
        _excess_flips(first, limits),
        first.mean_drift / max(MARGIN_OF_DRIFT * limits.max_drift, 1e-12),
        1.0,
    )
    left = total = sum(c.fine_error if c.name in two_terms else c.error for c in costs)
    if not math.isfinite(total):  # as many as break it, and one more
        return min(len(moves), 1 + sum(not math.isfinite(move.gain) for move in moves))
    for count, move in enumerate(moves, start=1):
        left -= move.gain
        if left <= total / excess**2:
            return count
    return len(moves)
