"""Session behind the service: readiness, captures under way, and answers as JSON."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from fasdk.capture_loop import check_capture
from fasdk.errors import CaptureError, FasdkError
from fasdk.reasons import Remedy
from fasdk_tools.serving.refusals import Refusal, RefusedError
from fasdk_tools.terminal.decisions import check_document_of
from fasdk_tools.terminal.output import json_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from fasdk.capture_loop import FaceLocator
    from fasdk.decision import Decision
    from fasdk.registration import Rig
    from fasdk.session.session import Liveness
    from fasdk.tracking.policy import TrackPolicy
    from fasdk.tracking.track import Track
    from fasdk.watchdog import Watchdog
    from fasdk_tools.serving.capture_body import CaptureBody, CaptureReader
    from fasdk_tools.serving.limits import ServeLimits

T = TypeVar("T")

_STARTING = "the bundle is loaded and its golden captures are replayed: ask again in a second"


@dataclass(frozen=True)
class Deadline:
    """Time by which a request is answered.

    Attributes:
        at_s: The time, in seconds of `time.monotonic`.
    """

    at_s: float

    @classmethod
    def within(cls, milliseconds: float) -> Deadline:
        """Return the deadline that far from now."""
        return cls(time.monotonic() + milliseconds / 1e3)

    def sooner(self, milliseconds: float | None, started_s: float) -> Deadline:
        """Return the earlier of this deadline and one that far from a start."""
        if milliseconds is None:
            return self
        return Deadline(min(self.at_s, started_s + milliseconds / 1e3))

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.at_s - time.monotonic())

    def require(self) -> None:
        """Refuse what comes too late.

        Raises:
            RefusedError: The time has passed.
        """
        if self.left_s <= 0.0:
            raise late()


def late() -> RefusedError:
    """Return the refusal of a capture that was not answered in time."""
    return RefusedError(
        Refusal.DEADLINE, "no answer within the deadline: keep the door shut, and ask again"
    )


class RateLimit:
    """Bucket of tokens, one a capture, that fills by the second.

    Args:
        rate_per_s: Captures a second; as many may come at once.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._most = max(1.0, rate_per_s)
        self._clock = clock
        self._left = self._most
        self._filled_s = clock()

    def take(self) -> None:
        """Count one capture.

        Raises:
            RefusedError: There were too many within the last second.
        """
        now_s = self._clock()
        self._left = min(self._most, self._left + (now_s - self._filled_s) * self._rate_per_s)
        self._filled_s = now_s
        if self._left < 1.0:
            raise RefusedError(
                Refusal.RATE,
                f"more than {self._rate_per_s:g} captures a second: send fewer",
                {"Retry-After": "1"},
            )
        self._left -= 1.0


class Hand:
    """Place for one capture; a context manager that gives it back, or leaves it to the job.

    Args:
        places: Semaphore that the place was taken of.
    """

    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places
        self._is_left = False

    def __enter__(self) -> Hand:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place back, unless a job has it, which gives it back when it ends."""
        if not self._is_left:
            self._places.release()

    def run_in(self, pool: ThreadPoolExecutor, job: Callable[[], T]) -> Future[T]:
        """Run a job that keeps the place until it ends, whoever waits for it or does not."""
        future = pool.submit(job)
        self._is_left = True
        future.add_done_callback(lambda _: self._places.release())
        return future


class Service:
    """Answers to captures by one session, from the moment on that it is proven.

    Args:
        bundle: Path of the bundle, as it was given.
        limits: Limits on what is taken.
        reader: Reader of captures.
        locator: Detector of the face; None leaves the client's own face box.
        rig: Calibration of the sensors to each other; None for frames of one view.
        require_times: Whether a capture without times of exposure is RETRY (stale).
        track_policy: Rules by which a camera's frames make a verdict.
        watchdog: Client of systemd's watchdog, which gets every decision.
    """

    def __init__(
        self,
        bundle: Path,
        limits: ServeLimits,
        reader: CaptureReader,
        *,
        locator: FaceLocator | None = None,
        rig: Rig | None = None,
        require_times: bool = True,
        track_policy: TrackPolicy | None = None,
        watchdog: Watchdog,
    ) -> None:
        self.bundle = bundle
        self.limits = limits
        self.reader = reader
        self._locator = locator
        self._rig = rig
        self._require_times = require_times
        self._track_policy = track_policy
        self._watchdog = watchdog
        self._notifying = threading.Lock()
        self._rate = RateLimit(limits.rate_per_s)
        self._hands = threading.BoundedSemaphore(limits.captures)
        self._pool = ThreadPoolExecutor(limits.captures, "fasdk-serve")
        self._session: Liveness | None = None
        self._fault = _STARTING
        self._is_ended = False
        self._cameras: set[str] = set()
        self._streaming: set[str] = set()

    def serve(self, session: Liveness) -> None:
        """Judge captures by a session, whose golden captures were replayed, from now on."""
        self._session = session
        self._fault = ""

    def fail(self, fault: str) -> None:
        """Judge no capture until the session is proven again.

        Args:
            fault: Why, as a client is told.
        """
        self._fault = fault

    def end(self) -> None:
        """Take no capture any more; those under way are answered."""
        self._is_ended = True

    def close(self) -> None:
        """Wait for the captures under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def prove(self) -> None:
        """Score a golden capture, and be ready only while the engine does so.

        A decision that no restart would help is a sign of life for systemd, as one on a capture is.
        """
        session = self._session
        if session is None:
            return
        (decision,) = session.check_batch([session.bundle.golden[0].capture])
        faulty = [code.value for code in decision.codes if code.remedy is Remedy.RESTART]
        self._fault = (
            f"the engine fails on a golden capture ({', '.join(faulty)}): restart the service"
            if faulty
            else ""
        )
        self._notify(decision)

    def require_ready(self) -> None:
        """Refuse a capture before the golden captures were replayed, and while the engine fails.

        Raises:
            RefusedError: The service is not ready.
        """
        self._ready_session()

    def take_hand(self) -> Hand:
        """Return a place for one capture, which is received and judged in it.

        Raises:
            RefusedError: The service is not ready, all places are taken, or captures come too fast.
        """
        self.require_ready()
        self._rate.take()
        if not self._hands.acquire(blocking=False):
            raise RefusedError(
                Refusal.OVERLOADED,
                f"{self.limits.captures} captures are judged already: send fewer at once",
                {"Retry-After": "1"},
            )
        return Hand(self._hands)

    async def answer(
        self, body: CaptureBody, hand: Hand, deadline: Deadline, track: Track | None = None
    ) -> str:
        """Return the decision on a capture as JSON.

        Args:
            body: The capture as it was received.
            hand: Place that it takes, which is given back when it is judged.
            deadline: Time by which it is answered.
            track: Track of its camera; None decides on the capture by itself.

        Raises:
            RefusedError: The capture cannot be read, or was not answered in time.
        """
        started_s = time.monotonic()
        header = self._read(lambda: self.reader.header(body))
        deadline = deadline.sooner(header.deadline_ms, started_s)

        session = self._ready_session()

        def judge() -> str:
            capture = self._read(lambda: self.reader.capture(body, header))
            decision = check_capture(
                capture,
                session if track is None else track,
                self._locator,
                self._rig,
                require_times=self._require_times,
            )
            self._notify(decision)
            return json_line(check_document_of(decision, self.bundle, session.engine.backend))

        job = hand.run_in(self._pool, judge)
        try:
            text = await asyncio.wait_for(asyncio.wrap_future(job), deadline.left_s)
        except asyncio.TimeoutError:
            raise late() from None
        deadline.require()  # the process may have been stopped meanwhile
        return text

    async def stream(self, camera: str) -> Track:
        """Return the track of a camera, for one connection at a time; `end_stream` gives it back.

        What was gathered before belongs to another connection, and is dropped.

        Raises:
            RefusedError: Another connection streams the camera, or there are too many of them.
        """
        session = self._ready_session()
        if camera in self._streaming:
            raise RefusedError(
                Refusal.CAMERA_BUSY,
                f"another connection streams camera {camera}: close it first, or name another",
            )
        if camera not in self._cameras and len(self._cameras) >= self.limits.cameras:
            raise RefusedError(
                Refusal.CAMERA_BUSY,
                f"{self.limits.cameras} cameras were named already, expected the same names again: "
                "--cameras allows more",
            )
        self._cameras.add(camera)
        self._streaming.add(camera)
        try:
            loop = asyncio.get_running_loop()
            track = await loop.run_in_executor(None, session.track, camera, self._track_policy)
        except FasdkError as error:
            self.end_stream(camera)
            raise RefusedError(Refusal.UNEXPECTED, str(error)) from error
        except BaseException:
            self.end_stream(camera)
            raise
        track.reset()
        return track

    def end_stream(self, camera: str) -> None:
        """Give a camera's track back."""
        self._streaming.discard(camera)

    def _ready_session(self) -> Liveness:
        session = self._session
        if self._is_ended:
            raise RefusedError(Refusal.NOT_READY, "the service ends")
        if self._fault or session is None:
            raise RefusedError(Refusal.NOT_READY, self._fault or _STARTING, {"Retry-After": "1"})
        return session

    def _read(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except CaptureError as error:
            raise RefusedError(Refusal.BAD_REQUEST, str(error)) from error
        except FasdkError as error:  # such as a package that is needed and absent
            raise RefusedError(Refusal.UNEXPECTED, str(error)) from error

    def _notify(self, decision: Decision) -> None:
        with self._notifying:
            self._watchdog.notify_decision(decision)
