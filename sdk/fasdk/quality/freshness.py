"""Age and synchronization of a capture's frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk.capture import Capture


def untimed_finding(capture: Capture) -> Finding | None:
    """Return STALE for a capture with a frame that has no time of exposure, or None."""
    untimed = [
        m.value for m in capture.present if not math.isfinite(capture.taken_ms.get(m, math.nan))
    ]
    if not untimed:
        return None
    return Finding(
        Reason.STALE, f"{', '.join(untimed)} has no time of exposure: fill Capture.taken_ms"
    )


def untimely(
    capture: Capture,
    *,
    now_ms: float,
    max_age_ms: float | None,
    max_skew_ms: float | None,
    require_times: bool,
) -> Iterator[Finding]:
    """Yield STALE where frames are too old and OUT_OF_STEP where they were taken apart.

    Args:
        capture: Capture with times in `taken_ms`; only those of frames it holds count.
        now_ms: `time.monotonic` in milliseconds.
        max_age_ms: Greatest age of any frame, in milliseconds; None for no limit. A time in the
            future, or one that is not finite, is STALE too: it comes from another clock.
        max_skew_ms: Greatest difference between the frames' times, in milliseconds; None for no
            limit.
        require_times: Whether a frame without a time is STALE.
    """
    times = {m: float(capture.taken_ms[m]) for m in capture.present if m in capture.taken_ms}
    untimed = untimed_finding(capture) if require_times else None
    stale = [] if untimed is None else [untimed.message]
    if max_age_ms is not None:
        for modality, taken_ms in times.items():
            age_ms = now_ms - taken_ms
            if not age_ms >= 0.0:
                stale.append(
                    f"{modality.value} was taken at {taken_ms:.0f} ms, now is {now_ms:.0f} ms: "
                    "times must be of time.monotonic"
                )
            elif not age_ms <= max_age_ms:
                stale.append(
                    f"{modality.value} is {age_ms:.0f} ms old, at most {max_age_ms:.0f} ms: "
                    "take a new frame"
                )
    if stale:
        yield Finding(Reason.STALE, "; ".join(stale))
    if max_skew_ms is not None and len(times) > 1:
        # As differences, so that a time which is not finite fails the comparison.
        first, last = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
        if not all(abs(a - b) <= max_skew_ms for a in times.values() for b in times.values()):
            yield Finding(
                Reason.OUT_OF_STEP,
                f"{first.value} and {last.value} were taken {times[last] - times[first]:.0f} ms "
                f"apart, at most {max_skew_ms:.0f} ms: synchronize the sensors",
            )
