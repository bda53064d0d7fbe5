"""Liveness: a bundle, a backend and the rules between them, answering on captures."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends import Backend, Engine, EngineOutputs, open_engine
from fasdk.bundle import Bundle, open_bundle
from fasdk.decision import (
    OperatingPoint,
    Verdict,
    class_scores,
    decide,
    live_score,
    select_calibration,
    select_point,
)
from fasdk.errors import (
    BackendError,
    CaptureError,
    FasdkError,
    OperatingPointError,
    PlanError,
    PreprocessError,
)
from fasdk.preprocess import region_of, to_batch
from fasdk.reasons import Finding, Reason
from fasdk.telemetry import Stage, StageClock
from fasdk.trust import TrustPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.tensorrt.plan import ProgressListener
    from fasdk.capture import Capture, Modality

_NAN = float("nan")

# Which code an exception becomes; anything else is UNEXPECTED.
_CODES: dict[type[Exception], Reason] = {
    CaptureError: Reason.BAD_CAPTURE,
    PreprocessError: Reason.BAD_CAPTURE,
    BackendError: Reason.ENGINE_FAULT,
}


@dataclass(frozen=True)
class Decision:
    """The answer on one capture.

    Attributes:
        verdict: Only LIVE opens a door.
        reasons: Why it is not a plain LIVE or SPOOF, in words; empty otherwise.
        codes: The same for programs, one a reason.
        score: P(bona fide) in [0, 1], calibrated if the bundle says how; NaN where there is none.
        threshold: The score had to be greater than this; None without an operating point.
        operating_point: Name of the threshold, such as "standard/rgb+depth+ir", or None.
        class_scores: Softmax score by label, never calibrated.
        modalities: Modalities the capture held and the model used, in model order.
        reliability: The model's own certainty by modality, in [0, 1]; empty where it has none.
        bundle_id: Which bundle answered.
        timings_ms: Milliseconds by stage, and `end_to_end`.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    codes: tuple[Reason, ...] = ()
    score: float = _NAN
    threshold: float | None = None
    operating_point: str | None = None
    class_scores: dict[str, float] = field(default_factory=dict)
    modalities: tuple[Modality, ...] = ()
    reliability: dict[str, float] = field(default_factory=dict)
    bundle_id: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)


class Liveness:
    """A session on one bundle; made by `fasdk.open`, used as a context manager.

    Checks may come from any thread; they take turns at the engine.

    Attributes:
        bundle: The verified bundle.
        engine: The backend that runs it.
        level: The security level asked for.
    """

    def __init__(self, bundle: Bundle, engine: Engine, level: str = "standard") -> None:
        self.bundle = bundle
        self.engine = engine
        self.level = level
        self._turn = threading.Lock()
        self._closed = False

    def __enter__(self) -> Liveness:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()

    def close(self) -> None:
        """Release the backend once a check under way is done; later checks answer ERROR."""
        with self._turn:
            self._closed = True
            self.engine.close()

    def require(self, capture: Capture) -> None:
        """Check that a capture can be judged by this bundle at all.

        Raises:
            CaptureError: A required modality or every one is absent, or the model needs a face box.
        """
        manifest = self.bundle.manifest
        absent = [m.value for m in manifest.required if m not in capture.present]
        if absent:
            raise CaptureError(
                f"the capture lacks {', '.join(absent)}, which this bundle requires "
                f"({', '.join(m.value for m in manifest.required)}): give every required frame"
            )
        if not set(manifest.modalities) & set(capture.present):
            raise CaptureError(
                f"the capture holds {', '.join(m.value for m in capture.present)}, this bundle "
                f"looks at {', '.join(m.value for m in manifest.modalities)}: give one of those"
            )
        try:
            for modality, spec in manifest.inputs.items():
                if modality in capture.present:
                    region_of(capture.size_of(modality), capture.face_in(modality), spec)
        except PreprocessError as error:
            raise CaptureError(str(error)) from error

    def check(self, capture: Capture) -> Decision:
        """Judge one capture; every fault ends in a Decision with Verdict.ERROR, never in LIVE."""
        return self.check_batch([capture])[0]

    def check_batch(self, captures: Sequence[Capture]) -> list[Decision]:
        """Judge captures in one engine call; see `check`.

        Returns:
            One decision per capture, in order. A capture that cannot be judged is an ERROR for
            itself alone, a fault of the engine is one for all. All carry the same timings.
        """
        captures = list(captures)
        clock = StageClock()
        try:
            judged = self._judge(captures, clock)
        except Exception as error:  # noqa: BLE001 - a door must get an answer whatever happened
            judged = [self._error(error) for _ in captures]
        timings = clock.finish()
        return [replace(decision, timings_ms=dict(timings)) for decision in judged]

    def replay_golden(self) -> float:
        """Judge the bundle's golden captures and return the largest score drift.

        The drift is the softmax score's: calibration would flatten or steepen what the engine does.
        The verdicts are those of every level, so that one proof serves all of them.

        Raises:
            PlanError: A score drifts by more than the bundle's tolerance, a verdict differs, or
                the bundle holds no golden capture: this engine does not reproduce the bundle.
            BackendError: The engine failed, or the session is closed.
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
                batch = to_batch([item.capture], manifest.inputs, manifest.presence_order)
            except (CaptureError, PreprocessError) as error:
                raise PlanError(f"{where} cannot be judged: {error}") from error
            outputs = self._run(batch, 1, StageClock())
            found = self._scored(item.capture, outputs.logits[0], _row(outputs.reliability, 0))
            expected = self._scored(item.capture, item.logits, None)
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
            worst = max(worst, drift)
        return worst

    def _drift(self, found: Decision, expected: Decision) -> float:
        """Return the difference of two softmax scores; NaN where either has no score."""
        if math.isnan(found.score) or math.isnan(expected.score):
            return _NAN
        live = self.bundle.manifest.labels[self.bundle.manifest.live_index]
        return abs(found.class_scores[live] - expected.class_scores[live])

    def _judge(self, captures: list[Capture], clock: StageClock) -> list[Decision]:
        manifest = self.bundle.manifest
        with clock.stage(Stage.PREPROCESS):
            faults = {i: self._fault(capture) for i, capture in enumerate(captures)}
            answers = {i: fault for i, fault in faults.items() if fault is not None}
            fit = [index for index in range(len(captures)) if index not in answers]
            if fit:
                batch = to_batch(
                    [captures[i] for i in fit], manifest.inputs, manifest.presence_order
                )
        if fit:
            outputs = self._run(batch, len(fit), clock)
            with clock.stage(Stage.DECISION):
                for row, index in enumerate(fit):
                    reliability = _row(outputs.reliability, row)
                    answers[index] = self._scored(captures[index], outputs.logits[row], reliability)
        return [answers[index] for index in range(len(captures))]

    def _run(
        self, batch: dict[str, NDArray[np.float32]], size: int, clock: StageClock
    ) -> EngineOutputs:
        limit = self.engine.max_batch
        if limit is not None and size > limit:
            raise BackendError(
                f"{size} captures in one call, this engine takes {limit}: split them"
            )
        # Waiting for one's turn is not the engine's time, so it counts as OTHER.
        with self._turn:
            if self._closed:
                raise BackendError("this session is closed: open the bundle again")
            with clock.stage(Stage.ENGINE):
                outputs = self.engine.run(batch)
        manifest = self.bundle.manifest
        modalities = len(manifest.modalities) if manifest.reliability else None
        outputs.require(size, len(manifest.labels), modalities)
        return outputs

    def _scored(
        self,
        capture: Capture,
        logits: NDArray[np.float32],
        reliability: NDArray[np.float32] | None,
    ) -> Decision:
        manifest = self.bundle.manifest
        scores = class_scores(logits)
        certainty = [] if reliability is None else [float(v) for v in reliability]
        used = tuple(m for m in manifest.modalities if m in capture.present)
        calibration = select_calibration(manifest.score_calibrations, frozenset(used))
        score = live_score(logits, manifest.live_index, calibration)
        findings: list[Finding] = []
        if not all(map(math.isfinite, [score, *certainty])):
            score = _NAN  # an engine that is wrong about one output is not believed on another
            findings.append(
                Finding(Reason.NOT_FINITE, "the engine returned a number that is not finite")
            )
        point: OperatingPoint | None = None
        verdict = Verdict.ERROR
        try:
            point = select_point(manifest.operating_points, self.level, frozenset(used))
        except OperatingPointError as error:
            findings.append(Finding(Reason.NO_OPERATING_POINT, str(error)))
        else:
            verdict = decide(score, point)
        return Decision(
            verdict=verdict,
            reasons=tuple(f.message for f in findings),
            codes=tuple(f.reason for f in findings),
            score=score,
            threshold=None if point is None else point.threshold,
            operating_point=None if point is None else point.id,
            class_scores=dict(zip(manifest.labels, map(float, scores), strict=True)),
            modalities=used,
            reliability=dict(zip((m.value for m in manifest.modalities), certainty, strict=False)),
            bundle_id=self.bundle.id,
        )

    def _fault(self, capture: Capture) -> Decision | None:
        """Return the ERROR of a capture that cannot be judged, so that it spoils no other's."""
        try:
            self.require(capture)
        except Exception as error:  # noqa: BLE001 - whatever was handed in, it gets an answer
            return self._error(error)
        return None

    def _error(self, error: Exception) -> Decision:
        known = isinstance(error, FasdkError)
        reason = str(error) if known else f"unexpected {type(error).__name__}: {error}"
        code = next((c for kind, c in _CODES.items() if isinstance(error, kind)), Reason.UNEXPECTED)
        return Decision(
            verdict=Verdict.ERROR, reasons=(reason,), codes=(code,), bundle_id=self.bundle.id
        )


def _row(values: NDArray[np.float32] | None, index: int) -> NDArray[np.float32] | None:
    return None if values is None else values[index]


def open(  # noqa: A001 - `fasdk.open` is the word a caller expects
    path: str | Path,
    *,
    backend: Backend | None = None,
    level: str = "standard",
    trust: TrustPolicy | None = None,
    threads: int = 0,
    progress: ProgressListener | None = None,
) -> Liveness:
    """Verify a bundle, load it on a backend and return a session.

    Args:
        path: The `.fasb` file.
        backend: Which backend, or None for TensorRT where installed and ONNX Runtime elsewhere.
        level: Security level whose thresholds to use.
        trust: Which signatures are required; None asks for none.
        threads: CPU threads for ONNX Runtime; 0 lets it take one per core.
        progress: Hears the phases of a TensorRT plan's build, where one is needed.

    Raises:
        BundleError: The bundle is truncated, altered or malformed.
        TrustError: A required signature is absent or does not hold.
        BackendError: The backend is not installed or refuses the graph.
    """
    bundle = open_bundle(Path(path), trust)
    engine = open_engine(bundle, backend, threads=threads, progress=progress)
    return Liveness(bundle, engine, level)
