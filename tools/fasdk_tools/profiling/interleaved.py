"""Times of two pieces of work taken in turns, and the ratios of their percentiles."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.percentiles import calls_needed
from fasdk_tools.profiling.series import CONFIDENCE, RESAMPLES, block_indices, block_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MEDIAN, TAIL = 50.0, 99.0
_LEAST_ROUNDS: Final = 20
_BLOCK_MS: Final = 20.0  # long enough that waking up is a small part, short beside what drifts
_MOST_CALLS: Final = 10
_WARMUP_CALLS: Final = 10


@dataclass(frozen=True)
class PairedTimes:
    """Times of the calls of two sides, round by round, in order.

    Attributes:
        first_ms: float64 [rounds, calls], milliseconds of each call of the first side.
        second_ms: float64 [rounds, calls], of the second side.
    """

    first_ms: NDArray[np.float64]
    second_ms: NDArray[np.float64]


class Ratio(Document):
    """Ratio of one percentile of the second side to that of the first.

    Attributes:
        p: The percentile, in percent, such as 99.
        ratio: Second over first; None where a side has too few calls for a bound of its percentile.
        lower: Lower end of the two-sided 95 % interval; None where `ratio` is.
        upper: Upper end, likewise.
        missing_calls: Calls that each side lacks; 0 where there is a ratio.
    """

    p: float
    ratio: float | None
    lower: float | None
    upper: float | None
    missing_calls: int

    def exceeds(self, share: float) -> bool:
        """Whether the whole interval lies above 1 + `share`."""
        return self.lower is not None and self.lower > 1.0 + share


def interleave(
    first: Callable[[], float],
    second: Callable[[], float],
    *,
    seconds: float,
    on_progress: Callable[[float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> PairedTimes:
    """Call two sides in ABBA blocks until the time is over.

    A round is a block of the first side, two of the second and one of the first, so that what
    drifts evenly adds the same to both. Each side is warmed up by 10 calls that do not count.

    Args:
        first: Makes one call of the first side and returns its milliseconds.
        second: The same of the second side.
        seconds: Time to measure for, in seconds; at least 20 rounds are made.
        on_progress: Callback after each round, with the share that is done, in [0, 1].
        clock: Clock in seconds.
    """
    warm = [max(first(), second()) for _ in range(_WARMUP_CALLS)]
    longest_ms = max(float(np.median(warm)), 1e-3)
    calls = int(np.clip(round(_BLOCK_MS / longest_ms), 1, _MOST_CALLS))
    start, taken_a, taken_b = clock(), list[list[float]](), list[list[float]]()
    while len(taken_a) < _LEAST_ROUNDS or clock() - start < seconds:
        before = [first() for _ in range(calls)]
        taken_b.append([second() for _ in range(2 * calls)])
        taken_a.append([*before, *(first() for _ in range(calls))])
        if on_progress is not None:
            done = min(len(taken_a) / _LEAST_ROUNDS, (clock() - start) / seconds)
            on_progress(min(1.0, done))
    return PairedTimes(np.asarray(taken_a, np.float64), np.asarray(taken_b, np.float64))


def ratio_of(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    p: float,
    *,
    is_paired: bool,
    seed: int = 0,
) -> Ratio:
    """Return the ratio of a percentile of the second side to the first's, with its interval.

    The interval is the percentile interval of a moving-block bootstrap of rounds, which keeps what
    neighboring rounds have in common; see `series.block_indices`.

    Args:
        first: float64 [rounds, calls], milliseconds.
        second: float64 [rounds, calls], milliseconds.
        p: The percentile, in percent.
        is_paired: Whether round i of both sides was taken at one time, so that they are resampled
            together.
        seed: Seed of the resampling.
    """
    missing = calls_needed(p) - min(first.size, second.size)
    if missing > 0:
        return Ratio(p=p, ratio=None, lower=None, upper=None, missing_calls=missing)
    rng = np.random.default_rng(seed)
    ratios = [
        _percentile(second[theirs], p) / _percentile(first[mine], p)
        for mine, theirs in _resampled_rounds(first, second, is_paired, rng)
    ]
    tail = (1.0 - CONFIDENCE) / 2.0
    lower, upper = np.quantile(ratios, [tail, 1.0 - tail])
    found = _percentile(second, p) / _percentile(first, p)
    return Ratio(p=p, ratio=found, lower=float(lower), upper=float(upper), missing_calls=0)


def _resampled_rounds(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    is_paired: bool,
    rng: np.random.Generator,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield resamples of the rounds of both sides, in blocks of those that depend on each other."""
    mine, theirs = np.median(first, axis=1), np.median(second, axis=1)
    if is_paired:
        block = block_length(theirs / mine)
        yield from ((drawn, drawn) for drawn in block_indices(len(mine), block, RESAMPLES, rng))
        return
    yield from zip(
        block_indices(len(mine), block_length(mine), RESAMPLES, rng),
        block_indices(len(theirs), block_length(theirs), RESAMPLES, rng),
        strict=True,
    )


def _percentile(times_ms: NDArray[np.float64], p: float) -> float:
    """Return the order statistic of all calls, in milliseconds."""
    flat = times_ms.ravel()
    rank = math.ceil(round(flat.size * p / 100.0, 9)) - 1
    return float(np.partition(flat, rank)[rank])
