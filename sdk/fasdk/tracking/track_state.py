"""State of one camera between its frames: face, run, newness and attempts."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fasdk.decision import Decision, Verdict, add_findings
from fasdk.errors import FasdkError
from fasdk.faults import finding_of
from fasdk.plain_text import plain_line
from fasdk.reasons import Finding, Reason
from fasdk.sequential import ConsecutiveRun, ScoredFrame, SequentialRun, Step, select_test
from fasdk.tracking.attempts import Standing, refusal_of
from fasdk.tracking.face_watch import FaceWatch
from fasdk.tracking.motion_watch import MotionWatch
from fasdk.tracking.newness import FrameHistory
from fasdk.tracking.repeat_watch import RepeatWatch
from fasdk.tracking.size_watch import SizeWatch
from fasdk.tracking.stamp_watch import StampWatch
from fasdk.tracking.track_decision import TrackDecision

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.sequential import Run
    from fasdk.tracking.attempts import AttemptAccount
    from fasdk.tracking.policy import TrackPolicy

_log = logging.getLogger(__name__)


class TrackState:
    """What was gathered of one camera; `Track` calls it for one frame at a time, in their order.

    Args:
        camera_id: Name of the camera.
        policy: Rules by which its frames make a verdict.
        account: Account of its attempts and its lock-out.
        late: Function of a capture that returns why a LIVE on it would come too late, or None.
        compares_motion: Whether a LIVE is refused where the sensors do not move together, or the
            face's size and distance do not change together.
    """

    def __init__(
        self,
        camera_id: str,
        policy: TrackPolicy,
        account: AttemptAccount,
        late: Callable[[Capture], Finding | None],
        *,
        compares_motion: bool,
    ) -> None:
        self._camera_id = camera_id
        self._policy = policy
        self._account = account
        self._late = late
        self._face = FaceWatch(policy.face_lost_ms, policy.min_overlap)
        self._history = FrameHistory(policy.remembered_frames)
        self._stamps = StampWatch()
        self._repeats = RepeatWatch(policy.repeat_ms) if policy.repeat_ms else None
        self._motion = MotionWatch() if compares_motion else None
        self._size = SizeWatch() if compares_motion else None
        self._doubt: Finding | None = None  # of a frame of the run that no sensor took
        self._run: Run | None = None
        self._run_of: tuple[str, str] | None = None  # bundle and operating point
        self._is_charged = False  # whether the account has the run as an attempt
        self._scored_ms = -math.inf  # time of the last frame that counted
        self._unscored_frames = 0  # frames in a row
        self._spoof_counted = False  # of the face in view
        self._was_live = False  # the face in view

    def refusal(self, now_ms: float) -> Finding | None:
        """Return why no frame is judged at present: a wait, a lock-out, or an unreadable account.

        The wait of an attempt does not stop its own frames.

        Args:
            now_ms: Time at present, in milliseconds.
        """
        try:
            standing = self._account.standing(now_ms)
        except FasdkError as error:
            return finding_of(error)
        if self._run is not None:
            standing = replace(standing, wait_ms=0.0)
        return refusal_of(standing, self._camera_id)

    def wait_ms(self, now_ms: float) -> float:
        """Return for how many milliseconds no frame is judged; infinite until a release by hand."""
        try:
            standing = self._account.standing(now_ms)
        except FasdkError:
            return 0.0  # what it has to say is its finding's
        return max(standing.locked_ms, 0.0 if self._run is not None else standing.wait_ms)

    def is_locked_out(self, now_ms: float) -> bool:
        """Return whether the camera is locked out; also where its account cannot be read."""
        try:
            return self._account.standing(now_ms).locked_ms > 0.0
        except FasdkError:
            return True

    def release(self, now_ms: float) -> None:
        """Forget the attempts and end the lock-out, by hand.

        Raises:
            AttemptError: It cannot be recorded.
        """
        self._account.release(now_ms)

    def forget(self, now_ms: float) -> None:
        """Drop what was gathered and treat the next face as another one."""
        self._begin_face(now_ms)
        self._face.forget()

    def take_in(
        self,
        capture: Capture,
        frame: Decision,
        unscored: Decision | None,
        bundle: Bundle,
        at_ms: float,
        now_ms: float,
    ) -> TrackDecision:
        """Take in one frame and return the track's answer.

        Args:
            capture: Capture of the frame.
            frame: Decision on it by itself.
            unscored: Answer where the frame is no evidence about the face; None where it is.
            bundle: Bundle in force.
            at_ms: Time of its submission, in milliseconds.
            now_ms: Time at present.

        Raises:
            AttemptError: The attempt that it begins cannot be recorded.
        """
        refusal = self.refusal(now_ms)
        if refusal is not None:  # also for frames under way when the wait or the lock-out began
            self.forget(now_ms)
            return self._answer(add_findings(frame, [refusal]), frame, now_ms)
        same = self._face.is_same(capture, frame.codes, at_ms, is_scored=unscored is None)
        if not same:
            self._begin_face(now_ms)
        if unscored is None:
            strange = self._stamps.take_in(capture, at_ms)
            if strange is not None:
                return self._refuse(frame, strange, now_ms)
            unscored = self._not_new(capture, frame)
        if unscored is not None:
            return self._pass_over(frame, unscored, at_ms, now_ms)
        self._unscored_frames = 0
        attempts = self._policy.attempts
        if attempts is not None and at_ms - self._scored_ms < attempts.least_frame_ms:
            message = f"one frame in {attempts.least_frame_ms:g} ms counts: keep looking"
            finding = Finding(Reason.UNDECIDED, message)
            return self._answer(add_findings(frame, [finding]), frame, now_ms)
        return self._count(capture, frame, bundle, at_ms, now_ms)

    def _count(
        self, capture: Capture, frame: Decision, bundle: Bundle, at_ms: float, now_ms: float
    ) -> TrackDecision:
        """Count a frame towards the run, which it may begin or end; return the track's answer."""
        assert frame.operating_point is not None  # noqa: S101 - a scored frame has one
        rules = (frame.bundle_id, frame.operating_point)
        if self._run is not None and self._run_of != rules:
            self._end_run(Step.OUT_OF_TIME, now_ms)  # else it could be restarted without end
        self._doubt = self._doubt_about(capture, at_ms) or self._doubt
        if frame.is_live and self._doubt is not None:
            return self._refuse(frame, self._doubt, now_ms)
        if self._run is None:
            refusal = self._begin_run(rules, bundle, at_ms, now_ms)
            if refusal is not None:
                return self._answer(add_findings(frame, [refusal]), frame, now_ms)
        run = self._run
        assert run is not None  # noqa: S101 - it was begun
        self._scored_ms = at_ms
        step = run.add(ScoredFrame(frame.score, frame.is_live, at_ms))
        if step is Step.LIVE and (doubt := self._doubt or self._late(capture)) is not None:
            return self._refuse(frame, doubt, now_ms)
        if step is not Step.UNDECIDED:
            self._end_run(step, now_ms)
        if step is Step.SPOOF:
            self._count_spoof(now_ms)
        return self._verdict(frame, step, run, now_ms)

    def _doubt_about(self, capture: Capture, at_ms: float) -> Finding | None:
        """Take in a frame that counts; return why its sensors did not take it together, or None."""
        found = [
            None if self._repeats is None else self._repeats.take_in(capture, at_ms),
            None if self._motion is None else self._motion.take_in(capture),
            None if self._size is None else self._size.take_in(capture),
        ]
        return next((each for each in found if each is not None), None)

    def _not_new(self, capture: Capture, frame: Decision) -> Decision | None:
        """Return the answer on a frame that was there before or is out of order, else None."""
        finding = self._history.take_in(capture)
        return None if finding is None else add_findings(frame, [finding])

    def _begin_run(
        self, rules: tuple[str, str], bundle: Bundle, at_ms: float, now_ms: float
    ) -> Finding | None:
        """Begin a run and charge it as an attempt; return why it may not begin, if so.

        What follows a LIVE while the face stays in view is charged only when it ends without one,
        and not when the person has walked on.
        """
        standing = Standing()
        if not self._was_live:
            standing = self._account.begin(at_ms, now_ms)
            refusal = refusal_of(standing, self._camera_id)
            if refusal is not None:
                return refusal
        self._is_charged = not self._was_live
        policy = self._policy
        test = select_test(bundle.manifest.sequential_tests, rules[1])
        raised_nats, raised_frames = 0.0, 0
        if policy.attempts is not None:
            raised_nats = policy.attempts.raise_nats * standing.raises
            raised_frames = policy.attempts.raise_frames * standing.raises
        self._run_of = rules
        self._run = (
            ConsecutiveRun(policy.frames_required + raised_frames, policy.max_ms)
            if test is None
            else SequentialRun(test, policy.max_ms, raised_nats)
        )
        return None

    def _refuse(self, frame: Decision, doubt: Finding, now_ms: float) -> TrackDecision:
        """Return the answer on a frame that may open no door; its run ends without a LIVE."""
        run = self._run
        if run is not None:
            self._end_run(Step.OUT_OF_TIME, now_ms)
        self._doubt = None
        return self._answer(add_findings(frame, [doubt]), frame, now_ms, run)

    def _end_run(self, step: Step, now_ms: float) -> None:
        self._run, self._doubt = None, None
        if step is Step.LIVE:
            self._was_live = True
            self._record(lambda: self._account.live(now_ms))
        else:
            self._fail(now_ms)

    def _fail(self, now_ms: float) -> None:
        """Note that the run ended without a LIVE."""
        is_charged, self._is_charged, self._was_live = self._is_charged, False, False
        self._record(
            lambda: self._account.end_failed(self._scored_ms, now_ms, is_charged=is_charged)
        )

    def _count_spoof(self, now_ms: float) -> None:
        same_face, self._spoof_counted = self._spoof_counted, True
        self._record(lambda: self._account.spoof(now_ms, same_face=same_face))

    def _record(self, change: Callable[[], None]) -> None:
        """Record the end of an attempt; where that fails, its charge stays as it began."""
        try:
            change()
        except FasdkError as error:
            _log.error("camera %s: %s", plain_line(self._camera_id), error)

    def _pass_over(
        self, frame: Decision, unscored: Decision, at_ms: float, now_ms: float
    ) -> TrackDecision:
        self._unscored_frames += 1
        expired = self._run is not None and self._run.is_expired(at_ms)
        if self._run is not None and (expired or self._unscored_frames > self._policy.max_unscored):
            self._end_run(Step.OUT_OF_TIME, now_ms)
        return self._answer(unscored, frame, now_ms)

    def _verdict(self, frame: Decision, step: Step, run: Run, now_ms: float) -> TrackDecision:
        if step is Step.LIVE:
            return self._answer(replace(frame, verdict=Verdict.LIVE), frame, now_ms, run)
        if step is Step.SPOOF:
            return self._answer(replace(frame, verdict=Verdict.SPOOF), frame, now_ms, run)
        why = {
            Step.UNDECIDED: "not enough to decide yet: keep looking at the camera",
            Step.OUT_OF_FRAMES: "the frame limit was reached undecided: it begins anew",
            Step.OUT_OF_TIME: "the time limit was reached undecided: it begins anew",
        }[step]
        finding = Finding(Reason.UNDECIDED, f"{run.frames} frames: {why}")
        return self._answer(add_findings(frame, [finding]), frame, now_ms, run)

    def _answer(
        self, decided: Decision, frame: Decision, now_ms: float, run: Run | None = None
    ) -> TrackDecision:
        """Return the answer after a frame, with the run that it belongs to."""
        return TrackDecision.of(
            decided, frame, self._camera_id, run or self._run, self.wait_ms(now_ms)
        )

    def _begin_face(self, now_ms: float) -> None:
        if self._run is not None:
            self._run = None
            if self._is_charged:
                self._fail(now_ms)
        self._unscored_frames = 0
        self._doubt = None
        if self._motion is not None:
            self._motion.forget()
        if self._size is not None:
            self._size.forget()
        self._spoof_counted = self._was_live = self._is_charged = False
