"""Times of two pieces of work taken in turns, and the ratios of their percentiles."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from fasdk_tools.profiling.percentiles import calls_needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
MEDIAN, TAIL = 50.0, 99.0
_RESAMPLES: Final = 1000
_LEAST_ROUNDS: Final = 20
_BLOCK_MS: Final = 20.0  # long enough that waking up is a small part, short beside what drifts
_MOST_CALLS: Final = 10
_WARMUP_CALLS: Final = 10
_MOST_VALUES: Final = 2**20  # resampled at a time; 8 MiB


@dataclass(frozen=True)
class PairedTimes:
    """Times of the calls of two sides, round by round, in order.

    Attributes:
        first_ms: float64 [rounds, calls], milliseconds of each call of the first side.
        second_ms: float64 [rounds, calls], of the second side.
    """

    first_ms: NDArray[np.float64]
    second_ms: NDArray[np.float64]


class Ratio(BaseModel):
    """Ratio of one percentile of the second side to that of the first.

    Attributes:
        p: The percentile, in percent, such as 99.
        ratio: Second over first; None where a side has too few calls for a bound of its percentile.
        lower: Lower end of the two-sided 95 % interval; None where `ratio` is.
        upper: Upper end, likewise.
        missing_calls: Calls that each side lacks; 0 where there is a ratio.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    A round is a block of the first side, two of the second and one of the first, so that what drifts
    evenly adds the same to both. Each side is warmed up by 10 calls that do not count.

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

    The interval is the percentile interval of a moving-block bootstrap of rounds (Künsch, Annals of
    Statistics 17, 1989), with blocks of the cube root of their number, which keeps what neighboring
    rounds have in common.

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
    rounds = _resampled(len(first), rng)
    others = rounds if is_paired else _resampled(len(second), rng)
    ratios = _of_resamples(second, others, p) / _of_resamples(first, rounds, p)
    tail = (1.0 - CONFIDENCE) / 2.0
    lower, upper = np.quantile(ratios, [tail, 1.0 - tail])
    found = _percentile(second[None], p)[0] / _percentile(first[None], p)[0]
    return Ratio(
        p=p, ratio=float(found), lower=float(lower), upper=float(upper), missing_calls=0
    )


def _resampled(rounds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return indices of rounds, intp [resamples, rounds], drawn in blocks of successive ones."""
    length = max(1, round(rounds ** (1 / 3)))
    blocks = math.ceil(rounds / length)
    starts = rng.integers(0, rounds - length + 1, (_RESAMPLES, blocks, 1))
    indices: NDArray[np.intp] = starts + np.arange(length)
    return indices.reshape(_RESAMPLES, -1)[:, :rounds]


def _of_resamples(
    times_ms: NDArray[np.float64], rounds: NDArray[np.intp], p: float
) -> NDArray[np.float64]:
    """Return the percentile of every resample, a part of them at a time to bound the memory."""
    step = max(1, _MOST_VALUES // times_ms.size)
    return np.concatenate(
        [
            _percentile(times_ms[rounds[start : start + step]], p)
            for start in range(0, len(rounds), step)
        ]
    )


def _percentile(times_ms: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """Return the order statistic of each row of rounds, float64 [rows]."""
    flat = times_ms.reshape(len(times_ms), -1)
    rank = math.ceil(round(flat.shape[1] * p / 100.0, 9)) - 1
    found: NDArray[np.float64] = np.partition(flat, rank, axis=1)[:, rank]
    return found
