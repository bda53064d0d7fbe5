"""Scoring by one bundle: gates, decisions, and golden captures replayed on an engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fasdk.capture import Capture, monotonic_ms
from fasdk.decision import (
    Decision,
    MissingModalities,
    OperatingPoint,
    ScoreCalibration,
    Verdict,
    add_findings,
    decide,
    log_odds,
    missing_finding,
    refused,
    select_calibration,
    select_point,
    softmax,
)
from fasdk.errors import (
    CaptureError,
    FasdkError,
    OperatingPointError,
    PlanError,
    PreprocessError,
)
from fasdk.faults import finding_of
from fasdk.own_thread import raise_unless_repeated
from fasdk.preprocess import CropRule, fill_row, to_batch, view_of
from fasdk.quality import QualityLimits, assess
from fasdk.quality.agreement import disagreement
from fasdk.quality.freshness import untimely
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
    """Rules for captures that hold one combination of modalities.

    Attributes:
        used: Modalities of the combination that the model uses, in model order.
        calibration: Calibration of their scores, or None.
        point: Operating point, or the finding that there is none.
        point_id: Name of the operating point, or None.
    """

    used: tuple[Modality, ...]
    calibration: ScoreCalibration | None
    point: OperatingPoint | Finding
    point_id: str | None


class Scorer:
    """Gates, preprocessing and scoring by one bundle at one security level; thread-safe.

    Attributes:
        bundle: Verified bundle to score by.
        level: Security level of the decisions.
        limits: Quality limits for a camera's captures.
        missing: Treatment of a camera's capture that lacks one of the model's modalities.
    """

    def __init__(
        self,
        bundle: Bundle,
        level: str,
        limits: QualityLimits | None = None,
        missing: MissingModalities | str = MissingModalities.REQUIRE,
    ) -> None:
        self.bundle = bundle
        self.level = level
        self.limits = limits or QualityLimits.faults()
        self.missing = as_choice("missing", missing, MissingModalities)
        self._trust = bundle.trust
        self._rules: dict[tuple[Modality, ...], _Rules] = {}
        self._names = tuple(m.value for m in bundle.manifest.modalities)
        self._output_shapes = bundle.manifest.output_shapes

    def refuse(self, capture: Capture) -> Decision | None:
        """Return the refusal of a capture this bundle cannot score, or None where it can.

        It runs in the caller's thread before the capture is queued, and never raises.
        """
        try:
            self.require(capture)
        except Exception as error:  # noqa: BLE001 - every capture gets an answer, whatever it is
            return self.error(error)
        return None

    def refuse_after_swap(self, capture: Capture) -> Decision | None:
        """Return the refusal of a camera's capture that passed another bundle's `gate`, or None.

        What a frame shows and when it was taken do not depend on the bundle; the modalities a
        model needs do.
        """
        refusal = self.refuse(capture)
        if refusal is None and (missing := self._missing(capture)) is not None:
            refusal = self.refused(missing)
        return refusal

    def gate(self, capture: Capture) -> Decision | None:
        """Return the refusal of a camera's capture that no engine should see, or None.

        Checked in turn: what `Capture` itself requires, the quality limits against
        `time.monotonic`, whose findings a person can act on, and what `refuse` requires. Every
        finding is part of the refusal, so none can be found and then let through.

        It runs in the caller's thread. What a signal handler of the application raises meanwhile
        reaches the application.
        """
        try:
            return self._gate(capture)
        except FasdkError as error:
            return self.error(error)
        except Exception as error:  # noqa: BLE001 - a gate that fails must not pass the capture
            return self.error(raise_unless_repeated(error, partial(self._gate, capture)))

    def _gate(self, capture: Capture) -> Decision | None:
        _require_sound(capture)
        findings = assess(capture, self.limits, now_ms=monotonic_ms())
        missing = self._missing(capture)
        if missing is not None:
            findings = (missing, *findings)
        if not findings:
            self._require_fit(capture)
            return None
        return self.refused(*findings, modalities=capture.present)

    def _missing(self, capture: Capture) -> Finding | None:
        return missing_finding(self.missing, self.bundle.manifest.modalities, capture.present)

    def require(self, capture: Capture) -> None:
        """Check that this bundle can score a capture.

        Raises:
            CaptureError: The capture holds unsound frames, lacks a required modality or every one
                the model uses, or has no face box or no landmarks where the model needs them.
        """
        _require_sound(capture)
        self._require_fit(capture)

    def _require_fit(self, capture: Capture) -> None:
        """Check that a sound capture holds the modalities, face and landmarks this bundle needs."""
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
                f"uses {', '.join(m.value for m in manifest.modalities)}: give one of those"
            )
        aligned = any(spec.crop is CropRule.LANDMARKS for _, spec in seen)
        if capture.face is not None and not aligned:
            return
        try:
            for modality, spec in seen:
                size, face = capture.size_of(modality), capture.face_in(modality)
                view_of(size, face, capture.landmarks_in(modality), spec)
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

        They are by their meaning: a bundle of schema version 2 has the certainty in the output
        `reliability`.

        Raises:
            BackendError: An output is absent, of another dtype, or of another shape.
        """
        outputs.require(size, self._output_shapes)
        if self.bundle.manifest.reliability_is_certainty:
            return replace(outputs, reliability=None, certainty=outputs.reliability)
        return outputs

    def score(self, capture: Capture, outputs: EngineOutputs, row: int) -> Decision:
        """Return the decision on one row of an engine's outputs; ERROR for non-finite numbers."""
        reliability = () if outputs.reliability is None else outputs.reliability[row].tolist()
        certainty = () if outputs.certainty is None else outputs.certainty[row].tolist()
        return self.score_row(capture, outputs.logits[row].tolist(), reliability, certainty)

    def score_row(
        self,
        capture: Capture,
        logits: Sequence[float],
        reliability: Sequence[float],
        certainty: Sequence[float] = (),
    ) -> Decision:
        """Return the decision on one row as `score` does, given as plain numbers.

        A lane turns a batch's outputs into lists at once, which costs less than row by row.

        Args:
            capture: Capture the row belongs to.
            logits: Logits of one capture, one per label.
            reliability: How typical each sensor's picture is, in [0, 1], one per modality; empty
                where the bundle has no such output.
            certainty: The model's certainty in [0, 1], one per modality; empty where the model has
                none.
        """
        manifest, present = self.bundle.manifest, capture.present
        rules = self._rules.get(present) or self._rules_for(present)
        scores = softmax(logits)
        score = scores[manifest.live_index]
        if rules.calibration is not None:
            score = rules.calibration.score(log_odds(logits, manifest.live_index))
        findings: list[Finding] = []
        if not all(map(math.isfinite, (score, *reliability, *certainty))):
            score = _NAN  # an engine that is wrong about one output is not trusted on another
            findings.append(
                Finding(Reason.NOT_FINITE, "the engine returned a number that is not finite")
            )
        verdict, threshold = Verdict.ERROR, None
        if isinstance(rules.point, Finding):
            findings.append(rules.point)
        else:
            verdict, threshold = decide(score, rules.point), rules.point.threshold
        decision = Decision(
            verdict=verdict,
            score=score,
            threshold=threshold,
            operating_point=rules.point_id,
            class_scores=dict(zip(manifest.labels, scores, strict=True)),
            modalities=rules.used,
            reliability={
                modality.value: value
                for modality, value in zip(manifest.modalities, reliability, strict=False)
                if modality in present
            },
            certainty=dict(zip(self._names, certainty, strict=False)),
            bundle_id=self.bundle.id,
            trust=self._trust,
        )
        return add_findings(decision, findings)

    def answer(
        self,
        capture: Capture,
        logits: Sequence[float],
        reliability: Sequence[float],
        certainty: Sequence[float] = (),
    ) -> Decision:
        """Return the decision on one row for a camera's capture, which passed `gate`.

        As `score_row`, but LIVE only where the sensors show one face, if the limits ask for that.
        A SPOOF stays one, so that no attack is excused.

        Args:
            capture: Capture the row belongs to.
            logits: Logits, as for `score_row`.
            reliability: How typical each picture is, as for `score_row`.
            certainty: The model's certainty, as for `score_row`.
        """
        decision = self.score_row(capture, logits, reliability, certainty)
        if not (decision.is_live and self.limits.sensors_agree):
            return decision
        finding = disagreement(capture)
        return decision if finding is None else add_findings(decision, [finding])

    def late(self, capture: Capture) -> Finding | None:
        """Return why a LIVE on a capture would come too late at present, or None.

        Its frames were fresh when it was submitted, but an engine may take its time, and a door
        opens for whoever is in front of it when LIVE is said.
        """
        if self.limits.max_age_ms is None:
            return None
        found = untimely(
            capture,
            now_ms=monotonic_ms(),
            max_age_ms=self.limits.max_age_ms,
            max_skew_ms=None,
            require_times=False,
        )
        return next(found, None)

    def in_time(self, capture: Capture, decision: Decision) -> Decision:
        """Return a decision as it may be said at present: RETRY (stale) for a LIVE that is late."""
        if decision.verdict is not Verdict.LIVE:
            return decision
        try:
            late = self.late(capture)
        except Exception as error:  # noqa: BLE001 - a check that fails must not pass the capture
            return self.error(error)
        return decision if late is None else add_findings(decision, [late])

    def error(self, error: BaseException) -> Decision:
        """Return the refusal of a capture on which an exception was raised."""
        return self.refused(finding_of(error))

    def refused(self, *findings: Finding, modalities: tuple[Modality, ...] = ()) -> Decision:
        """Return this bundle's refusal of a capture; see `fasdk.decision.refused`."""
        return refused(findings, bundle_id=self.bundle.id, trust=self._trust, modalities=modalities)

    def replay_golden(
        self, run: Callable[[Mapping[str, NDArray[np.float32]]], EngineOutputs]
    ) -> float:
        """Score the bundle's golden captures and return the largest absolute drift of a score.

        The drift is that of the softmax score: calibration would change the engine's own drift.
        Verdicts are compared at every security level, so that one replay serves all of them.

        Args:
            run: Engine call on one preprocessed capture, float32 [1, ...] by input name, as
                `Engine.run`; it returns one row or several, each of which is compared.

        Raises:
            PlanError: As for `replay_golden_captures`.
            BackendError: The engine failed.
            BundleError: A golden capture cannot be read.
        """
        return self.replay_golden_captures(lambda capture: run(self.batch([capture])))

    def replay_golden_captures(self, run: Callable[[Capture], EngineOutputs]) -> float:
        """Score the bundle's golden captures as `replay_golden` does, on what takes captures.

        Args:
            run: Engine call on one capture; it returns one row or several, each of which is
                compared.

        Raises:
            PlanError: A score drifts by more than the bundle's tolerance, a verdict differs, or
                the bundle holds no golden capture: this engine does not reproduce the bundle.
            BackendError: The engine failed.
            BundleError: A golden capture cannot be read.
        """
        worst = 0.0
        manifest = self.bundle.manifest
        number = -1
        for number, item in enumerate(self.bundle.iter_golden()):
            where = f"{self.bundle.path}: golden capture {number}"
            if item.logits.shape != (len(manifest.labels),):
                raise PlanError(
                    f"{where} has {item.logits.shape[0]} logits, "
                    f"the bundle {len(manifest.labels)} labels: build it again"
                )
            try:
                self.require(item.capture)
                outputs = run(item.capture)
            except (CaptureError, PreprocessError) as error:
                raise PlanError(f"{where} cannot be scored: {error}") from error
            rows = max(1, len(outputs.logits))
            outputs = self.require_outputs(outputs, rows)
            for row in range(rows):
                worst = max(worst, self._golden_drift(where, item, outputs, row))
        if number < 0:
            raise PlanError(
                f"{self.bundle.path} holds no golden capture to prove an engine with: build it "
                "again with `fasdk build-engine`"
            )
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
        """Return the rules for a combination of modalities, looked up once for each."""
        manifest = self.bundle.manifest
        used = tuple(m for m in manifest.modalities if m in present)
        combination = frozenset(used)
        point: OperatingPoint | Finding
        try:
            point = select_point(manifest.operating_points, self.level, combination)
        except OperatingPointError as error:
            point = Finding(Reason.NO_OPERATING_POINT, str(error))
        rules = self._rules[present] = _Rules(
            used=used,
            calibration=select_calibration(manifest.score_calibrations, combination),
            point=point,
            point_id=None if isinstance(point, Finding) else point.id,
        )
        return rules


def _require_sound(capture: object) -> None:
    """Check that it is a capture whose arrays have not been reshaped since it was made."""
    if not isinstance(capture, Capture):
        raise CaptureError(f"a capture is a {type(capture).__name__}, expected a fasdk.Capture")
    capture.require_sound()
