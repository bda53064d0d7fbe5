"""Commissioning under way: takes captures, says how far it is, and keeps numbers alone."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fasdk.capture import Capture, Modality
from fasdk.errors import FasdkError
from fasdk.faults import finding_of
from fasdk.reasons import Finding, Reason
from fasdk.site.groups import Group, GroupMaker, Observation
from fasdk.site.measurement import Measurement, measure
from fasdk.tracking.newness import FrameHistory
from fasdk_tools.commissioning.plan import StepKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.cameras import Camera
    from fasdk.capture_loop import FaceLocator
    from fasdk.decision import Decision
    from fasdk.registration import Rig
    from fasdk.session.session import Liveness
    from fasdk_tools.commissioning.plan import Plan, Step

_REMEMBERED = 8  # frames of each sensor that none may repeat


@dataclass(frozen=True)
class Reading:
    """Numbers of one capture of a step.

    Attributes:
        step: Position of its step in the plan.
        taken_ms: Time of its first frame; NaN without one.
        measured: What was measured on it.
        codes: Reasons why it was turned away, by rank; empty where it was judged.
        score: P(bona fide); NaN where it was not judged.
        latency_ms: Time of the judgment in milliseconds; NaN where there was none.
        modalities: Modalities it held.
    """

    step: int
    taken_ms: float
    measured: Measurement
    codes: tuple[Reason, ...]
    score: float
    latency_ms: float
    modalities: tuple[Modality, ...]

    @property
    def is_judged(self) -> bool:
        """Whether it passed the gates and has a score."""
        return not self.codes and math.isfinite(self.score)


@dataclass(frozen=True)
class Progress:
    """How far a commissioning is, after a capture.

    Attributes:
        step: Step that the next capture belongs to; None where all are done.
        judged: Captures of that step that were judged.
        seen: Captures of that step that were looked at.
        done: Steps that are over.
        steps: Steps of the plan.
        measured: What was measured on the capture.
        findings: Why it was turned away; empty where it was judged.
        score: Its P(bona fide); NaN where it was not judged.
    """

    step: Step | None
    judged: int
    seen: int
    done: int
    steps: int
    measured: Measurement = field(default_factory=Measurement)
    findings: tuple[Finding, ...] = ()
    score: float = math.nan


class Commissioning:
    """Commissioning of one camera with an open session, driven capture by capture.

    A caller, such as the command line or a page, shows `progress.step.instruction`, waits until
    the person is ready, and hands in captures while the step stays the same. No frame is kept.

    Attributes:
        plan: Steps, in order.
        session: Session of the bundle, with the door's own quality limits.
        camera: Identity of the camera.
        readings: Numbers of every capture that was taken in.
        groups: One group of captures of each presentation of a person, for the baseline.
        faults: Faults of the camera that were reported, by their code.
        started_unix_s: Time of the beginning, in seconds since the Unix epoch.

    Args:
        plan: Steps, in order.
        session: Session of the bundle.
        camera: Camera that the captures come from; its rig is used where `rig` is None.
        locator: Detector of the face; None leaves the camera's own face boxes.
        rig: Calibration of the sensors to each other.
    """

    def __init__(
        self,
        plan: Plan,
        session: Liveness,
        camera: Camera,
        *,
        locator: FaceLocator | None = None,
        rig: Rig | None = None,
    ) -> None:
        self.plan = plan
        self.session = session
        self.camera = camera.identity()
        self.readings: list[Reading] = []
        self.groups: list[Group] = []
        self.faults: Counter[str] = Counter()
        self.started_unix_s = time.time()
        self._source, self._locator, self._rig = camera, locator, rig
        self._history = FrameHistory(_REMEMBERED)
        self._maker = GroupMaker(1)
        self._at = 0
        self._judged = self._seen = 0

    @property
    def progress(self) -> Progress:
        """How far it is at present."""
        return self._progress()

    @property
    def rig(self) -> Rig | None:
        """Calibration of the sensors that is in force."""
        return self._source.rig() if self._rig is None else self._rig

    def take_in(self, capture: Capture) -> Progress:
        """Judge a capture of the present step, note its numbers, and go on when it has enough.

        Never raises for what a capture shows: a fault turns it away, with its reason.
        """
        measured, findings, decision = self._judge(capture)
        step = self.plan.steps[self._at] if self._at < len(self.plan.steps) else None
        if step is None:
            return self._progress(measured, findings)
        score = decision.score if decision is not None and not findings else math.nan
        reading = Reading(
            self._at,
            min(capture.taken_ms.values(), default=math.nan),
            measured,
            tuple(finding.reason for finding in findings),
            score,
            math.nan if decision is None else decision.timings_ms.get("end_to_end", math.nan),
            capture.present,
        )
        self.readings.append(reading)
        if decision is not None and step.kind is StepKind.PERSON:
            has_face = measured.face_px is not None
            observation = Observation.of_measured(measured, decision, 0.0, has_face=has_face)
            self.groups += self._maker.take_in(observation)
        self._seen += 1
        self._judged += reading.is_judged
        if self._judged >= step.captures or self._seen >= step.most:
            self.end_step()
        return self._progress(measured, findings, score)

    def fault(self, error: Exception) -> Progress:
        """Note that the camera gave no capture."""
        self.faults[finding_of(error).reason.value] += 1
        return self._progress()

    def end_step(self) -> Progress:
        """Go on with the next step, whatever the present one has."""
        self.groups += self._maker.finish()
        self._at = min(self._at + 1, len(self.plan.steps))
        self._judged = self._seen = 0
        return self._progress()

    def _progress(
        self,
        measured: Measurement | None = None,
        findings: tuple[Finding, ...] = (),
        score: float = math.nan,
    ) -> Progress:
        steps = self.plan.steps
        return Progress(
            steps[self._at] if self._at < len(steps) else None,
            self._judged,
            self._seen,
            self._at,
            len(steps),
            measured or Measurement(),
            findings,
            score,
        )

    def _judge(self, capture: Capture) -> tuple[Measurement, tuple[Finding, ...], Decision | None]:
        try:
            repeated = self._history.take_in(capture)
            if self._locator is not None:
                capture = self._locator.locate(capture)
            rig = self.rig
            if rig is not None:
                capture = rig.register(capture)
            measured = measure(capture)
        except FasdkError as error:
            return Measurement(), (finding_of(error),), None
        decision = self.session.check(capture)
        findings = _findings(decision)
        return measured, findings if repeated is None else (repeated, *findings), decision


def _findings(decision: Decision) -> tuple[Finding, ...]:
    pairs: Sequence[tuple[Reason, str]] = list(zip(decision.codes, decision.reasons, strict=True))
    return tuple(Finding(code, reason) for code, reason in pairs)
