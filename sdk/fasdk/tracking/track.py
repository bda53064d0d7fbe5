"""Multi-frame verdict and lock-out for one camera."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeVar

from fasdk.answer_future import AnswerFuture
from fasdk.capture import monotonic_ms
from fasdk.decision import (
    Decision,
    MissingModalities,
    Verdict,
    add_findings,
    missing_finding,
    refused,
)
from fasdk.errors import ClosedError, FasdkError
from fasdk.faults import finding_of
from fasdk.own_thread import in_own_thread, raise_unless_repeated, start_in_background
from fasdk.reasons import Finding, Reason
from fasdk.tracking.attempts import AttemptAccount, MemoryStore
from fasdk.tracking.combinations import ShownCombinations
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track_decision import TrackDecision
from fasdk.tracking.track_state import TrackState

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.quality import QualityLimits

__all__ = ["Track", "TrackDecision"]

T = TypeVar("T")
Clock = Callable[[], float]

_IDLE_S = 1.0  # how long a track's thread waits for another frame before it ends
_BEFORE_RESET = Finding(Reason.UNDECIDED, "the frame was submitted before the reset: go on")


class FrameScorer(Protocol):
    """Scorer of single captures, as a session is one."""

    @property
    def bundle(self) -> Bundle:
        """Bundle in force."""

    @property
    def limits(self) -> QualityLimits:
        """Quality limits, of which `sensors_agree` also asks for one movement."""

    def submit(self, capture: Capture) -> Future[Decision]:
        """Score one capture by itself; the future always resolves."""

    def late(self, capture: Capture) -> Finding | None:
        """Return why a LIVE on a capture would come too late at present, or None."""


@dataclass(frozen=True, eq=False)
class _PendingFrame:
    """One frame between `submit` and its answer.

    Attributes:
        capture: Capture of the frame.
        at_ms: Time of submission, in milliseconds of the track's clock.
        period: Period between two resets of the track that it was submitted in.
        scored: Future of the session's decision on it; a finding where it is not scored, None where
            it is to be submitted unless the camera judges nobody.
        future: Future of the track's decision after it.
    """

    capture: Capture
    at_ms: float
    period: object
    scored: Future[Decision] | Finding | None
    future: AnswerFuture[TrackDecision]


class Track:
    """Multi-frame state of one camera; made by `liveness.track(camera_id)`.

    Every method may be called from any thread. Frames count in the order in which they were
    submitted, and their futures resolve in that order, whatever order the session answers in. They
    are taken in by a thread of the track's own, which ends when no frame comes for a while, so that
    an exception of a signal handler leaves no frame half taken in. Callbacks run in that thread,
    with no lock held; `check` called there would wait for itself. In a forked child process the
    track is closed.

    What was gathered belongs to the face in view, and to one bundle and one combination of
    modalities: it is dropped when the face is lost (see `FaceWatch`), when a verdict was given,
    when time is up, after more than `max_unscored` frames without a score, and when bundle or
    operating point change. Whatever ends without a LIVE is an attempt: the camera judges nobody for
    a time that grows with each, as `AttemptPolicy` says. Attempts and lock-out outlive all of that,
    and the process too where their account is on disk.

    Attributes:
        camera_id: Name of the camera.
        policy: Rules by which its frames make a verdict.

    Args:
        session: Session that scores single frames; tracks share its lanes.
        camera_id: Name of the camera.
        policy: Rules by which its frames make a verdict; None for the defaults.
        account: Account of its attempts and its lock-out; None for one in memory.
        clock: Monotonic clock in milliseconds; a reading before the last one counts as equal to it.
    """

    def __init__(
        self,
        session: FrameScorer,
        camera_id: str,
        policy: TrackPolicy | None = None,
        *,
        account: AttemptAccount | None = None,
        clock: Clock = monotonic_ms,
    ) -> None:
        self.camera_id = camera_id
        self.policy = policy = policy or TrackPolicy()
        account = account or AttemptAccount(policy.attempts, policy.lock_out, MemoryStore())
        self._session = session
        self._clock = clock
        self._process = os.getpid()
        self._frames: SimpleQueue[_PendingFrame] = SimpleQueue()
        self._serving = threading.Lock()  # held by the thread that takes frames in
        self._period = object()  # another one after each reset
        self._seems_refused = False  # as of the last frame; read without the lock
        self._lock = threading.Lock()  # of every field below; never taken in a caller's thread
        self._served_period = self._period
        self._latest_ms = 0.0
        self._latest_at_ms = 0.0  # of the frames
        self._state = TrackState(
            camera_id,
            policy,
            account,
            session.late,
            compares_motion=session.limits.sensors_agree,
        )
        self._combinations = (
            ShownCombinations(camera_id, self.policy.combinations)
            if self.policy.missing is MissingModalities.DEGRADE
            else None
        )

    @property
    def is_locked_out(self) -> bool:
        """Whether every frame is answered ERROR (locked-out) at present."""
        return not self._is_own_process or in_own_thread(self._check_locked_out)

    def unlock(self) -> None:
        """End a lock-out and the wait before the next attempt, and forget the attempts.

        Raises:
            AttemptError: It cannot be recorded.
            ClosedError: This is a forked child process.
        """
        self._require_own_process()
        in_own_thread(self._unlock)

    def reset(self) -> None:
        """Drop what was gathered and treat the next face as another one; keeps the attempts.

        Frames still under way belong to the face before: none of them counts, and a LIVE or SPOOF
        among them becomes RETRY.
        """
        self._period = object()

    def check(self, capture: Capture) -> TrackDecision:
        """Take in one frame and wait for the answer; every fault becomes a decision, never LIVE."""
        return self.submit(capture).wait()

    def submit(self, capture: Capture) -> AnswerFuture[TrackDecision]:
        """Take in one frame and return the future of the answer; never raises.

        An exception of the application's own, such as one that a signal handler raises, reaches it;
        the frame may then count or not.
        """
        if not self._is_own_process:
            return self._closed()
        at_ms, period = self._time_ms(), self._period
        scored: Future[Decision] | Finding | None = None
        if not self._seems_refused:
            scored = self._missing(capture) or self._submit(capture)
        return self._enter(capture, at_ms, period, scored)

    def missed(self, capture: Capture, finding: Finding) -> TrackDecision:
        """Take in a frame that could not be scored, such as one on which a face detector failed.

        It adds nothing and counts towards the policy's `max_unscored`, since the face may have been
        another's meanwhile.

        Args:
            capture: Frame as it came; its face box counts if it has one.
            finding: Why it was not scored.
        """
        if not self._is_own_process:
            return self._closed().wait()
        return self._enter(capture, self._time_ms(), self._period, finding).wait()

    @property
    def _is_own_process(self) -> bool:
        """Whether this is not a forked child, which has no thread that takes frames in."""
        return self._process == os.getpid()

    def _require_own_process(self) -> None:
        if not self._is_own_process:
            raise ClosedError(
                f"this track belongs to process {self._process}, of which this is a fork: open the "
                "bundle again here"
            )

    def _closed(self) -> AnswerFuture[TrackDecision]:
        future: AnswerFuture[TrackDecision] = AnswerFuture()
        try:
            self._require_own_process()
        except ClosedError as error:
            answer = self._refused(finding_of(error))
            future.set_result(TrackDecision.of(answer, None, self.camera_id))
        return future

    def _missing(self, capture: Capture) -> Finding | None:
        """Return which modalities the policy misses in a frame, in a caller's thread."""
        return self._try(lambda: self._find_missing(capture, self._session.bundle))

    def _submit(self, capture: Capture) -> Future[Decision] | Finding:
        """Submit a frame to the session, in a caller's thread."""
        return self._try(lambda: self._session.submit(capture))

    def _try(self, step: Callable[[], T]) -> T | Finding:
        """Return what a step returns or why it failed; raise what was not of its own making."""
        try:
            return step()
        except FasdkError as error:
            return finding_of(error)
        except Exception as error:  # noqa: BLE001 - every frame gets an answer
            return finding_of(raise_unless_repeated(error, step))

    def _find_missing(self, capture: Capture, bundle: Bundle) -> Finding | None:
        return missing_finding(self.policy.missing, bundle.manifest.modalities, capture.present)

    def _enter(
        self,
        capture: Capture,
        at_ms: float,
        period: object,
        scored: Future[Decision] | Finding | None,
    ) -> AnswerFuture[TrackDecision]:
        """Queue a frame with all it takes to answer it, in one call that nothing can interrupt."""
        future: AnswerFuture[TrackDecision] = AnswerFuture()
        future.set_running_or_notify_cancel()  # its frame counts: it cannot be cancelled
        self._frames.put(_PendingFrame(capture, at_ms, period, scored, future))
        if not self._serving.locked():
            start_in_background(self._serve, f"fasdk-track-{self.camera_id}")
        return future

    def _serve(self) -> None:
        """Take in frames until none has come for a while, unless another thread does."""
        while not self._frames.empty() and self._serving.acquire(blocking=False):
            try:
                while self._serve_one():
                    pass
            finally:
                self._serving.release()

    def _serve_one(self) -> bool:
        try:
            pending = self._frames.get(timeout=_IDLE_S)
        except Empty:
            return False
        answer = self._answer_frame(pending)
        with suppress(BaseException):  # what a callback raises, SystemExit included
            pending.future.set_result(answer)
        return True

    def _answer_frame(self, pending: _PendingFrame) -> TrackDecision:
        try:
            frame = self._score(pending)
            with self._lock:
                try:
                    return self._take_in(pending, frame)
                except BaseException:
                    self._state.forget(self._latest_ms)
                    raise
                finally:
                    self._seems_refused = self._state.wait_ms(self._latest_ms) > 0.0
        except BaseException as error:  # noqa: BLE001 - every frame gets an answer
            return TrackDecision.of(refused([finding_of(error)]), None, self.camera_id)

    def _score(self, pending: _PendingFrame) -> Decision:
        """Return the decision on a frame by itself; it waits for the session's."""
        scored = pending.scored
        if scored is None:
            with self._lock:
                refusal = self._state.refusal(self._now_ms())
            if refusal is not None:
                return self._refused(refusal)
            scored = self._missing(pending.capture) or self._submit(pending.capture)
        if isinstance(scored, Finding):
            return self._refused(scored)
        try:
            return scored.result()
        except BaseException as error:  # noqa: BLE001 - one that failed or was cancelled
            return refused([finding_of(error)])

    def _check_locked_out(self) -> bool:
        with self._lock:
            return self._state.is_locked_out(self._now_ms())

    def _unlock(self) -> None:
        with self._lock:
            self._state.release(self._now_ms())
            self._seems_refused = False

    def _now_ms(self) -> float:
        """Return the time; it stands still rather than run backwards or become NaN."""
        self._latest_ms = self._time_ms()
        return self._latest_ms

    def _time_ms(self) -> float:
        """Return `_now_ms` as a caller's thread may read it, which notes nothing."""
        return max(self._latest_ms, self._clock())  # in this order a NaN is not taken

    def _refused(self, finding: Finding) -> Decision:
        bundle = self._session.bundle
        return refused([finding], bundle_id=bundle.id, trust=bundle.trust)

    def _take_in(self, pending: _PendingFrame, frame: Decision) -> TrackDecision:
        now_ms = self._now_ms()
        at_ms = self._latest_at_ms = max(self._latest_at_ms, pending.at_ms)
        period = self._period  # read once: a reset may come at any moment
        if period is not self._served_period:
            self._served_period = period
            self._state.forget(now_ms)
        bundle = self._session.bundle  # read once: a swap may come at any moment
        unscored = self._unscored(pending.capture, frame, bundle)
        if pending.period is not period:
            if unscored is None:
                unscored = add_findings(frame, [_BEFORE_RESET])
            wait_ms = self._state.wait_ms(now_ms)
            return TrackDecision.of(unscored, frame, self.camera_id, wait_ms=wait_ms)
        return self._state.take_in(pending.capture, frame, unscored, bundle, at_ms, now_ms)

    def _unscored(self, capture: Capture, frame: Decision, bundle: Bundle) -> Decision | None:
        """Return the answer on a frame that is no evidence about the face, None for one that is.

        A frame is evidence only where its decision is complete: a LIVE without a score or an
        operating point is not.
        """
        if frame.verdict not in (Verdict.LIVE, Verdict.SPOOF):
            return frame
        finding: Finding | None
        if not 0.0 <= frame.score <= 1.0:
            message = f"the frame's score is {frame.score}, expected a number in [0, 1]"
            finding = Finding(Reason.NOT_FINITE, message)
        elif frame.operating_point is None:
            message = "the frame was scored at no operating point: run `fasdk tune`"
            finding = Finding(Reason.NO_OPERATING_POINT, message)
        elif frame.bundle_id != bundle.id:
            message = "the frame was scored by a bundle that has been replaced: go on"
            finding = Finding(Reason.UNDECIDED, message)
        else:
            # Checked again: a bundle swapped in after the frame may use more modalities.
            finding = self._find_missing(capture, bundle)
            if finding is None and self._combinations is not None:
                present, modalities = capture.present, bundle.manifest.modalities
                finding = self._combinations.finding(present, modalities)
        return None if finding is None else add_findings(frame, [finding])
