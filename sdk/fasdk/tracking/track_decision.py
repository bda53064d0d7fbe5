"""Answer of a track after one more frame."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from fasdk.decision import Decision

if TYPE_CHECKING:
    from fasdk.sequential import Run


@dataclass(frozen=True)
class TrackDecision(Decision):
    """Answer of a track after one more frame; score, threshold and timings are that frame's.

    RETRY with the reason `undecided` asks for more frames. LIVE is given once for the frames
    gathered; the frame after it begins a new verdict.

    Attributes:
        camera_id: Name of the camera.
        frames: Number of frames that counted towards this verdict.
        log_likelihood_ratio: Log-likelihood ratio of those frames together, in nats; None where no
            sequential test was tuned or no frame counted.
        wait_ms: Milliseconds for which the camera judges nobody, because of attempts without a LIVE
            or a lock-out; infinite until a guard releases it, 0 where it judges the next frame.
        frame: Decision on the frame by itself; None where it was not scored.
    """

    camera_id: str = ""
    frames: int = 0
    log_likelihood_ratio: float | None = None
    wait_ms: float = 0.0
    frame: Decision | None = None

    @classmethod
    def of(
        cls,
        decided: Decision,
        frame: Decision | None,
        camera_id: str,
        run: Run | None = None,
        wait_ms: float = 0.0,
    ) -> TrackDecision:
        """Return a decision as a track's.

        Args:
            decided: Verdict, reasons and scores of the answer.
            frame: Decision on the frame by itself, or None.
            camera_id: Name of the camera.
            run: Run that the frame belongs to, or None.
            wait_ms: Milliseconds for which the camera judges nobody.
        """
        values: dict[str, Any] = {f.name: getattr(decided, f.name) for f in fields(Decision)}
        return cls(
            **values,
            camera_id=camera_id,
            frames=0 if run is None else run.frames,
            log_likelihood_ratio=None if run is None else run.log_likelihood_ratio,
            wait_ms=wait_ms,
            frame=frame,
        )
