"""Recording of presentations: captures of a camera that pass the quality gates, kept as a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fasdk.cameras import READ_TIMEOUT_MS
from fasdk.capture import Capture, monotonic_ms
from fasdk.errors import BadCaptureError, CameraError, CaptureError, UsageError
from fasdk.faults import finding_of
from fasdk.quality import QualityLimits, assess
from fasdk.tracking.newness import FrameHistory
from fasdk_calibration.datasets.presented import Presented
from fasdk_calibration.datasets.recording import Recording
from fasdk_tools.recording.preview import PreviewNumbers, measure

if TYPE_CHECKING:
    from fasdk.cameras import Camera
    from fasdk.capture_loop import FaceLocator
    from fasdk.reasons import Finding
    from fasdk.registration import Rig

_REMEMBERED = 8  # frames of each sensor that none may repeat


@dataclass(frozen=True)
class RecordRequest:
    """What to record.

    Attributes:
        presented: Who or what is presented.
        consent: What the person agreed to; None where the list has it.
        frames: Captures of each presentation.
        presentations: Number of presentations.
        resume: Whether presentations of the same kind and person that the list holds count.
        every: One of this many captures that pass the gates is kept, so that they differ.
        limits: Quality limits on a capture.
        locator: Detector of the face; None leaves the camera's own face boxes.
        rig: Calibration of the sensors to each other; None takes the camera's own.
        timeout_ms: Longest time the camera may take for one capture, in milliseconds.
        patience_ms: Longest time without a capture that passes, in milliseconds.
    """

    presented: Presented
    consent: str | None = None
    frames: int = 5
    presentations: int = 1
    resume: bool = False
    every: int = 5
    limits: QualityLimits = field(default_factory=QualityLimits)
    locator: FaceLocator | None = None
    rig: Rig | None = None
    timeout_ms: float = READ_TIMEOUT_MS
    patience_ms: float = 120_000.0


@dataclass(frozen=True)
class RecordReport:
    """Result of a recording.

    Attributes:
        list: Path of the list.
        presentations: Presentations that were added.
        resumed: Presentations that the list had and that counted.
        captures: Captures of the presentations that were added.
        seen: Captures that the camera gave.
        refused: Captures that were not kept, by the code of the first reason.
    """

    list: Path
    presentations: int
    resumed: int
    captures: int
    seen: int
    refused: dict[str, int]


class RecordListener(Protocol):
    """Receiver of what happens, and the one who says when a presentation begins."""

    def is_due(self, presentation: int, /) -> bool:
        """Return whether a presentation may begin; asked at every capture before it does.

        Args:
            presentation: Its number, from 1.
        """
        ...

    def seen(self, numbers: PreviewNumbers, findings: tuple[Finding, ...], kept: int, /) -> None:
        """Take in one capture.

        Args:
            numbers: What was measured on it.
            findings: Why it does not pass; empty where it does.
            kept: Captures of the presentation that are kept so far.
        """
        ...

    def added(self, name: str, presentation: int, /) -> None:
        """Take in a presentation that is in the list now."""
        ...


def record(
    camera: Camera, recording: Recording, request: RecordRequest, listener: RecordListener
) -> RecordReport:
    """Record presentations from an open camera.

    Raises:
        CameraError: The camera stopped or its stream ended, or no capture passed for too long; what
            is in the list stays, and the presentation under way is not added.
        UsageError: A number of the request is out of its range.
        FasdkError: The disk is full, or the list was changed by something else.
    """
    for name in ("frames", "presentations", "every"):
        if getattr(request, name) < 1:
            raise UsageError(f"{name} is {getattr(request, name)}, expected at least 1")
    resumed = recording.count(request.presented) if request.resume else 0
    source = _Source(camera, request, listener)
    done = min(resumed, request.presentations)
    resumed = done
    while done < request.presentations:
        kept = 0
        try:
            with recording.presentation(request.presented, request.consent) as presentation:
                for capture in source.captures(done + 1):
                    presentation.add(capture)
                    kept += 1
                    if kept == request.frames:
                        break
        except CameraError as error:
            raise CameraError(
                f"{error}; presentation {done + 1} of {request.presentations} had {kept} of "
                f"{request.frames} captures and is not kept, {done - resumed} are added to "
                f"{recording.path}: --resume records the others"
            ) from error
        done += 1
        listener.added(presentation.name, done)
    return RecordReport(
        list=recording.path,
        presentations=done - resumed,
        resumed=resumed,
        captures=(done - resumed) * request.frames,
        seen=source.seen,
        refused=dict(source.refused),
    )


class _Source:
    """Captures of a camera that pass the gates.

    Attributes:
        seen: Captures that the camera gave.
        refused: Captures that did not pass, by the code of the first reason.
    """

    def __init__(self, camera: Camera, request: RecordRequest, listener: RecordListener) -> None:
        self._camera, self._request, self._listener = camera, request, listener
        self._history = FrameHistory(_REMEMBERED)
        self.seen = 0
        self.refused: Counter[str] = Counter()

    def captures(self, presentation: int) -> Iterator[Capture]:
        """Yield the captures to keep of a presentation, from when it may begin.

        Raises:
            CameraError: The camera stopped, or nothing passed for too long.
        """
        begun = self._listener.is_due(presentation)
        kept = passed = 0
        since_ms = monotonic_ms()
        while True:
            capture, findings = self._next()
            is_kept = begun and not findings and passed % self._request.every == 0
            passed += begun and not findings
            kept += is_kept
            numbers = PreviewNumbers() if capture is None else measure(capture)
            self._listener.seen(numbers, findings, kept)
            if not begun:
                begun = self._listener.is_due(presentation)
                since_ms = monotonic_ms()
                continue
            if not findings:
                since_ms = monotonic_ms()
            elif monotonic_ms() - since_ms > self._request.patience_ms:
                raise CameraError(
                    f"no capture passed for {self._request.patience_ms / 1000.0:g} s, the last one "
                    f"because of {findings[0].reason.value}: {findings[0].message}"
                )
            if is_kept and capture is not None:
                yield capture

    def _next(self) -> tuple[Capture | None, tuple[Finding, ...]]:
        """Return the camera's next capture, with why it does not pass."""
        capture = None
        try:
            capture = self._camera.read(self._request.timeout_ms)
            findings = self._findings(capture)
            if not findings:
                capture = self._placed(capture)
                now_ms = monotonic_ms()
                findings = assess(capture, self._request.limits, now_ms=now_ms)
        except (BadCaptureError, CaptureError) as error:
            findings = (finding_of(error),)
        self.seen += 1
        if findings:
            self.refused[findings[0].reason.value] += 1
        return capture, findings

    def _findings(self, capture: Capture) -> tuple[Finding, ...]:
        found = self._history.take_in(capture)
        return () if found is None else (found,)

    def _placed(self, capture: Capture) -> Capture:
        """Return a capture with its face in every frame, as a door has it judged."""
        if self._request.locator is not None:
            capture = self._request.locator.locate(capture)
        rig = self._camera.rig() if self._request.rig is None else self._request.rig
        return capture if rig is None else rig.register(capture)
