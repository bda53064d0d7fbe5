"""Search of the batching policy that meets a latency target, by successive halving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fasdk.batching import BatchingPolicy
from fasdk.batching.policy_file import PolicyFile
from fasdk.errors import UsageError
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.target import Target, order_statistic
from fasdk_tools.profiling.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

CONFIRMATIONS: Final = 5
_LEAST_CALLS: Final = 20
_LEAST_TRIAL_S: Final = 0.25
_OPENING_S: Final = 0.5  # assumed of each trial when candidates are counted
_ROUNDS, _KEEP = 3, 3  # rounds of halving, which keep one candidate in three
_ROBUST_P: Final = 90.0  # ranks trials that are too short for the target's percentile


@dataclass(frozen=True)
class Candidate:
    """Settings that a search tries.

    Attributes:
        lanes: Lanes of the session.
        max_batch: Most captures in one call.
        max_wait_ms: Longest time a batch waits for others, in milliseconds.
        threads: CPU threads of the engine; 0 for one per core.
    """

    lanes: int
    max_batch: int
    max_wait_ms: float
    threads: int

    @property
    def policy(self) -> BatchingPolicy:
        """The batching policy of these settings."""
        return BatchingPolicy(
            lanes=self.lanes, max_batch=self.max_batch, max_wait_ms=self.max_wait_ms
        )


class FoundPolicy(Document):
    """The answer to `fasdk profile --find`.

    Attributes:
        schema_version: Version of this layout.
        target: What was asked for.
        meets: Whether each confirmation met it.
        policy: The settings that did, else those that came closest.
        confirmed_ms: The target's percentile in each fresh run of these settings, in milliseconds;
            None where calls were not decided that it counts.
        closest_ms: The largest of them, or of the search where there was no fresh run; None as
            above.
        tried: Candidates that were measured.
        seconds: Time that the search took.
    """

    schema_version: Literal[1] = 1
    target: str
    meets: bool
    policy: PolicyFile
    confirmed_ms: tuple[float | None, ...]
    closest_ms: float | None
    tried: int
    seconds: float


def candidates(max_batch: int, cores: int, limit_ms: float, *, is_cpu: bool) -> list[Candidate]:
    """Return settings worth trying, the plainest first.

    Args:
        max_batch: Largest batch that the bundle allows.
        cores: CPU cores of the machine.
        limit_ms: Limit of the target, in milliseconds; no wait exceeds a quarter of it.
        is_cpu: Whether the engine runs on the CPU, so that its threads matter.
    """
    lanes = [1, 2] + [n for n in (4, 8) if n <= cores]
    batches = [n for n in (1, 2, 4, 8, 16) if n <= max_batch]
    threads = sorted({1, cores}) if is_cpu else [0]
    found = [
        Candidate(lane, batch, wait, thread)
        for lane in lanes
        for batch in batches
        for wait in (
            (0.0,) if batch == 1 else (0.0, round(limit_ms / 16, 3), round(limit_ms / 4, 3))
        )
        for thread in threads
    ]
    return sorted(found, key=lambda c: (c.max_wait_ms, c.lanes * c.max_batch * c.threads))


def find_policy(
    options: Sequence[Candidate],
    measure: Callable[[Candidate, int], NDArray[np.float64]],
    target: Target,
    *,
    budget: TimeBudget | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> FoundPolicy:
    """Try settings with few calls each, the best ones with more, and confirm the best five times.

    Args:
        options: Settings to try, in order of preference where there is no time for all.
        measure: Measures settings with at least so many calls at the target's rate and returns
            float64 [n], milliseconds from due time, infinite where a call was not decided.
        target: What is to be met.
        budget: Time for all trials; None for the usual one from now on.
        on_progress: Callback with the share of the time that has passed, in [0, 1].

    Raises:
        UsageError: Five confirmations alone take more than three quarters of the time.
    """
    budget = budget or TimeBudget()
    confirm_s = CONFIRMATIONS * (target.trial_s(target.calls) + _OPENING_S)
    if confirm_s > 0.75 * budget.seconds:
        raise UsageError(
            f"--find {target} takes {CONFIRMATIONS} runs of {target.calls} calls to confirm, "
            f"{confirm_s:.0f} s of {budget.seconds:.0f}: ask for a lower percentile, a higher rate "
            "or more time (--within)"
        )
    search = _Search(measure, target, budget, on_progress)
    ranked = search.halve(options, (budget.seconds - confirm_s) / 2)
    best, confirmed = ranked[0], tuple[float, ...]()
    meets = False
    for candidate in ranked:
        if confirmed and not budget.has(confirm_s):
            break
        figures, is_met = search.confirm(candidate)
        if is_met or not confirmed or max(figures) < max(confirmed):
            best, confirmed, meets = candidate, figures, is_met
        if is_met:
            break
    closest = max(confirmed) if confirmed else search.figure(best)
    return FoundPolicy(
        target=str(target),
        meets=meets,
        policy=PolicyFile(
            batching=best.policy, threads=best.threads, chosen_for=str(target) if meets else ""
        ),
        confirmed_ms=tuple(map(_finite, confirmed)),
        closest_ms=_finite(closest),
        tried=len(search.taken),
        seconds=budget.spent_s,
    )


class _Search:
    """Trials of one search, and the time they take.

    Attributes:
        taken: Latencies of each candidate so far, of all its trials.
    """

    def __init__(
        self,
        measure: Callable[[Candidate, int], NDArray[np.float64]],
        target: Target,
        budget: TimeBudget,
        on_progress: Callable[[float], None] | None,
    ) -> None:
        self.taken: dict[Candidate, NDArray[np.float64]] = {}
        self._measure, self._target = measure, target
        self._budget, self._on_progress = budget, on_progress

    def figure(self, candidate: Candidate) -> float:
        """Return what a candidate is ranked by, in milliseconds; infinite without a trial."""
        latencies = self.taken.get(candidate, np.empty(0))
        is_enough = len(latencies) >= self._target.calls
        return order_statistic(
            latencies, self._target.p if is_enough else min(self._target.p, _ROBUST_P)
        )

    def halve(self, options: Sequence[Candidate], seconds: float) -> list[Candidate]:
        """Return the candidates that were tried, the best of the longest trials first."""
        rate = self._target.rate_per_s
        calls = max(_LEAST_CALLS, math.ceil(_LEAST_TRIAL_S * rate))
        count = int(seconds / (_ROUNDS * (self._target.trial_s(calls) + _OPENING_S)))
        left = list(options[: max(2, count)])
        ranked: list[Candidate] = []
        for _ in range(_ROUNDS):
            for candidate in left:
                if self._budget.spent_s > seconds and self.taken:
                    break
                self._try(candidate, calls)
            left = sorted((c for c in left if c in self.taken), key=self.figure)
            kept = math.ceil(len(left) / _KEEP)
            ranked = [*left, *(c for c in ranked if c not in left)]
            left, calls = left[:kept], calls * _KEEP
            if len(ranked) == 1:
                break
        return ranked

    def confirm(self, candidate: Candidate) -> tuple[tuple[float, ...], bool]:
        """Return the percentile of fresh runs, which end with the first that misses the target."""
        figures: list[float] = []
        for _ in range(CONFIRMATIONS):
            fresh = self._trial(candidate, self._target.calls)
            figures.append(self._target.figure_ms(fresh))
            if not self._target.is_met(fresh):
                return tuple(figures), False
        return tuple(figures), True

    def _try(self, candidate: Candidate, calls: int) -> None:
        before = self.taken.get(candidate, np.empty(0))
        self.taken[candidate] = np.concatenate([before, self._trial(candidate, calls)])

    def _trial(self, candidate: Candidate, calls: int) -> NDArray[np.float64]:
        found = self._measure(candidate, calls)
        if self._on_progress is not None:
            self._on_progress(min(1.0, self._budget.spent_s / self._budget.seconds))
        return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
