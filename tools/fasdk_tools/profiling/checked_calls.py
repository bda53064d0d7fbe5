"""Timed checks of a session, one after another."""

from __future__ import annotations

import time
from itertools import cycle
from typing import TYPE_CHECKING

from fasdk.decision import Verdict
from fasdk.errors import BackendError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.capture import Capture
    from fasdk.session.session import Liveness


def timed_check(liveness: Liveness, captures: Sequence[Capture]) -> Callable[[], float]:
    """Return a function that checks the next capture, in turn, and returns its milliseconds.

    The function raises BackendError where a capture was not scored, because its time would say
    nothing.

    Args:
        liveness: An open session.
        captures: Taken in turn; at least one.

    Raises:
        UsageError: There is no capture.
    """
    if not captures:
        raise UsageError(
            f"{liveness.bundle.path} holds no golden capture to measure with: give --captures LIST"
        )
    turn = cycle(captures)

    def check() -> float:
        capture = next(turn)
        start_ns = time.perf_counter_ns()
        decision = liveness.check(capture)
        took_ms = (time.perf_counter_ns() - start_ns) / 1e6
        if decision.verdict in (Verdict.ERROR, Verdict.RETRY) and decision.score != decision.score:
            raise BackendError(
                f"{liveness.bundle.path}: a capture was not scored, so that its time says nothing: "
                f"{'; '.join(decision.reasons)}"
            )
        return took_ms

    return check
