"""Multi-frame verdict and lock-out for one camera."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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
from fasdk.sequential import ConsecutiveRun, ScoredFrame, SequentialRun, Step, select_test
from fasdk.tracking.combinations import ShownCombinations
from fasdk.tracking.face_watch import FaceWatch
from fasdk.tracking.lockout import LockOut
from fasdk.tracking.policy import TrackPolicy

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.sequential import Run

T = TypeVar("T")
Clock = Callable[[], float]

_IDLE_S = 1.0  # how long a track's thread waits for another frame before it ends
_BEFORE_RESET = Finding(Reason.UNDECIDED, "the frame was submitted before the reset: go on")


class FrameScorer(Protocol):
    """Scorer of single captures, as a session is one."""

    @property
    def bundle(self) -> Bundle:
        """Bundle in force."""

    def submit(self, capture: Capture) -> Future[Decision]:
        """Score one capture by itself; the future always resolves."""


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
        frame: Decision on the frame by itself; None where it was not scored.
    """

    camera_id: str = ""
    frames: int = 0
    log_likelihood_ratio: float | None = None
    frame: Decision | None = None


@dataclass(frozen=True, eq=False)
class _PendingFrame:
    """One frame between `submit` and its answer.

    Attributes:
        capture: Capture of the frame.
        at_ms: Time of submission, in milliseconds of the track's clock.
        period: Period between two resets of the track that it was submitted in.
        scored: Future of the session's decision on it; a finding where it is not scored, None where
            it is to be submitted unless the camera is locked out.
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
    operating point change. A sequential test that is dropped while the face stays in view is one of
    its `runs_per_face`. The lock-out outlives all of that.

    Attributes:
        camera_id: Name of the camera.
        policy: Rules by which its frames make a verdict.

    Args:
        session: Session that scores single frames; tracks share its lanes.
        camera_id: Name of the camera.
        policy: Rules by which its frames make a verdict; None for the defaults.
        clock: Monotonic clock in milliseconds; a reading before the last one counts as equal to it.
    """

    def __init__(
        self,
        session: FrameScorer,
        camera_id: str,
        policy: TrackPolicy | None = None,
        *,
        clock: Clock = monotonic_ms,
    ) -> None:
        self.camera_id = camera_id
        self.policy = policy or TrackPolicy()
        self._session = session
        self._clock = clock
        self._process = os.getpid()
        self._frames: SimpleQueue[_PendingFrame] = SimpleQueue()
        self._serving = threading.Lock()  # held by the thread that takes frames in
        self._period = object()  # another one after each reset
        self._seems_locked = False  # as of the last frame; read without the lock
        self._lock = threading.Lock()  # of every field below; never taken in a caller's thread
        self._served_period = self._period
        self._latest_ms = 0.0
        self._latest_at_ms = 0.0  # of the frames
        self._face = FaceWatch(self.policy.face_lost_ms, self.policy.min_overlap)
        self._lock_out = LockOut(self.policy.lock_out)
        self._combinations = (
            ShownCombinations(camera_id, self.policy.combinations)
            if self.policy.missing is MissingModalities.DEGRADE
            else None
        )
        self._run: Run | None = None
        self._run_of: tuple[str, str] | None = None  # bundle and operating point
        self._unscored_frames = 0  # frames in a row
        # Of the face in view: sequential tests without a LIVE, how the last ended, and whether a
        # SPOOF was counted.
        self._runs = 0
        self._last = Step.UNDECIDED
        self._spoof_counted = False

    @property
    def is_locked_out(self) -> bool:
        """Whether every frame is answered ERROR (locked-out) at present."""
        return not self._is_own_process or in_own_thread(self._check_locked_out)

    def unlock(self) -> None:
        """Release a lock-out before its time.

        Raises:
            ClosedError: This is a forked child process.
        """
        self._require_own_process()
        in_own_thread(self._unlock)

    def reset(self) -> None:
        """Drop what was gathered and treat the next face as another one; keeps the lock-out.

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
        if not self._seems_locked:
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
            future.set_result(self._extend(self._refused(finding_of(error)), None))
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
                    self._forget()
                    raise
                finally:
                    self._seems_locked = self._lock_out.is_locked(self._latest_ms)
        except BaseException as error:  # noqa: BLE001 - every frame gets an answer
            return self._extend(refused([finding_of(error)]), None)

    def _score(self, pending: _PendingFrame) -> Decision:
        """Return the decision on a frame by itself; it waits for the session's."""
        scored = pending.scored
        if scored is None:
            with self._lock:
                locked = self._locked_out(self._now_ms())
            if locked is not None:
                return self._refused(locked)
            scored = self._missing(pending.capture) or self._submit(pending.capture)
        if isinstance(scored, Finding):
            return self._refused(scored)
        try:
            return scored.result()
        except BaseException as error:  # noqa: BLE001 - one that failed or was cancelled
            return refused([finding_of(error)])

    def _check_locked_out(self) -> bool:
        with self._lock:
            return self._lock_out.is_locked(self._now_ms())

    def _unlock(self) -> None:
        with self._lock:
            self._lock_out.unlock()
            self._seems_locked = False

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
            self._forget()
        locked = self._locked_out(now_ms)
        if locked is not None:
            self._forget()
            return self._answer(add_findings(frame, [locked]), frame)
        bundle = self._session.bundle  # read once: a swap may come at any moment
        unscored = self._unscored(pending.capture, frame, bundle)
        if pending.period is not period:
            if unscored is None:
                unscored = add_findings(frame, [_BEFORE_RESET])
            return self._answer(unscored, frame)
        same = self._face.is_same(pending.capture, frame.codes, at_ms, is_scored=unscored is None)
        if not same:
            self._begin_face()
        if unscored is not None:
            return self._pass_over(at_ms, frame, unscored)
        self._unscored_frames = 0
        assert frame.operating_point is not None  # noqa: S101 - see _unscored
        rules = (frame.bundle_id, frame.operating_point)
        if self._run is not None and self._run_of != rules:
            self._end_run(Step.OUT_OF_TIME)  # else it could be restarted without end
        if self._runs >= self.policy.runs_per_face:
            return self._turn_away(frame, now_ms)
        run = self._run or self._begin_run(rules, bundle)
        step = run.add(ScoredFrame(frame.score, frame.is_live, at_ms))
        if step is not Step.UNDECIDED:
            self._end_run(step)
        if step is Step.SPOOF:
            self._count_spoof(now_ms)
        return self._verdict(frame, step, run)

    def _end_run(self, step: Step) -> None:
        if isinstance(self._run, SequentialRun):
            self._runs = 0 if step is Step.LIVE else self._runs + 1
        self._run, self._last = None, step

    def _turn_away(self, frame: Decision, now_ms: float) -> TrackDecision:
        """Answer a face that has used up its runs the way its last one ended."""
        if self._last is Step.SPOOF:
            self._count_spoof(now_ms)
            return self._answer(replace(frame, verdict=Verdict.SPOOF), frame)
        message = f"undecided {self._runs} times: step away from the camera and come back"
        return self._answer(add_findings(frame, [Finding(Reason.UNDECIDED, message)]), frame)

    def _count_spoof(self, now_ms: float) -> None:
        self._lock_out.spoof(now_ms, same_face=self._spoof_counted)
        self._spoof_counted = True

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

    def _pass_over(self, at_ms: float, frame: Decision, unscored: Decision) -> TrackDecision:
        self._unscored_frames += 1
        expired = self._run is not None and self._run.is_expired(at_ms)
        if self._run is not None and (expired or self._unscored_frames > self.policy.max_unscored):
            self._end_run(Step.OUT_OF_TIME)
        return self._answer(unscored, frame)

    def _begin_run(self, rules: tuple[str, str], bundle: Bundle) -> Run:
        test = select_test(bundle.manifest.sequential_tests, rules[1])
        limit_ms = self.policy.max_ms
        self._run_of = rules
        self._run = (
            ConsecutiveRun(self.policy.frames_required, limit_ms)
            if test is None
            else SequentialRun(test, limit_ms)
        )
        return self._run

    def _verdict(self, frame: Decision, step: Step, run: Run) -> TrackDecision:
        if step is Step.LIVE:
            return self._answer(replace(frame, verdict=Verdict.LIVE), frame, run)
        if step is Step.SPOOF:
            return self._answer(replace(frame, verdict=Verdict.SPOOF), frame, run)
        why = {
            Step.UNDECIDED: "not enough to decide yet: keep looking at the camera",
            Step.OUT_OF_FRAMES: "the frame limit was reached undecided: it begins anew",
            Step.OUT_OF_TIME: "the time limit was reached undecided: it begins anew",
        }[step]
        finding = Finding(Reason.UNDECIDED, f"{run.frames} frames: {why}")
        return self._answer(add_findings(frame, [finding]), frame, run)

    def _answer(self, decided: Decision, frame: Decision, run: Run | None = None) -> TrackDecision:
        """Return the answer after a frame, with the run that it belongs to."""
        return self._extend(decided, frame, run or self._run)

    def _extend(
        self, decided: Decision, frame: Decision | None, run: Run | None = None
    ) -> TrackDecision:
        values: dict[str, Any] = {f.name: getattr(decided, f.name) for f in fields(Decision)}
        return TrackDecision(
            **values,
            camera_id=self.camera_id,
            frames=0 if run is None else run.frames,
            log_likelihood_ratio=None if run is None else run.log_likelihood_ratio,
            frame=frame,
        )

    def _forget(self) -> None:
        self._begin_face()
        self._face.forget()

    def _begin_face(self) -> None:
        self._run, self._last = None, Step.UNDECIDED
        self._runs = self._unscored_frames = 0
        self._spoof_counted = False

    def _locked_out(self, now_ms: float) -> Finding | None:
        left_ms = self._lock_out.left_ms(now_ms)
        if left_ms <= 0.0:
            return None
        until = "until unlock()" if math.isinf(left_ms) else f"for another {left_ms / 1e3:.1f} s"
        return Finding(
            Reason.LOCKED_OUT, f"camera {self.camera_id} is locked out {until}: repeated spoofs"
        )
