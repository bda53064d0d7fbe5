"""From logits to a Decision: one bundle's rules, and the proof that an engine keeps to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.capture import Capture, monotonic_ms
from fasdk.decision import (
    Decision,
    MissingModalities,
    OperatingPoint,
    ScoreCalibration,
    Verdict,
    decide,
    log_odds,
    missing_fault,
    select_calibration,
    select_point,
    softmax,
)
from fasdk.errors import (
    CaptureError,
    OperatingPointError,
    PlanError,
    PreprocessError,
)
from fasdk.faults import finding_of
from fasdk.preprocess import fill_row, region_of, to_batch
from fasdk.quality import QualityLimits, assess
from fasdk.reasons import Finding, Reason
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.engine import EngineOutputs
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.golden import GoldenCapture
    from fasdk.capture import Modality

_NAN = float("nan")


@dataclass(frozen=True)
class _Rules:
    """What judges captures that hold one combination of modalities.

    Attributes:
        used: Modalities the model uses of it, in model order.
        calibration: What makes their scores probabilities, or None.
        point: Their threshold, or None.
        point_id: Its name.
        finding: Why there is no threshold.
    """

    used: tuple[Modality, ...]
    calibration: ScoreCalibration | None
    point: OperatingPoint | None
    point_id: str | None
    finding: Finding | None


class Judge:
    """One bundle's rules at one security level; any thread may use it.

    Attributes:
        bundle: The verified bundle.
        level: The security level.
        limits: What a capture from a camera must be like.
        missing: What becomes of a camera's capture that lacks one of the model's modalities.
    """

    def __init__(
        self,
        bundle: Bundle,
        level: str,
        limits: QualityLimits | None = None,
        missing: MissingModalities = MissingModalities.DEGRADE,
    ) -> None:
        self.bundle = bundle
        self.level = level
        self.limits = limits or QualityLimits.faults()
        self.missing = as_choice("missing", missing, MissingModalities)
        self._rules: dict[tuple[Modality, ...], _Rules] = {}
        self._names = tuple(m.value for m in bundle.manifest.modalities)

    def refuse(self, capture: Capture) -> Decision | None:
        """Return the answer to a capture that no engine need see, or None for one to be judged.

        Everything that may turn a capture away before it is queued stands here. It runs in the
        caller's thread and never raises: whatever was handed in gets an answer.
        """
        try:
            self.require(capture)
        except Exception as error:  # noqa: BLE001 - whatever was handed in, it gets an answer
            return self.error(error)
        return None

    def refuse_after_swap(self, capture: Capture) -> Decision | None:
        """Return the answer to a camera's capture that only another bundle's `gate` let through.

        What a frame shows and when it was taken are the same under any bundle; which modalities
        a model wants are not.
        """
        refusal = self.refuse(capture)
        if refusal is None and (lack := self._lack(capture)) is not None:
            verdict, finding = lack
            refusal = replace(self.failed(finding.reason, finding.message), verdict=verdict)
        return refusal

    def gate(self, capture: Capture) -> Decision | None:
        """Return the RETRY or ERROR of a camera's capture that no engine should see, or None.

        First what `Capture` itself asks for, then the quality limits against `time.monotonic`,
        whose answers a person can act on, then what `refuse` asks besides. A RETRY is for the
        person or the next frame to mend, an ERROR for the integrator.
        """
        try:
            _require_sound(capture)
            findings = assess(capture, self.limits, now_ms=monotonic_ms())
            lack = self._lack(capture)
            if lack is not None:
                findings = (lack[1], *findings)
            if not findings:
                self._require_fit(capture)
                return None
        except Exception as error:  # noqa: BLE001 - a gate that fails lets nobody through
            return self.error(error)
        mendable = all(finding.reason.mendable for finding in findings)
        return Decision(
            verdict=Verdict.RETRY if mendable else Verdict.ERROR,
            reasons=tuple(finding.message for finding in findings),
            codes=tuple(finding.reason for finding in findings),
            modalities=capture.present,
            bundle_id=self.bundle.id,
        )

    def _lack(self, capture: Capture) -> tuple[Verdict, Finding] | None:
        return missing_fault(self.missing, self.bundle.manifest.modalities, capture.present)

    def require(self, capture: Capture) -> None:
        """Check that a capture can be judged by this bundle at all.

        Raises:
            CaptureError: A required modality or every one is absent, or the model needs a face box.
        """
        _require_sound(capture)
        self._require_fit(capture)

    def _require_fit(self, capture: Capture) -> None:
        """Check that a sound capture holds what this bundle looks at."""
        manifest, present = self.bundle.manifest, capture.present
        absent = [m.value for m in manifest.required if m not in present]
        if absent:
            raise CaptureError(
                f"the capture lacks {', '.join(absent)}, which this bundle requires "
                f"({', '.join(m.value for m in manifest.required)}): give every required frame"
            )
        seen = [(m, spec) for m, spec in manifest.inputs.items() if m in present]
        if not seen:
            raise CaptureError(
                f"the capture holds {', '.join(m.value for m in present)}, this bundle "
                f"looks at {', '.join(m.value for m in manifest.modalities)}: give one of those"
            )
        if capture.face is not None:
            return
        try:
            for modality, spec in seen:
                region_of(capture.size_of(modality), capture.face_in(modality), spec)
        except PreprocessError as error:
            raise CaptureError(str(error)) from error

    def fill(self, capture: Capture, inputs: Mapping[str, NDArray[np.float32]], row: int) -> None:
        """Write a capture into one row of an engine's inputs; see `fasdk.preprocess.fill_row`.

        Raises:
            PreprocessError: A frame does not fit its spec.
        """
        manifest = self.bundle.manifest
        fill_row(capture, manifest.inputs, manifest.presence_order, inputs, row)

    def batch(self, captures: list[Capture]) -> dict[str, NDArray[np.float32]]:
        """Return captures as the graph's inputs; see `fasdk.preprocess.to_batch`.

        Raises:
            PreprocessError: A frame does not fit its spec.
        """
        manifest = self.bundle.manifest
        return to_batch(captures, manifest.inputs, manifest.presence_order)

    def require_outputs(self, outputs: EngineOutputs, size: int) -> EngineOutputs:
        """Return an engine's outputs for `size` captures once their shapes are the bundle's.

        Raises:
            BackendError: An output is absent, of another dtype, or of another shape.
        """
        manifest = self.bundle.manifest
        modalities = len(manifest.modalities) if manifest.reliability else None
        outputs.require(size, len(manifest.labels), modalities)
        return outputs

    def score(self, capture: Capture, outputs: EngineOutputs, row: int) -> Decision:
        """Judge one row of an engine's outputs; ERROR for a number that is not finite."""
        certainty = [] if outputs.reliability is None else outputs.reliability[row].tolist()
        return self.score_row(capture, outputs.logits[row].tolist(), certainty)

    def score_row(
        self, capture: Capture, logits: Sequence[float], certainty: Sequence[float]
    ) -> Decision:
        """Judge one row as `score` does, given as plain numbers.

        A lane turns a batch's outputs into lists at once, which costs less than row by row.

        Args:
            capture: Whose row it is.
            logits: One a label.
            certainty: The reliability, one a modality; empty where the model has none.
        """
        manifest, present = self.bundle.manifest, capture.present
        rules = self._rules.get(present) or self._rules_for(present)
        scores = softmax(logits)
        score = scores[manifest.live_index]
        if rules.calibration is not None:
            score = rules.calibration.score(log_odds(logits, manifest.live_index))
        findings: tuple[Finding, ...] = ()
        if not all(map(math.isfinite, (score, *certainty))):
            score = _NAN  # an engine that is wrong about one output is not believed on another
            findings = (
                Finding(Reason.NOT_FINITE, "the engine returned a number that is not finite"),
            )
        verdict, threshold = Verdict.ERROR, None
        if rules.point is not None:
            verdict, threshold = decide(score, rules.point), rules.point.threshold
        elif rules.finding is not None:
            findings += (rules.finding,)
        return Decision(
            verdict=verdict,
            reasons=tuple([f.message for f in findings]),
            codes=tuple([f.reason for f in findings]),
            score=score,
            threshold=threshold,
            operating_point=rules.point_id,
            class_scores=dict(zip(manifest.labels, scores, strict=True)),
            modalities=rules.used,
            reliability=dict(zip(self._names, certainty, strict=False)),
            bundle_id=self.bundle.id,
        )

    def error(self, error: BaseException) -> Decision:
        """Return what an exception becomes: ERROR, or RETRY for what the next frame can mend."""
        finding = finding_of(error)
        decision = self.failed(finding.reason, finding.message)
        return replace(decision, verdict=Verdict.RETRY) if finding.reason.mendable else decision

    def failed(self, reason: Reason, message: str) -> Decision:
        """Return an ERROR for one reason."""
        return Decision(
            verdict=Verdict.ERROR, reasons=(message,), codes=(reason,), bundle_id=self.bundle.id
        )

    def replay_golden(
        self, run: Callable[[Mapping[str, NDArray[np.float32]]], EngineOutputs]
    ) -> float:
        """Judge the bundle's golden captures and return the largest score drift.

        The drift is the softmax score's: calibration would flatten or steepen what the engine does.
        The verdicts are those of every level, so that one proof serves all of them.

        Args:
            run: Takes one preprocessed capture, float32 [1, ...] by input name, as `Engine.run`
                does, and returns one row or several, each of which must be right.

        Raises:
            PlanError: A score drifts by more than the bundle's tolerance, a verdict differs, or
                the bundle holds no golden capture: this engine does not reproduce the bundle.
            BackendError: The engine failed.
            BundleError: A golden capture cannot be read.
        """
        worst = 0.0
        manifest = self.bundle.manifest
        golden = self.bundle.golden
        if not golden:
            raise PlanError(f"{self.bundle.path} holds no golden capture to prove an engine with")
        for number, item in enumerate(golden):
            where = f"{self.bundle.path}: golden capture {number}"
            if item.logits.shape != (len(manifest.labels),):
                raise PlanError(
                    f"{where} has {item.logits.shape[0]} logits, "
                    f"the bundle {len(manifest.labels)} labels: build it again"
                )
            try:
                self.require(item.capture)
                batch = self.batch([item.capture])
            except (CaptureError, PreprocessError) as error:
                raise PlanError(f"{where} cannot be judged: {error}") from error
            outputs = run(batch)
            rows = max(1, len(outputs.logits))
            self.require_outputs(outputs, rows)
            for row in range(rows):
                worst = max(worst, self._golden_drift(where, item, outputs, row))
        return worst

    def _golden_drift(
        self, where: str, item: GoldenCapture, outputs: EngineOutputs, row: int
    ) -> float:
        manifest = self.bundle.manifest
        found = self.score(item.capture, outputs, row)
        expected = self.score_row(item.capture, item.logits.tolist(), [])
        drift = self._drift(found, expected)
        if not drift <= manifest.golden_tolerance:  # NaN, and so refused, where either is
            raise PlanError(
                f"{where}: score {found.score:.6f} ({found.verdict.value}), "
                f"the bundle says {expected.score:.6f} ({expected.verdict.value}): "
                f"drift {drift:.6f}, allowed drift {manifest.golden_tolerance}"
            )
        for point in manifest.operating_points:
            verdict, right = decide(found.score, point), decide(expected.score, point)
            if set(point.modalities) == set(found.modalities) and verdict is not right:
                raise PlanError(
                    f"{where}: score {found.score:.6f} ({verdict.value} at {point.id}), "
                    f"the bundle says {expected.score:.6f} ({right.value})"
                )
        return drift

    def _drift(self, found: Decision, expected: Decision) -> float:
        """Return the difference of two softmax scores; NaN where either has no score."""
        if math.isnan(found.score) or math.isnan(expected.score):
            return _NAN
        live = self.bundle.manifest.labels[self.bundle.manifest.live_index]
        return abs(found.class_scores[live] - expected.class_scores[live])

    def _rules_for(self, present: tuple[Modality, ...]) -> _Rules:
        """Look up the rules for a combination once; a few combinations are all there are."""
        manifest = self.bundle.manifest
        used = tuple(m for m in manifest.modalities if m in present)
        combination = frozenset(used)
        point, finding = None, None
        try:
            point = select_point(manifest.operating_points, self.level, combination)
        except OperatingPointError as error:
            finding = Finding(Reason.NO_OPERATING_POINT, str(error))
        rules = self._rules[present] = _Rules(
            used=used,
            calibration=select_calibration(manifest.score_calibrations, combination),
            point=point,
            point_id=None if point is None else point.id,
            finding=finding,
        )
        return rules


def _require_sound(capture: object) -> None:
    """Check that it is a capture, whose arrays nobody reshaped since it was made."""
    if not isinstance(capture, Capture):
        raise CaptureError(f"a {type(capture).__name__} was handed in, expected fasdk.Capture")
    capture.require_sound()
