"""Settings of multi-frame verdicts and lock-outs."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasdk.capture import Modality
from fasdk.decision import MissingModalities
from fasdk.errors import UsageError
from fasdk.settings import as_choice, as_choices, require_ms, require_whole


@dataclass(frozen=True)
class LockOutPolicy:
    """Conditions and duration of a camera's lock-out.

    Attributes:
        spoofs: Number of spoof presentations within the window that lock the camera; at least 1.
        window_ms: Time for which a spoof presentation counts, in milliseconds.
        locked_ms: Duration of the lock-out, in milliseconds; None until `unlock()`.
        same_face_ms: Time after which a SPOOF of the same face counts again, in milliseconds: a
            picture held up for long is a new attempt, half a second of bad frames is not five.

    Raises:
        UsageError: A number is out of its range.
    """

    spoofs: int = 5
    window_ms: float = 60_000.0
    locked_ms: float | None = 30_000.0
    same_face_ms: float = 2_000.0

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        require_whole("lock-out spoofs", self.spoofs)
        require_ms("lock-out window_ms", self.window_ms)
        require_ms("lock-out same_face_ms", self.same_face_ms, least=0.0)
        if self.locked_ms is not None:
            require_ms("lock-out locked_ms", self.locked_ms)


@dataclass(frozen=True)
class TrackPolicy:
    """Rules by which the frames of one camera make a verdict.

    The bundle's sequential test for the security level and the modalities applies. Without one,
    LIVE takes `frames_required` LIVE frames in a row and a single SPOOF frame is a SPOOF, so that
    it is never LIVE where single frames are not.

    Attributes:
        frames_required: LIVE frames in a row where the bundle has no sequential test; at least 1.
        max_ms: Longest time from a person's first frame to a verdict, in milliseconds; a sequential
            test's own limit holds as well.
        runs_per_face: Sequential tests that one face gets without a LIVE; after those the answer
            is SPOOF or RETRY, as the last one ended, until the face is lost. A test's error rates
            were measured on one run, and with unlimited runs anybody would pass in the end.
        max_unscored: Frames in a row that may be RETRY or ERROR; after more of them the frames
            gathered before are dropped, because the face may have changed unseen.
        face_lost_ms: Longest gap between two frames that show a face, in milliseconds.
        min_overlap: Least intersection over union of the face boxes of two consecutive frames, in
            [0, 1]; a box that moves further counts as another face.
        missing: Treatment of a capture that lacks one of the model's modalities.
        combinations: Combinations of the model's modalities that the camera may show besides all
            of them, where `missing` is DEGRADE; empty for the one that it showed first. Any other
            is an ERROR (new-combination): a sensor failed, or somebody covers one.
        lock_out: Lock-out after repeated spoofs; None for none.

    Raises:
        UsageError: A number is out of its range.
    """

    frames_required: int = 3
    max_ms: float = 5_000.0
    runs_per_face: int = 3
    max_unscored: int = 5
    face_lost_ms: float = 1_000.0
    min_overlap: float = 0.3
    missing: MissingModalities = MissingModalities.REQUIRE
    combinations: tuple[tuple[Modality, ...], ...] = ()
    lock_out: LockOutPolicy | None = field(default_factory=LockOutPolicy)

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        require_whole("track frames_required", self.frames_required)
        require_whole("track runs_per_face", self.runs_per_face)
        require_whole("track max_unscored", self.max_unscored, least=0)
        require_ms("track max_ms", self.max_ms)
        require_ms("track face_lost_ms", self.face_lost_ms)
        share = self.min_overlap
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise UsageError(f"track min_overlap is {share!r}, expected a share in [0, 1]")
        missing = as_choice("track missing", self.missing, MissingModalities)
        object.__setattr__(self, "missing", missing)
        known = tuple(as_choices("track combinations", c, Modality) for c in self.combinations)
        if not all(known):
            raise UsageError("track combinations has an empty one: name its modalities")
        if known and missing is not MissingModalities.DEGRADE:
            raise UsageError(
                f"track combinations are given with missing={missing.value}, under which no "
                "modality may be absent: give missing=MissingModalities.DEGRADE, or leave them out"
            )
        object.__setattr__(self, "combinations", known)
