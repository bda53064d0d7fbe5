"""What spans the frames of one camera: the verdict on several of them, and the lock-out."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from fasdk.capture import monotonic_ms
from fasdk.decision import Decision, Verdict, missing_fault
from fasdk.faults import finding_of
from fasdk.reasons import Finding, Reason
from fasdk.sequential import ConsecutiveRun, ScoredFrame, SequentialRun, Step, select_test
from fasdk.tracking.face_watch import FaceWatch
from fasdk.tracking.lockout import LockOut
from fasdk.tracking.policy import TrackPolicy

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.sequential import Run

Clock = Callable[[], float]

_BEFORE_RESET = Finding(Reason.UNDECIDED, "the frame was handed in before the reset: go on")


class Judging(Protocol):
    """What a track asks of a session."""

    @property
    def bundle(self) -> Bundle:
        """The bundle in force."""

    def submit(self, capture: Capture) -> Future[Decision]:
        """Judge one capture by itself; the future always resolves."""


@dataclass(frozen=True)
class TrackDecision(Decision):
    """A camera's answer after one more frame; score, threshold and timings are that frame's.

    RETRY with the reason `undecided` means: go on. LIVE is said once for what was gathered; the
    frame after it begins anew.

    Attributes:
        camera_id: The camera.
        frames: Frames that counted towards this verdict.
        log_likelihood_ratio: What they say together, in nats; None where no sequential test was
            tuned or no frame counted.
        frame: The answer on the frame by itself; None where nobody judged it.
    """

    camera_id: str = ""
    frames: int = 0
    log_likelihood_ratio: float | None = None
    frame: Decision | None = None


class _Ticket:
    """One frame between `submit` and its answer."""

    __slots__ = ("at_ms", "capture", "frame", "future", "resets")

    def __init__(self, capture: Capture, at_ms: float, resets: int) -> None:
        self.capture = capture
        self.at_ms = at_ms
        self.resets = resets  # of the track before it was handed in
        self.frame: Decision | None = None  # None until the session has answered
        self.future: Future[TrackDecision] = Future()
        self.future.set_running_or_notify_cancel()  # its frame counts: it cannot be taken back


class Track:
    """One camera; made by `liveness.track(camera_id)`.

    Every method may be called from any thread. Frames count in the order in which they were
    submitted, and their futures resolve in that order, whatever order the session answers in.
    Callbacks run in the thread that resolves the future, with no lock held; `check` called there
    would wait for itself.

    What was gathered belongs to the face in view, and to one bundle and one combination of
    modalities: it is dropped when the face is lost (see `FaceWatch`), when a verdict was given,
    when time is up, after more than `max_unjudged` frames without a score, and when bundle or
    operating point change. A sequential test that is dropped while the face stays in view is one of
    its `runs_per_face`. The lock-out outlives all of that.

    Attributes:
        camera_id: Which camera.
        policy: How its frames make a verdict.

    Args:
        liveness: The session; tracks share its lanes.
        camera_id: Which camera.
        policy: How its frames make a verdict; None for the defaults.
        clock: Milliseconds of a monotonic clock; a reading before the last one is taken for it.
    """

    def __init__(
        self,
        liveness: Judging,
        camera_id: str,
        policy: TrackPolicy | None = None,
        *,
        clock: Clock = monotonic_ms,
    ) -> None:
        self.camera_id = camera_id
        self.policy = policy or TrackPolicy()
        self._liveness = liveness
        self._clock = clock
        self._lock = threading.Lock()
        self._tickets: deque[_Ticket] = deque()
        self._moving = False  # whether a thread is handing answers out
        self._latest_ms = 0.0
        self._face = FaceWatch(self.policy.face_lost_ms, self.policy.min_overlap)
        self._lock_out = LockOut(self.policy.lock_out)
        self._run: Run | None = None
        self._run_of: tuple[str, str] | None = None  # bundle and operating point
        self._unjudged = 0  # frames in a row
        self._resets = 0
        # Of the face in view: sequential tests without a LIVE, how the last ended, a SPOOF counted.
        self._runs = 0
        self._last = Step.UNDECIDED
        self._spoof_counted = False

    @property
    def is_locked_out(self) -> bool:
        """Whether every frame is answered ERROR (locked-out) at present."""
        with self._lock:
            return self._lock_out.is_locked(self._now_ms())

    def unlock(self) -> None:
        """Release a lock-out before its time."""
        with self._lock:
            self._lock_out.unlock()

    def reset(self) -> None:
        """Drop what was gathered and take whoever comes next for another; keeps the lock-out.

        Frames still under way belong to the one before: none counts, and what would
        be LIVE or SPOOF is RETRY.
        """
        with self._lock:
            self._resets += 1
            self._forget()

    def check(self, capture: Capture) -> TrackDecision:
        """Take in one frame and wait for the answer; every fault is a decision, never LIVE."""
        return self.submit(capture).result()

    def submit(self, capture: Capture) -> Future[TrackDecision]:
        """Take in one frame and return where the answer will be; never raises."""
        ticket, locked = self._enter(capture)
        if locked is not None:
            self._settle(ticket, self._unjudged_frame(Verdict.ERROR, locked))
            return ticket.future
        try:
            refusal = self._refusal(capture)
            if refusal is not None:
                self._settle(ticket, refusal)
            else:
                # No lock is held: the session may make its caller wait for room.
                judged = self._liveness.submit(capture)
                judged.add_done_callback(lambda done: self._settle(ticket, _result(done)))
        except Exception as error:  # noqa: BLE001 - a door must get an answer whatever happened
            self._settle(ticket, _failed(error))
        except BaseException as error:
            self._settle(ticket, _failed(error))  # else every later frame waits for this one
            raise
        return ticket.future

    def missed(self, capture: Capture, finding: Finding) -> TrackDecision:
        """Take in a frame that nobody could judge, such as one on which a face finder failed.

        It adds nothing and counts towards the policy's `max_unjudged`, since the face may have been
        another's meanwhile.

        Args:
            capture: The frame as it came; its face box counts if it has one.
            finding: Why it was not judged.
        """
        ticket, locked = self._enter(capture)
        finding = locked or finding
        verdict = Verdict.RETRY if finding.reason.mendable else Verdict.ERROR
        self._settle(ticket, self._unjudged_frame(verdict, finding))
        return ticket.future.result()

    def _enter(self, capture: Capture) -> tuple[_Ticket, Finding | None]:
        """Give a frame its place in the order; return why it is locked out, if it is."""
        with self._lock:
            now_ms = self._now_ms()
            ticket = _Ticket(capture, now_ms, self._resets)
            self._tickets.append(ticket)
            return ticket, self._locked_out(now_ms)

    def _now_ms(self) -> float:
        """Return the time; it stands still rather than run backwards or be no number."""
        self._latest_ms = max(self._latest_ms, self._clock())  # in this order a NaN is not taken
        return self._latest_ms

    def _refusal(self, capture: Capture) -> Decision | None:
        fault = self._lack(capture, self._liveness.bundle)
        return None if fault is None else self._unjudged_frame(*fault)

    def _lack(self, capture: Capture, bundle: Bundle) -> tuple[Verdict, Finding] | None:
        return missing_fault(self.policy.missing, bundle.manifest.modalities, capture.present)

    def _settle(self, ticket: _Ticket, frame: Decision) -> None:
        """Take a frame's own answer, and give out every answer whose turn has come."""
        with self._lock:
            if ticket.frame is not None:
                return
            ticket.frame = frame
            if self._moving:
                return
            self._moving = True
        while True:
            with self._lock:
                if not self._tickets or self._tickets[0].frame is None:
                    self._moving = False
                    return
                head = self._tickets.popleft()
                answer = self._answer(head)
            # A callback that raises SystemExit must not leave the frames behind it unanswered.
            with suppress(BaseException):
                head.future.set_result(answer)

    def _answer(self, ticket: _Ticket) -> TrackDecision:
        assert ticket.frame is not None  # noqa: S101 - only settled tickets get here
        try:
            return self._take_in(ticket, ticket.frame)
        except Exception as error:  # noqa: BLE001 - a door must get an answer whatever happened
            self._forget()
            return self._extend(_failed(error), None)

    def _take_in(self, ticket: _Ticket, frame: Decision) -> TrackDecision:
        now_ms = self._now_ms()
        locked = self._locked_out(now_ms)
        if locked is not None:
            self._forget()
            return self._say(frame, Verdict.ERROR, locked)
        bundle = self._liveness.bundle  # read once: a swap may come at any moment
        fault = self._fault_of(ticket.capture, frame, bundle)
        if ticket.resets != self._resets:
            return self._say(frame, *(fault or (Verdict.RETRY, _BEFORE_RESET)))
        same = self._face.is_same(ticket.capture, frame.codes, ticket.at_ms, judged=fault is None)
        if not same:
            self._begin_face()
        if fault is not None:
            return self._pass_over(ticket, frame, fault)
        self._unjudged = 0
        assert frame.operating_point is not None  # noqa: S101 - see _fault_of
        rules = (frame.bundle_id, frame.operating_point)
        if self._run is not None and self._run_of != rules:
            self._end_run(Step.OUT_OF_TIME)  # or it could be begun anew for ever
        if self._runs >= self.policy.runs_per_face:
            return self._turn_away(frame, now_ms)
        run = self._run or self._begin_run(rules, bundle)
        step = run.add(ScoredFrame(frame.score, frame.verdict is Verdict.LIVE, ticket.at_ms))
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
        """Answer a face that has had its runs the way its last one ended."""
        if self._last is Step.SPOOF:
            self._count_spoof(now_ms)
            return self._say(frame, Verdict.SPOOF)
        message = f"undecided {self._runs} times: step away from the camera and come back"
        return self._say(frame, Verdict.RETRY, Finding(Reason.UNDECIDED, message))

    def _count_spoof(self, now_ms: float) -> None:
        self._lock_out.spoof(now_ms, same_face=self._spoof_counted)
        self._spoof_counted = True

    def _fault_of(
        self, capture: Capture, frame: Decision, bundle: Bundle
    ) -> tuple[Verdict, Finding | None] | None:
        """Return the verdict on a frame that says nothing of the face, or None for one that does.

        A frame counts only as what the session says it is in every respect: a LIVE without a score
        or an operating point is none.
        """
        if frame.verdict not in (Verdict.LIVE, Verdict.SPOOF):
            return frame.verdict, None
        if not 0.0 <= frame.score <= 1.0:
            message = f"the frame's score is {frame.score}, expected a number in [0, 1]"
            return Verdict.ERROR, Finding(Reason.NOT_FINITE, message)
        if frame.operating_point is None:
            message = "the frame was judged at no operating point: run `fasdk tune`"
            return Verdict.ERROR, Finding(Reason.NO_OPERATING_POINT, message)
        if frame.bundle_id != bundle.id:
            message = "the frame was judged by a bundle that has been replaced: go on"
            return Verdict.RETRY, Finding(Reason.UNDECIDED, message)
        # Asked again, for a bundle that came after the frame may look at more than the one before.
        return self._lack(capture, bundle)

    def _pass_over(
        self, ticket: _Ticket, frame: Decision, fault: tuple[Verdict, Finding | None]
    ) -> TrackDecision:
        self._unjudged += 1
        expired = self._run is not None and self._run.is_expired(ticket.at_ms)
        if self._run is not None and (expired or self._unjudged > self.policy.max_unjudged):
            self._end_run(Step.OUT_OF_TIME)
        return self._say(frame, *fault)

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
        finding: Finding | None = None
        verdict = {Step.LIVE: Verdict.LIVE, Step.SPOOF: Verdict.SPOOF}.get(step, Verdict.RETRY)
        if verdict is Verdict.RETRY:
            why = {
                Step.UNDECIDED: "not enough to decide yet: keep looking at the camera",
                Step.OUT_OF_FRAMES: "the frame limit was reached undecided: it begins anew",
                Step.OUT_OF_TIME: "the time limit was reached undecided: it begins anew",
            }[step]
            finding = Finding(Reason.UNDECIDED, f"{run.frames} frames: {why}")
        return self._say(frame, verdict, finding, run)

    def _say(
        self,
        frame: Decision,
        verdict: Verdict,
        finding: Finding | None = None,
        run: Run | None = None,
    ) -> TrackDecision:
        """Return the answer after a frame, with a finding of the track's own beside the frame's."""
        said = frame
        if finding is not None and finding.reason not in frame.codes:
            said = replace(
                frame,
                reasons=(*frame.reasons, finding.message),
                codes=(*frame.codes, finding.reason),
            )
        return self._extend(replace(said, verdict=verdict), frame, run or self._run)

    def _extend(
        self, said: Decision, frame: Decision | None, run: Run | None = None
    ) -> TrackDecision:
        values: dict[str, Any] = {f.name: getattr(said, f.name) for f in fields(Decision)}
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
        self._runs = self._unjudged = 0
        self._spoof_counted = False

    def _locked_out(self, now_ms: float) -> Finding | None:
        left_ms = self._lock_out.left_ms(now_ms)
        if left_ms <= 0.0:
            return None
        until = "until unlock()" if math.isinf(left_ms) else f"for another {left_ms / 1e3:.1f} s"
        return Finding(
            Reason.LOCKED_OUT, f"camera {self.camera_id} is locked out {until}: repeated spoofs"
        )

    def _unjudged_frame(self, verdict: Verdict, finding: Finding) -> Decision:
        return Decision(
            verdict=verdict,
            reasons=(finding.message,),
            codes=(finding.reason,),
            bundle_id=self._liveness.bundle.id,
        )


def _result(done: Future[Decision]) -> Decision:
    """Return what a session's future holds; a cancelled or failed one is an ERROR."""
    try:
        return done.result(timeout=0)
    except BaseException as error:  # noqa: BLE001 - a door must get an answer whatever happened
        return _failed(error)


def _failed(error: BaseException) -> Decision:
    finding = finding_of(error)
    return Decision(Verdict.ERROR, reasons=(finding.message,), codes=(finding.reason,))
