"""What a camera's track is asked to hold to."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasdk.decision import MissingModalities
from fasdk.errors import UsageError
from fasdk.settings import as_choice, require_ms, require_whole


@dataclass(frozen=True)
class LockOutPolicy:
    """When a camera locks out, and for how long.

    Attributes:
        spoofs: So many spoof presentations within the window lock out; at least 1.
        window_ms: How long a spoof presentation counts, in milliseconds.
        locked_ms: How long the lock-out lasts, in milliseconds; None until `unlock()`.
        same_face_ms: A SPOOF of one and the same face counts again after this long, in
            milliseconds: a picture held up for long is a new attempt, a bad moment of half a second
            is not five of them.

    Raises:
        UsageError: A number is out of its range.
    """

    spoofs: int = 5
    window_ms: float = 60_000.0
    locked_ms: float | None = 30_000.0
    same_face_ms: float = 2_000.0

    def __post_init__(self) -> None:
        """Check every number once, where the mistake was made."""
        require_whole("lock-out spoofs", self.spoofs)
        require_ms("lock-out window_ms", self.window_ms)
        require_ms("lock-out same_face_ms", self.same_face_ms, least=0.0)
        if self.locked_ms is not None:
            require_ms("lock-out locked_ms", self.locked_ms)


@dataclass(frozen=True)
class TrackPolicy:
    """How the frames of one camera make a verdict.

    A bundle with a sequential test for the level and modalities at hand is judged by that. Without
    one, LIVE takes `frames_required` LIVE frames in a row and a single SPOOF frame is a SPOOF,
    which never opens a door that single frames would keep shut.

    Attributes:
        frames_required: LIVE frames in a row where the bundle has no sequential test.
        max_ms: Longest time from a person's first frame to a verdict, in milliseconds; a sequential
            test's own limit holds as well.
        runs_per_face: Sequential tests that one face gets without a LIVE; after those it is SPOOF
            or RETRY, as the last one ended, until it is lost. What was measured of a test is of one
            run, and whoever may try for ever passes in the end.
        max_unjudged: So many frames in a row may be RETRY or ERROR; with more, what was gathered
            before them is dropped, because nobody saw what went on meanwhile.
        face_lost_ms: Longest gap between two frames that show a face, in milliseconds.
        min_overlap: Least intersection over union of the face boxes of two frames that follow each
            other, in [0, 1]; a box that jumps further is another face.
        missing: What becomes of a capture that lacks one of the model's modalities.
        lock_out: When repeated spoofs lock the camera out; None for never.

    Raises:
        UsageError: A number is out of its range.
    """

    frames_required: int = 3
    max_ms: float = 5_000.0
    runs_per_face: int = 3
    max_unjudged: int = 5
    face_lost_ms: float = 1_000.0
    min_overlap: float = 0.3
    missing: MissingModalities = MissingModalities.DEGRADE
    lock_out: LockOutPolicy | None = field(default_factory=LockOutPolicy)

    def __post_init__(self) -> None:
        """Check every number once, where the mistake was made."""
        require_whole("track frames_required", self.frames_required)
        require_whole("track runs_per_face", self.runs_per_face)
        require_whole("track max_unjudged", self.max_unjudged, least=0)
        require_ms("track max_ms", self.max_ms)
        require_ms("track face_lost_ms", self.face_lost_ms)
        share = self.min_overlap
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise UsageError(f"track min_overlap is {share!r}, expected a share in [0, 1]")
        missing = as_choice("track missing", self.missing, MissingModalities)
        object.__setattr__(self, "missing", missing)
