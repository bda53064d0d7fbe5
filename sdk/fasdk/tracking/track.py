"""Multi-frame verdict and lock-out for one camera."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from fasdk.capture import monotonic_ms
from fasdk.decision import Decision, Verdict, add_findings, missing_finding, refused
from fasdk.faults import finding_of
from fasdk.ordering import InOrder
from fasdk.reasons import Finding, Reason
from fasdk.tracking.attempts import AttemptAccount, MemoryStore
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track_decision import TrackDecision
from fasdk.tracking.track_state import TrackState

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.ordering import Place

__all__ = ["Track", "TrackDecision"]

Clock = Callable[[], float]

_BEFORE_RESET = Finding(Reason.UNDECIDED, "the frame was submitted before the reset: go on")


class FrameScorer(Protocol):
    """Scorer of single captures, as a session is one."""

    @property
    def bundle(self) -> Bundle:
        """Bundle in force."""

    def submit(self, capture: Capture) -> Future[Decision]:
        """Score one capture by itself; the future always resolves."""

    def late(self, capture: Capture) -> Finding | None:
        """Return why a LIVE on a capture would come too late at present, or None."""


class _PendingFrame:
    """One frame between `submit` and its answer.

    Attributes:
        capture: Capture of the frame.
        at_ms: Time of submission, in milliseconds of the track's clock.
        resets: Number of resets of the track before it was submitted.
        place: Place in the order of submission.
        future: Future of the track's decision after it.
    """

    __slots__ = ("at_ms", "capture", "future", "place", "resets")

    def __init__(self, capture: Capture, at_ms: float, resets: int, place: Place) -> None:
        self.capture = capture
        self.at_ms = at_ms
        self.resets = resets
        self.place = place
        self.future: Future[TrackDecision] = Future()
        self.future.set_running_or_notify_cancel()  # its frame counts: it cannot be cancelled


class Track:
    """Multi-frame state of one camera; made by `liveness.track(camera_id)`.

    Every method may be called from any thread. Frames count in the order in which they were
    submitted, and their futures resolve in that order, whatever order the session answers in.
    Callbacks run in the thread that resolves the future, with no lock held; `check` called there
    would wait for itself.

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
        self._lock = threading.Lock()  # of every field below but the order, which has its own
        self._order = InOrder()
        self._latest_ms = 0.0
        self._state = TrackState(camera_id, policy, account, session.late)
        self._resets = 0

    @property
    def is_locked_out(self) -> bool:
        """Whether every frame is answered ERROR (locked-out) at present."""
        with self._lock:
            return self._state.is_locked_out(self._now_ms())

    def unlock(self) -> None:
        """End a lock-out and the wait before the next attempt, and forget the attempts.

        Raises:
            AttemptError: It cannot be recorded.
        """
        with self._lock:
            self._state.release(self._now_ms())

    def reset(self) -> None:
        """Drop what was gathered and treat the next face as another one; keeps the attempts.

        Frames still under way belong to the face before: none of them counts, and a LIVE or SPOOF
        among them becomes RETRY.
        """
        with self._lock:
            self._resets += 1
            self._state.forget(self._now_ms())

    def check(self, capture: Capture) -> TrackDecision:
        """Take in one frame and wait for the answer; every fault becomes a decision, never LIVE."""
        return self.submit(capture).result()

    def submit(self, capture: Capture) -> Future[TrackDecision]:
        """Take in one frame and return the future of the answer; never raises."""
        pending, refusal = self._enter(capture)
        if refusal is not None:
            self._settle(pending, self._refused(refusal))
            return pending.future
        try:
            missing = self._missing(capture, self._session.bundle)
            if missing is not None:
                self._settle(pending, self._refused(missing))
            else:
                # No lock is held: the session may make its caller wait for room in its queue.
                scored = self._session.submit(capture)
                scored.add_done_callback(lambda done: self._settle(pending, _result(done)))
        except Exception as error:  # noqa: BLE001 - every frame gets an answer
            self._settle(pending, refused([finding_of(error)]))
        except BaseException as error:
            # Without an answer every later frame would wait for this one.
            self._settle(pending, refused([finding_of(error)]))
            raise
        return pending.future

    def missed(self, capture: Capture, finding: Finding) -> TrackDecision:
        """Take in a frame that could not be scored, such as one on which a face detector failed.

        It adds nothing and counts towards the policy's `max_unscored`, since the face may have been
        another's meanwhile.

        Args:
            capture: Frame as it came; its face box counts if it has one.
            finding: Why it was not scored.
        """
        pending, refusal = self._enter(capture)
        self._settle(pending, self._refused(refusal or finding))
        return pending.future.result()

    def _enter(self, capture: Capture) -> tuple[_PendingFrame, Finding | None]:
        """Give a frame its place in the order; return why the camera judges nobody, if so."""
        with self._lock:
            now_ms = self._now_ms()
            pending = _PendingFrame(capture, now_ms, self._resets, self._order.take_place())
            return pending, self._state.refusal(now_ms)

    def _now_ms(self) -> float:
        """Return the time; it stands still rather than run backwards or become NaN."""
        self._latest_ms = max(self._latest_ms, self._clock())  # in this order a NaN is not taken
        return self._latest_ms

    def _missing(self, capture: Capture, bundle: Bundle) -> Finding | None:
        return missing_finding(self.policy.missing, bundle.manifest.modalities, capture.present)

    def _refused(self, finding: Finding) -> Decision:
        return refused([finding], bundle_id=self._session.bundle.id)

    def _settle(self, pending: _PendingFrame, frame: Decision) -> None:
        """Take the decision on a frame by itself, and give out every answer whose turn has come."""
        self._order.settle(pending.place, lambda: self._deliver(pending, frame))

    def _deliver(self, pending: _PendingFrame, frame: Decision) -> None:
        with self._lock:
            try:
                answer = self._take_in(pending, frame)
            except Exception as error:  # noqa: BLE001 - every frame gets an answer
                self._state.forget(self._latest_ms)
                answer = TrackDecision.of(refused([finding_of(error)]), None, self.camera_id)
        pending.future.set_result(answer)

    def _take_in(self, pending: _PendingFrame, frame: Decision) -> TrackDecision:
        now_ms = self._now_ms()
        bundle = self._session.bundle  # read once: a swap may come at any moment
        unscored = self._unscored(pending.capture, frame, bundle)
        if pending.resets != self._resets:
            decided = unscored or add_findings(frame, [_BEFORE_RESET])
            return TrackDecision.of(
                decided, frame, self.camera_id, wait_ms=self._state.wait_ms(now_ms)
            )
        return self._state.take_in(pending.capture, frame, unscored, bundle, pending.at_ms, now_ms)

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
            finding = self._missing(capture, bundle)
        return None if finding is None else add_findings(frame, [finding])


def _result(done: Future[Decision]) -> Decision:
    """Return the result of a session's future; a cancelled or failed one is refused."""
    try:
        return done.result(timeout=0)
    except BaseException as error:  # noqa: BLE001 - every frame gets an answer
        return refused([finding_of(error)])
