"""Time from a person's first frame to the verdict of a track."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fasdk.decision import MissingModalities, Verdict
from fasdk.errors import UsageError
from fasdk.tracking.policy import AttemptPolicy, TrackPolicy
from fasdk.tracking.track import Track
from fasdk_tools.profiling.door_figures import TrackFigures
from fasdk_tools.profiling.idle import Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.capture import Capture
    from fasdk.tracking.track import FrameScorer

# The door's own rules, but for what would make one measured person pay for another: no wait, no
# lock-out, nothing on disk; and one capture may stand for all frames of a person.
_POLICY = TrackPolicy(
    attempts=AttemptPolicy(first_wait_ms=0.0, longest_wait_ms=0.0),
    lock_out=None,
    remembered_frames=0,
    repeat_ms=0.0,
    missing=MissingModalities.DEGRADE,  # golden captures may lack a modality
    on_disk=False,
)


def measure_tracks(
    session: FrameScorer,
    captures: Sequence[Capture],
    *,
    fps: float = 30.0,
    tracks: int = 20,
    policy: TrackPolicy = _POLICY,
    timing: Timing | None = None,
) -> TrackFigures:
    """Measure the time to a verdict of persons who step in front of a camera.

    Each person is one capture, which the camera gives again at its frame rate; a frame that came
    while the one before was judged is passed over for the newest, as a camera's driver does. A
    person without a verdict by the policy's `max_ms` has none.

    Args:
        session: An open session.
        captures: Captures to take in turn, one a person; at least one.
        fps: Frames a second that the camera gives.
        tracks: Persons.
        policy: Rules by which frames make a verdict.
        timing: Clock and sleep; None for the system's.

    Raises:
        UsageError: There is no capture, no person, or no frame rate.
    """
    if not captures or tracks < 1 or not (math.isfinite(fps) and fps > 0.0):
        raise UsageError(
            f"{len(captures)} captures, {tracks} tracks at {fps} frames/s: expected at least one "
            "of each"
        )
    timing = timing or Timing()
    times_ms: list[float | None] = []
    frames: list[int] = []
    frame_ms: list[float] = []
    for number in range(tracks):
        track = Track(session, f"profile {number}", policy, clock=lambda: 1e3 * timing.clock_s())
        start_s = timing.clock_s()
        frame, verdict_ms = 0, None
        while (due_ms := 1e3 * frame / fps) <= policy.max_ms:
            timing.sleep_s(max(0.0, start_s + due_ms / 1e3 - timing.clock_s()))
            decision = track.check(captures[number % len(captures)])
            at_ms = 1e3 * (timing.clock_s() - start_s)
            frame_ms.append(at_ms - due_ms)
            if decision.verdict in (Verdict.LIVE, Verdict.SPOOF):
                verdict_ms = at_ms
                frames.append(decision.frames)
                break
            frame = max(frame + 1, math.floor(at_ms * fps / 1e3))
        times_ms.append(verdict_ms)
    reached = [each for each in times_ms if each is not None]
    return TrackFigures(
        fps=fps,
        tracks=tracks,
        verdicts=len(reached),
        median_ms=float(np.median(reached)) if reached else None,
        largest_ms=max(reached, default=None),
        median_frames=float(np.median(frames)) if frames else None,
        frame_median_ms=float(np.median(frame_ms)),
        times_ms=tuple(times_ms),
    )
