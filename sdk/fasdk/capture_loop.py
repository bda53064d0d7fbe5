"""Capture loop of a door: one decision per capture, through faults of the camera."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from fasdk.cameras import READ_TIMEOUT_MS
from fasdk.capture import Capture, monotonic_ms
from fasdk.decision import Decision, Verdict, refused
from fasdk.errors import (
    BadCaptureError,
    CameraError,
    EndOfStreamError,
    ForeignCameraError,
    UnreadableRecordingError,
)
from fasdk.faults import finding_of
from fasdk.quality.freshness import untimed_finding
from fasdk.reasons import Finding, Reason
from fasdk.registration import Rig
from fasdk.tracking.track import Track
from fasdk.truth import NoTruthValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fasdk.audit import AuditLog
    from fasdk.cameras import Camera
    from fasdk.capture import FaceBox

_log = logging.getLogger("fasdk.capture_loop")


class Checker(Protocol):
    """Scorer of one capture at a time, such as a session or the track of one camera."""

    def check(self, capture: Capture) -> Decision:
        """Return the decision on one capture; faults are decisions, not exceptions."""
        ...


class FaceLocator(Protocol):
    """Detector of the face in a capture, such as `fasdk.FaceFinder`."""

    def locate(self, capture: Capture) -> Capture:
        """Return the capture with its face, or with none where no face is found."""
        ...


class FixedFace:
    """Locator for a face that is always in one place, as behind a window.

    Args:
        face: Face box, in pixels of a capture's first frame.
    """

    def __init__(self, face: FaceBox) -> None:
        self._face = face

    def locate(self, capture: Capture) -> Capture:
        """Return the capture with that face box.

        Raises:
            CaptureError: The box is not inside the frame.
        """
        return replace(capture, face=self._face, faces={}, landmarks=None, frame_landmarks={})


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off after faults of the camera, doubled after each in a row.

    Attributes:
        first_ms: Wait after the first fault, in milliseconds.
        longest_ms: Longest wait, in milliseconds.
    """

    first_ms: float = 100.0
    longest_ms: float = 5000.0

    def pause_ms(self, faults_in_a_row: int) -> float:
        """Return the wait in milliseconds after that many faults, at least 1."""
        return float(min(self.first_ms * 2.0 ** min(faults_in_a_row - 1, 60), self.longest_ms))


@dataclass(frozen=True)
class CaptureResult(NoTruthValue):
    """Result of one turn of the capture loop; `if result` raises TypeError.

    Attributes:
        capture: Number of the capture, from 1; None where the camera gave none.
        decision: Decision on it; ERROR with code `camera` for a fault of the camera, with code
            `foreign-camera` for one that is not the camera it must be, with code `bad-capture` for
            a recording's capture that cannot be read.
        latency_ms: Milliseconds from the exposure of its oldest frame to the decision; None without
            frames.
        unix_s: Time of the decision, in seconds since the Unix epoch.
    """

    capture: int | None
    decision: Decision
    latency_ms: float | None
    unix_s: float


def run_captures(
    camera: Camera,
    checker: Checker,
    locator: FaceLocator | None = None,
    *,
    rig: Rig | None = None,
    max_captures: int | None = None,
    timeout_ms: float = READ_TIMEOUT_MS,
    backoff: Backoff | None = None,
    audit: AuditLog | None = None,
    sleep: Callable[[float], None] = time.sleep,
    observe: Callable[[Capture, Decision], None] | None = None,
) -> Iterator[CaptureResult]:
    """Yield one result per capture and per fault of the camera, until the camera's stream ends.

    No exception of a camera, a locator or a checker ends the loop, and none of them becomes LIVE.
    Only a recording that cannot be read does, since no later read of it would help.
    Every capture passes locator, rig and checker in turn. A recording's capture that cannot be read
    is an ERROR at once: it counts among the captures, and the next is read without a pause. A
    capture with a frame that the camera gave no time of exposure is RETRY (stale), whatever the
    limits: nobody can tell how old it is.

    Args:
        camera: Source of the captures.
        checker: Scorer of the captures.
        locator: Detector of the face; None leaves the camera's own face boxes.
        rig: Calibration of the sensors to each other; None takes the camera's own.
        max_captures: Number of captures after which to end; None for no end.
        timeout_ms: Longest time the camera may take for one capture, in milliseconds.
        backoff: Waits after a fault before the camera is read again; None for the defaults.
        audit: Log in which every decision stands before it is yielded; None for none.
        sleep: Function that waits for that many seconds.
        observe: Receiver of every capture, with its face in every frame where that was found, and
            its decision, once the caller asks for the next result; one that raises is dropped.

    Raises:
        UnreadableRecordingError: The camera is a recording that cannot be read.
    """
    backoff = backoff or Backoff()
    camera_id = "" if audit is None else _name_of(camera, checker)

    def result(number: int | None, decision: Decision, capture: Capture | None) -> CaptureResult:
        if audit is not None:
            decision = audit.record(decision, camera_id)
        latency_ms = None if capture is None else _latency_ms(capture)
        return CaptureResult(number, decision, latency_ms, time.time())

    captures = faults = 0
    while max_captures is None or captures < max_captures:
        try:
            capture = _read(camera, timeout_ms)
        except EndOfStreamError:
            return
        except UnreadableRecordingError:
            raise
        except BadCaptureError as error:
            faults = 0
            captures += 1
            yield result(captures, refused([finding_of(error)]), None)
            continue
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the loop goes on
            faults += 1
            if isinstance(error, ForeignCameraError) and isinstance(checker, Track):
                checker.reset()  # what was gathered may be of the camera that was put in its place
            finding = finding_of(error)
            if finding.reason not in (Reason.BAD_CAPTURE, Reason.FOREIGN_CAMERA):
                finding = Finding(Reason.CAMERA, finding.message)
            yield result(None, refused([finding]), None)
            sleep(backoff.pause_ms(faults) / 1000.0)
            continue
        faults = 0
        captures += 1
        registrar = camera.rig if rig is None else rig
        capture, decision = _checked(capture, checker, locator, registrar, require_times=True)
        answer = result(captures, decision, capture)
        yield answer
        if observe is not None:  # after the answer, which the door waits for
            observe = _observed(observe, capture, answer.decision)


def _name_of(camera: Camera, checker: Checker) -> str:
    if isinstance(checker, Track):
        return checker.camera_id
    try:
        return camera.identity()
    except Exception:  # noqa: BLE001 - a driver's own; the name it was opened by says enough
        return camera.name


def _read(camera: Camera, timeout_ms: float) -> Capture:
    found: object = camera.read(timeout_ms)
    if not isinstance(found, Capture):
        kind = type(found).__name__
        raise CameraError(f"{camera.name} gave a {kind}, expected a fasdk.Capture")
    return found


def _latency_ms(capture: Capture) -> float | None:
    try:
        taken_ms = min(capture.taken_ms.values(), default=None)
        return None if taken_ms is None else monotonic_ms() - taken_ms
    except Exception:  # noqa: BLE001 - a driver may have changed the times after they were checked
        return None


def check_capture(
    capture: Capture,
    checker: Checker,
    locator: FaceLocator | None = None,
    rig: Rig | Callable[[], Rig | None] | None = None,
    *,
    require_times: bool = True,
) -> Decision:
    """Return the decision on one capture, which passes locator, rig and checker; never raises.

    Args:
        capture: The capture.
        checker: Scorer of the captures.
        locator: Detector of the face; None leaves the capture's own face box.
        rig: Calibration of the sensors to each other, or what returns it; None for frames of one
            view.
        require_times: Whether a frame without a time of exposure is RETRY (stale).
    """
    return _checked(capture, checker, locator, rig, require_times=require_times)[1]


def _checked(
    capture: Capture,
    checker: Checker,
    locator: FaceLocator | None,
    rig: Rig | Callable[[], Rig | None] | None,
    *,
    require_times: bool,
) -> tuple[Capture, Decision]:
    """Return a capture as it was judged, and the decision on it; see `check_capture`."""
    try:
        untimed = untimed_finding(capture) if require_times else None
        if untimed is not None:
            return capture, _refused(capture, checker, untimed)
        if locator is not None:
            capture = locator.locate(capture)
            if capture.face is None:
                return capture, _no_face(checker.check(capture))
        rig = rig if rig is None or isinstance(rig, Rig) else rig()
        capture = capture if rig is None else rig.register(capture)
        return capture, checker.check(capture)
    except Exception as error:  # noqa: BLE001 - every capture gets an answer
        finding = finding_of(error)
    return capture, _refused(capture, checker, finding)


def _observed(
    observe: Callable[[Capture, Decision], None], capture: Capture, decision: Decision
) -> Callable[[Capture, Decision], None] | None:
    """Hand a capture to an observer, and return it where it goes on."""
    try:
        observe(capture, decision)
    except Exception:  # noqa: BLE001 - whatever an observer raises, the door goes on
        _log.exception("what observes the captures failed, and is not asked again")
        return None
    return observe


def _refused(capture: Capture, checker: Checker, finding: Finding) -> Decision:
    if isinstance(checker, Track):
        return checker.missed(capture, finding)
    return refused([finding])


def _no_face(decision: Decision) -> Decision:
    """Return the answer where no face was found, given the checker's own decision.

    The checker sees the capture, so that a track notices that the face has gone; a verdict of its
    on a capture without a face does not count.
    """
    scored = decision.verdict in {Verdict.LIVE, Verdict.SPOOF}
    if not (scored or Reason.BAD_CAPTURE in decision.codes):
        return decision
    return refused([Finding(Reason.NO_FACE, "no face in view: step in front of the camera")])
