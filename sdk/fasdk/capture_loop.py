"""The loop of a door: a decision for each capture, and going on through the camera's faults."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from fasdk.cameras import READ_TIMEOUT_MS
from fasdk.capture import Capture, monotonic_ms
from fasdk.decision import Decision, Verdict
from fasdk.errors import CameraError, EndOfStreamError
from fasdk.faults import finding_of
from fasdk.reasons import Finding, Reason
from fasdk.registration import Rig
from fasdk.tracking.track import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fasdk.cameras import Camera
    from fasdk.capture import FaceBox


class Checker(Protocol):
    """What judges one capture: a session, or one camera's track of it."""

    def check(self, capture: Capture) -> Decision:
        """Return the decision on one capture; faults are ERROR decisions, not exceptions."""
        ...


class FaceFinder(Protocol):
    """What finds the face in a capture."""

    def locate(self, capture: Capture) -> Capture:
        """Return the capture with its face, or with none where nobody is seen."""
        ...


class FixedFace:
    """A face that is always in one place, as behind a window."""

    def __init__(self, face: FaceBox) -> None:
        self._face = face

    def locate(self, capture: Capture) -> Capture:
        """Return the capture with that face box.

        Raises:
            CaptureError: The box is not inside the frame.
        """
        return replace(capture, face=self._face, faces={})


@dataclass(frozen=True)
class Backoff:
    """How long to wait after a camera's fault, twice as long after each in a row.

    Attributes:
        first_ms: After the first.
        longest_ms: At most.
    """

    first_ms: float = 100.0
    longest_ms: float = 5000.0

    def pause_ms(self, faults_in_a_row: int) -> float:
        """Return the wait after that many faults, at least 1."""
        return float(min(self.first_ms * 2.0 ** min(faults_in_a_row - 1, 60), self.longest_ms))


@dataclass(frozen=True)
class Outcome:
    """What one turn of the loop came to.

    Attributes:
        capture: Which capture, from 1 on; None where the camera gave none.
        decision: The answer; ERROR with code `camera` for the camera's fault.
        latency_ms: From when its oldest frame was taken to the answer; None without a capture.
        unix_s: When the answer was there, on the clock of the day.
    """

    capture: int | None
    decision: Decision
    latency_ms: float | None
    unix_s: float


def outcomes(
    camera: Camera,
    checker: Checker,
    finder: FaceFinder | None = None,
    *,
    rig: Rig | None = None,
    max_captures: int | None = None,
    timeout_ms: float = READ_TIMEOUT_MS,
    backoff: Backoff | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Outcome]:
    """Yield a decision a capture, and one for every fault of the camera, until its stream ends.

    Nothing that a camera, a finder or a checker raises ends the loop, and none of it is LIVE. Every
    capture goes through finder, rig and checker in turn.

    Args:
        camera: Where captures come from.
        checker: What judges them.
        finder: What says where the face is; None takes the camera's word.
        rig: How the sensors stand to each other; None takes the camera's own calibration.
        max_captures: End after so many captures; None for no end.
        timeout_ms: How long the camera may take for one capture.
        backoff: How long to wait after a fault before the camera is asked again.
        sleep: Waits that many seconds.
    """
    backoff = backoff or Backoff()
    captures = faults = 0
    while max_captures is None or captures < max_captures:
        try:
            capture = _read(camera, timeout_ms)
        except EndOfStreamError:
            return
        except Exception as error:  # noqa: BLE001 - whatever a driver does, the door goes on
            faults += 1
            finding = finding_of(error)
            if finding.reason is not Reason.BAD_CAPTURE:
                finding = Finding(Reason.CAMERA, finding.message)
            yield Outcome(None, _answer(finding), None, time.time())
            sleep(backoff.pause_ms(faults) / 1000.0)
            continue
        faults = 0
        captures += 1
        decision = _judge(capture, checker, finder, camera if rig is None else rig)
        taken_ms = min(capture.taken_ms.values(), default=None)
        latency_ms = None if taken_ms is None else monotonic_ms() - taken_ms
        yield Outcome(captures, decision, latency_ms, time.time())


def _read(camera: Camera, timeout_ms: float) -> Capture:
    found: object = camera.read(timeout_ms)
    if not isinstance(found, Capture):
        kind = type(found).__name__
        raise CameraError(f"{camera.name} gave a {kind}, expected a fasdk.Capture")
    return found


def _judge(
    capture: Capture, checker: Checker, finder: FaceFinder | None, place: Rig | Camera
) -> Decision:
    try:
        if finder is not None:
            capture = finder.locate(capture)
            if capture.face is None:
                return _nobody(checker.check(capture))
        rig = place if isinstance(place, Rig) else place.rig()
        return checker.check(capture if rig is None else rig.register(capture))
    except Exception as error:  # noqa: BLE001 - an answer is owed for every capture
        finding = finding_of(error)
    if isinstance(checker, Track):
        return checker.missed(capture, finding)
    return _answer(finding)


def _nobody(heard: Decision) -> Decision:
    """Return the answer where nobody was found; the checker heard of it, whatever it made of it."""
    judged = heard.verdict in {Verdict.LIVE, Verdict.SPOOF} or Reason.BAD_CAPTURE in heard.codes
    if not judged:
        return heard
    return _answer(Finding(Reason.NO_FACE, "no face in view: step in front of the camera"))


def _answer(finding: Finding) -> Decision:
    verdict = Verdict.RETRY if finding.reason.mendable else Verdict.ERROR
    return Decision(verdict=verdict, reasons=(finding.message,), codes=(finding.reason,))
