"""Planted waits that a door's figures must find, on the real clock with an engine that sleeps.

    PYTHONPATH=tests python -m support.door_figures

prints one JSON document: what was planted, and what was measured.
"""

from __future__ import annotations

import json
import sys
import time

from fasdk_tools.profiling.idle import IdleRequest, measure_pauses
from fasdk_tools.profiling.published import PUBLISHED
from fasdk_tools.profiling.track_time import measure_tracks

from support.track_fakes import FakeSession, capture, plain_bundle, scored

BUSY_S, WAKE_UP_S, ASLEEP_AFTER_S = 0.005, 0.060, 0.5
PAUSES_S = (0.0, 0.1, 1.0)
FPS = 30.0
# Three LIVE frames, each at least 50 ms after the last that counted: those of 0, 67 and 133 ms.
VERDICT_S = 4 / FPS + BUSY_S


class SleepyEngine:
    """Decisions that take longer after a pause."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def __call__(self, _: object):
        asleep = time.perf_counter() - self._last_s >= ASLEEP_AFTER_S
        time.sleep(BUSY_S + (WAKE_UP_S if asleep else 0.0))
        self._last_s = time.perf_counter()
        return scored(0.9)


def main() -> int:
    """Measure, and print the document."""
    session = FakeSession(plain_bundle(), SleepyEngine())
    captures = [capture(1), capture(2)]
    pauses = measure_pauses(session, captures, IdleRequest(PAUSES_S, count=10))
    track = measure_tracks(session, captures, fps=FPS, tracks=10)
    print(
        json.dumps(
            {
                "planted_ratio": (BUSY_S + WAKE_UP_S) / BUSY_S,
                "ratios": {f"{each.pause_s:g}": each.ratio_to_busy for each in pauses},
                "planted_verdict_ms": 1e3 * VERDICT_S,
                "verdict_ms": track.median_ms,
                "published": len(PUBLISHED),
                "published_in_range": sum(each.estimate().contains(each.ms) for each in PUBLISHED),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
