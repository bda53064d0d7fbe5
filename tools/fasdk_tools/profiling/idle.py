"""First decisions after pauses, as after nobody stood in front of a door."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import BackendError, UsageError
from fasdk_tools.profiling.door_figures import PauseFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.capture import Capture
    from fasdk.decision import Decision
    from fasdk.tracking.track import FrameScorer

_WARM_CALLS = 3


@dataclass(frozen=True)
class IdleRequest:
    """Pauses to measure.

    Attributes:
        pauses_s: Lengths of the pauses in seconds; a length of 0 is what the others are compared
            with.
        count: Pauses of each length.
        quick: Whether this is fewer than the default.

    Raises:
        UsageError: No pause of length 0, a length below 0, or no pause at all.
    """

    pauses_s: tuple[float, ...] = (0.0, 1.0, 5.0, 10.0, 60.0)
    count: int = 20
    quick: bool = False

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        if 0.0 not in self.pauses_s or min(self.pauses_s) < 0.0 or self.count < 1:
            raise UsageError(
                f"pauses of {self.pauses_s} s, {self.count} of each: expected lengths of at least "
                "0 s, 0 among them, and at least one of each"
            )

    @classmethod
    def quickly(cls) -> IdleRequest:
        """Return a request that takes some twenty seconds."""
        return cls(pauses_s=(0.0, 1.0, 5.0), count=3, quick=True)

    @property
    def seconds(self) -> float:
        """Length of all pauses together, in seconds."""
        return self.count * sum(self.pauses_s)


@dataclass(frozen=True)
class Timing:
    """Clock and sleep of a measurement, so that a test need not wait.

    Attributes:
        clock_s: Monotonic clock in seconds.
        sleep_s: Function that waits for so many seconds.
    """

    clock_s: Callable[[], float] = field(default=time.perf_counter)
    sleep_s: Callable[[float], None] = field(default=time.sleep)


def measure_pauses(
    session: FrameScorer,
    captures: Sequence[Capture],
    request: IdleRequest,
    *,
    timing: Timing | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[PauseFigures, ...]:
    """Measure the decision after each pause, on a session that was busy before the pause.

    Lengths take turns, so that a drift of the machine is not taken for a pause's effect.

    Args:
        session: An open session, used by nobody else.
        captures: Captures to take in turn; at least one.
        request: Pauses to measure.
        timing: Clock and sleep; None for the system's.
        on_progress: Callback with the share of the pauses that is over, in [0, 1].

    Returns:
        Figures by length of the pause, in the request's order.

    Raises:
        UsageError: There is no capture.
        BackendError: A capture got no score, so that its time is meaningless.
    """
    timing = timing or Timing()
    if not captures:
        raise UsageError(
            "there is no capture to measure with: give a list of your own with --captures LIST"
        )
    latencies: dict[float, list[float]] = {pause: [] for pause in request.pauses_s}
    calls = 0

    def decide() -> float:
        nonlocal calls
        capture = captures[calls % len(captures)]
        calls += 1
        start_s = timing.clock_s()
        decision = session.submit(capture).result()
        end_s = timing.clock_s()
        require_scored(decision)
        return 1e3 * (end_s - start_s)

    for turn in range(request.count):
        for pause_s in request.pauses_s:
            for _ in range(_WARM_CALLS):
                decide()
            if pause_s:
                timing.sleep_s(pause_s)
            latencies[pause_s].append(decide())
        if on_progress is not None:
            on_progress((turn + 1) / request.count)
    busy_ms = float(np.median(latencies[0.0]))
    return tuple(_figures(pause_s, found, busy_ms) for pause_s, found in latencies.items())


def require_scored(decision: Decision) -> None:
    """Check that a decision came out of the engine.

    Raises:
        BackendError: It has no score.
    """
    if not np.isfinite(decision.score):
        raise BackendError(
            f"a capture got no score while profiling: {'; '.join(decision.reasons)}; look at it "
            "with `fasdk check`, or measure with captures that pass with --captures LIST"
        )


def _figures(pause_s: float, found: list[float], busy_ms: float) -> PauseFigures:
    median_ms = float(np.median(found))
    return PauseFigures(
        pause_s=pause_s,
        calls=len(found),
        median_ms=median_ms,
        largest_ms=max(found),
        ratio_to_busy=median_ms / busy_ms,
        latencies_ms=tuple(found),
    )
