"""Settings of multi-frame verdicts and lock-outs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fasdk.capture import Modality
from fasdk.decision import MissingModalities
from fasdk.errors import UsageError
from fasdk.settings import as_choice, as_choices, require_ms, require_whole

_MOST_FAILED = 1_000  # even where the wait grows by one in a thousand


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
class AttemptPolicy:
    """Schedule of a camera's attempts: how long the next one waits, and what it takes.

    An attempt is a run of judged frames that ends without a LIVE: in SPOOF, undecided, or
    abandoned because the face was lost, jumped or showed other modalities. The wait after the n-th
    in a row is `first_wait_ms` times `growth` to the power n - 1, `longest_wait_ms` at most. It is
    counted from the last frame that counted. Each attempt also raises what the next LIVE takes, up
    to `most_raises` times, because error rates hold for one attempt and not for many. The defaults
    are those that `tools/bench/gaming.py` holds to the levels' bounds.

    Attributes:
        first_wait_ms: Wait after the first attempt, in milliseconds.
        growth: Factor of the wait after each further attempt, at least 1.
        longest_wait_ms: Longest wait, in milliseconds.
        forgive_ms: Time without an attempt after which one of them is forgotten, in milliseconds;
            longer than `longest_wait_ms`. None: only a LIVE or `unlock()` clears them.
        raise_nats: Log-likelihood ratio that LIVE takes in addition after each attempt, in nats,
            where the bundle has a sequential test.
        raise_frames: LIVE frames in a row that it takes in addition, where it has none.
        most_raises: Number of attempts that raise it.
        least_frame_ms: Least time between two frames that count, in milliseconds; scored frames
            in between add nothing. 0 for no limit.

    Raises:
        UsageError: A number is out of its range.
    """

    first_wait_ms: float = 1_000.0
    growth: float = 2.0
    longest_wait_ms: float = 300_000.0
    forgive_ms: float | None = 600_000.0
    raise_nats: float = 2.5
    raise_frames: int = 0
    most_raises: int = 1
    least_frame_ms: float = 50.0

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        require_ms("attempts first_wait_ms", self.first_wait_ms, least=0.0)
        require_ms("attempts longest_wait_ms", self.longest_wait_ms, least=self.first_wait_ms)
        require_ms("attempts least_frame_ms", self.least_frame_ms, least=0.0)
        if self.forgive_ms is not None:
            require_ms("attempts forgive_ms", self.forgive_ms)
            if self.forgive_ms <= self.longest_wait_ms:
                raise UsageError(
                    f"attempts forgive_ms is {self.forgive_ms!r}, expected more than "
                    f"longest_wait_ms, {self.longest_wait_ms!r}: else waiting itself clears them"
                )
        _require_number("attempts growth", self.growth, least=1.0)
        _require_number("attempts raise_nats", self.raise_nats, least=0.0)
        require_whole("attempts raise_frames", self.raise_frames, least=0)
        require_whole("attempts most_raises", self.most_raises, least=0)

    def wait_ms(self, attempts: int) -> float:
        """Return the wait in milliseconds after that many attempts in a row; 0 after none."""
        if attempts < 1 or self.first_wait_ms == 0.0:
            return 0.0
        try:
            grown = self.first_wait_ms * float(self.growth) ** (attempts - 1)
        except OverflowError:
            return float(self.longest_wait_ms)
        return float(min(grown, self.longest_wait_ms))

    @property
    def most_failed(self) -> int:
        """Least number of attempts after which neither the wait nor what LIVE takes grows."""
        attempts = max(self.most_raises, 1)
        while self.wait_ms(attempts) < self.wait_ms(attempts + 1) and attempts < _MOST_FAILED:
            attempts += 1
        return attempts

    def left_of(self, attempts: int, idle_ms: float) -> int:
        """Return how many of these attempts still count after a time without one."""
        if self.forgive_ms is None:
            return attempts
        return max(0, attempts - int(min(idle_ms / self.forgive_ms, float(attempts))))

    def attempts_within(self, duration_ms: float) -> int:
        """Return how many attempts without a LIVE fit into a time, each of one frame.

        Args:
            duration_ms: Time from the first attempt's frame on, in milliseconds.
        """
        if self.first_wait_ms == 0.0:
            raise UsageError("attempts first_wait_ms is 0: their number has no limit")
        count, at_ms = 0, 0.0
        while at_ms <= duration_ms:
            count += 1
            at_ms += self.wait_ms(count)
        return count


def _require_number(name: str, value: object, least: float) -> None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= least
    if not fits or not math.isfinite(value):  # type: ignore[arg-type]
        raise UsageError(f"{name} is {value!r}, expected a number of at least {least:g}")


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
        max_unscored: Frames in a row that may be RETRY or ERROR; after more of them the frames
            gathered before are dropped, because the face may have changed unseen.
        face_lost_ms: Longest gap between two frames that show a face, in milliseconds.
        min_overlap: Least intersection over union of the face boxes of two consecutive frames, in
            [0, 1]; a box that moves further counts as another face.
        remembered_frames: Number of last frames that no frame may repeat bit for bit; frames must
            also be in the order of their times. 0 for no check.
        repeat_ms: Time for which no frame may come again re-encoded or a little changed, in
            milliseconds; 0 for no check. See `fasdk.tracking.repeat_watch`.
        missing: Treatment of a capture that lacks one of the model's modalities.
        combinations: Combinations of the model's modalities that the camera may show besides all
            of them, where `missing` is DEGRADE; empty for the one that it showed first. Any other
            is an ERROR (new-combination): a sensor failed, or somebody covers one.
        attempts: Schedule of the attempts without a LIVE; None for unlimited attempts at once,
            with which an attack passes in the end.
        lock_out: Lock-out after repeated spoofs; None for none.
        on_disk: Whether attempts and lock-out are kept on disk, shared by every session and process
            of this account of the system, and outlive restarts. False only for recordings and
            tests: a restart begins afresh then.

    Raises:
        UsageError: A number is out of its range.
    """

    frames_required: int = 3
    max_ms: float = 5_000.0
    max_unscored: int = 5
    face_lost_ms: float = 1_000.0
    min_overlap: float = 0.3
    remembered_frames: int = 64
    repeat_ms: float = 10_000.0
    missing: MissingModalities = MissingModalities.REQUIRE
    combinations: tuple[tuple[Modality, ...], ...] = ()
    attempts: AttemptPolicy | None = field(default_factory=AttemptPolicy)
    lock_out: LockOutPolicy | None = field(default_factory=LockOutPolicy)
    on_disk: bool = True

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        require_whole("track frames_required", self.frames_required)
        require_whole("track remembered_frames", self.remembered_frames, least=0)
        require_whole("track max_unscored", self.max_unscored, least=0)
        require_ms("track max_ms", self.max_ms)
        require_ms("track face_lost_ms", self.face_lost_ms)
        require_ms("track repeat_ms", self.repeat_ms, least=0.0)
        if not isinstance(self.on_disk, bool):
            raise UsageError(f"track on_disk is {self.on_disk!r}, expected True or False")
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
