"""Fixed computation and memory copy, by which two runs tell whether the machine was the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field, model_validator

from fasdk_tools.profiling.checked_calls import timed_check
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.interleaved import interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk.session.session import Liveness

_COMPUTED_VALUES: Final = 2**15  # 256 KiB of float64, which stays in a core's cache
_COMPUTE_TURNS: Final = 4
_COPIED_BYTES: Final = 2**24  # more than the caches of the processors that doors have

_Time = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Rounds = Annotated[
    tuple[Annotated[tuple[_Time, ...], Field(min_length=1)], ...], Field(min_length=1)
]


class YardstickTimes(Document):
    """Checks of a bundle, one after another, in ABBA blocks with the yardstick.

    Attributes:
        check_ms: Milliseconds of each check, by round.
        compute_ms: Milliseconds of each computation beside it, by round.
        copy_ms: Milliseconds of each memory copy beside it, by round.
    """

    check_ms: Rounds
    compute_ms: Rounds
    copy_ms: Rounds

    @model_validator(mode="after")
    def _rectangular(self) -> YardstickTimes:
        shapes = {
            (len(rounds), len(calls))
            for rounds in (self.check_ms, self.compute_ms, self.copy_ms)
            for calls in rounds
        }
        if len(shapes) != 1:
            raise ValueError(f"rounds and calls differ in number: {sorted(shapes)}")
        return self


class Yardstick:
    """A computation in cache and a copy through memory, of the same size on every machine.

    Attributes:
        compute_ms: Milliseconds of each computation so far.
        copy_ms: Milliseconds of each copy so far.
    """

    def __init__(self) -> None:
        self.compute_ms: list[float] = []
        self.copy_ms: list[float] = []
        self._values = np.linspace(0.1, 1.0, _COMPUTED_VALUES)
        self._results = np.empty_like(self._values)
        self._source = np.ones(_COPIED_BYTES, np.uint8)
        self._copy = np.zeros_like(self._source)

    def __call__(self) -> float:
        """Compute and copy once, and return the milliseconds of both."""
        start_ns = time.perf_counter_ns()
        for _ in range(_COMPUTE_TURNS):
            np.exp(self._values, out=self._results)
        middle_ns = time.perf_counter_ns()
        np.copyto(self._copy, self._source)
        end_ns = time.perf_counter_ns()
        self.compute_ms.append((middle_ns - start_ns) / 1e6)
        self.copy_ms.append((end_ns - middle_ns) / 1e6)
        return (end_ns - start_ns) / 1e6


def measure_beside_yardstick(
    liveness: Liveness,
    captures: Sequence[Capture],
    *,
    seconds: float,
    on_progress: Callable[[float], None] | None = None,
) -> YardstickTimes:
    """Check captures one after another, in ABBA blocks with the yardstick.

    Args:
        liveness: An open session.
        captures: Taken in turn; at least one.
        seconds: Time to measure for, in seconds.
        on_progress: Callback with the share that is done, in [0, 1].

    Raises:
        UsageError: There is no capture.
        BackendError: A capture was not scored.
    """
    yardstick = Yardstick()
    times = interleave(
        timed_check(liveness, captures), yardstick, seconds=seconds, on_progress=on_progress
    )
    counted = times.second_ms.size  # after those that warmed up

    def by_round(taken_ms: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        return _rounded(np.asarray(taken_ms[-counted:]).reshape(times.second_ms.shape))

    return YardstickTimes(
        check_ms=_rounded(times.first_ms),
        compute_ms=by_round(yardstick.compute_ms),
        copy_ms=by_round(yardstick.copy_ms),
    )


def _rounded(times_ms: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    # To the microsecond, and never down to no time at all.
    return tuple(tuple(max(round(ms, 3), 0.001) for ms in row) for row in times_ms.tolist())
