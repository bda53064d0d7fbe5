"""Liveness: a bundle, a backend and the rules between them, answering on captures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends import Backend, Engine, EngineOutputs, open_engine
from fasdk.bundle import Bundle, open_bundle
from fasdk.decision import OperatingPoint, Verdict, class_scores, decide, select_point
from fasdk.errors import CaptureError, FasdkError, OperatingPointError, PlanError, PreprocessError
from fasdk.preprocess import region_of, to_batch
from fasdk.telemetry import Stage, StageClock
from fasdk.trust import TrustPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fasdk.capture import Capture, Modality

_NAN = float("nan")


@dataclass(frozen=True)
class Decision:
    """The answer on one capture.

    Attributes:
        verdict: Only LIVE opens a door.
        reasons: Why it is not a plain LIVE or SPOOF, in words; empty otherwise.
        score: P(bona fide) in [0, 1]; NaN where there is none.
        threshold: The score had to be greater than this; None without an operating point.
        operating_point: Name of the threshold, such as "standard/rgb+depth+ir", or None.
        class_scores: Softmax score by label.
        modalities: Modalities the capture held and the model used, in model order.
        reliability: The model's own certainty by modality, in [0, 1]; empty where it has none.
        bundle_id: Which bundle answered.
        timings_ms: Milliseconds by stage, and `end_to_end`.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
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

    Attributes:
        bundle: The verified bundle.
        engine: The backend that runs it.
        level: The security level asked for.
    """

    def __init__(self, bundle: Bundle, engine: Engine, level: str = "standard") -> None:
        self.bundle = bundle
        self.engine = engine
        self.level = level

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
        """Release the backend; later checks answer ERROR."""
        self.engine.close()

    def require(self, capture: Capture) -> None:
        """Check that a capture can be judged by this bundle at all.

        Raises:
            CaptureError: A required modality is absent, or the model needs a face box.
        """
        manifest = self.bundle.manifest
        absent = [m.value for m in manifest.required if m not in capture.present]
        if absent:
            raise CaptureError(
                f"the capture lacks {', '.join(absent)}, which this bundle requires "
                f"({', '.join(m.value for m in manifest.required)}): give every required frame"
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
            One decision per capture, in order. A fault of the engine is an ERROR for all of them.
        """
        clock = StageClock()
        try:
            judged = self._judge(list(captures), clock)
        except FasdkError as error:
            judged = [self._error(str(error)) for _ in captures]
        except Exception as error:  # noqa: BLE001 - a door must get an answer whatever happened
            reason = f"unexpected {type(error).__name__}: {error}"
            judged = [self._error(reason) for _ in captures]
        timings = clock.finish()
        for decision in judged:
            decision.timings_ms.update(timings)
        return judged

    def replay_golden(self) -> float:
        """Judge the bundle's golden captures and return the largest score drift.

        Raises:
            PlanError: A score drifts by more than the bundle's tolerance, a verdict differs, or
                the bundle holds no golden capture: this engine does not reproduce the bundle.
        """
        worst = 0.0
        manifest = self.bundle.manifest
        golden = self.bundle.golden
        if not golden:
            raise PlanError(f"{self.bundle.path} holds no golden capture to prove an engine with")
        for number, item in enumerate(golden):
            self.require(item.capture)
            outputs = self.engine.run(to_batch([item.capture], manifest.inputs))
            found = self._scored(item.capture, outputs, 0)
            expected = self._scored(item.capture, EngineOutputs(item.logits[None]), 0)
            drift = abs(found.score - expected.score)
            if not drift <= manifest.golden_tolerance or found.verdict is not expected.verdict:
                raise PlanError(
                    f"golden capture {number}: score {found.score:.6f} ({found.verdict.value}), "
                    f"the bundle says {expected.score:.6f} ({expected.verdict.value}); "
                    f"allowed drift {manifest.golden_tolerance}"
                )
            worst = max(worst, drift)
        return worst

    def _judge(self, captures: list[Capture], clock: StageClock) -> list[Decision]:
        with clock.stage(Stage.PREPROCESS):
            for capture in captures:
                self.require(capture)
            batch = to_batch(captures, self.bundle.manifest.inputs)
        with clock.stage(Stage.ENGINE):
            outputs = self.engine.run(batch)
        with clock.stage(Stage.DECISION):
            return [self._scored(capture, outputs, i) for i, capture in enumerate(captures)]

    def _scored(self, capture: Capture, outputs: EngineOutputs, index: int) -> Decision:
        manifest = self.bundle.manifest
        scores = class_scores(outputs.logits[index])
        score = float(scores[manifest.live_index])
        used = tuple(m for m in manifest.modalities if m in capture.present)
        reliability = (
            {}
            if outputs.reliability is None
            else {
                m.value: float(v)
                for m, v in zip(manifest.modalities, outputs.reliability[index], strict=True)
            }
        )
        point: OperatingPoint | None = None
        reasons: tuple[str, ...] = ()
        verdict = Verdict.ERROR
        try:
            point = select_point(manifest.operating_points, self.level, frozenset(used))
        except OperatingPointError as error:
            reasons = (str(error),)
        else:
            verdict = decide(score, point)
            if verdict is Verdict.ERROR:
                reasons = ("the engine returned a score that is not a number in [0, 1]",)
        return Decision(
            verdict=verdict,
            reasons=reasons,
            score=score if math.isfinite(score) else _NAN,
            threshold=None if point is None else point.threshold,
            operating_point=None if point is None else point.id,
            class_scores=dict(zip(manifest.labels, map(float, scores), strict=True)),
            modalities=used,
            reliability=reliability,
            bundle_id=self.bundle.id,
        )

    def _error(self, reason: str) -> Decision:
        return Decision(verdict=Verdict.ERROR, reasons=(reason,), bundle_id=self.bundle.id)


def open(  # noqa: A001 - `fasdk.open` is the word a caller expects
    path: str | Path,
    *,
    backend: Backend | None = None,
    level: str = "standard",
    trust: TrustPolicy | None = None,
    threads: int = 0,
) -> Liveness:
    """Verify a bundle, load it on a backend and return a session.

    Args:
        path: The `.fasb` file.
        backend: Which backend, or None for TensorRT where installed and ONNX Runtime elsewhere.
        level: Security level whose thresholds to use.
        trust: Which signatures are required; None asks for none.
        threads: CPU threads for ONNX Runtime; 0 lets it take one per core.

    Raises:
        BundleError: The bundle is truncated, altered or malformed.
        TrustError: A required signature is absent or does not hold.
        BackendError: The backend is not installed or refuses the graph.
    """
    bundle = open_bundle(Path(path), trust)
    return Liveness(bundle, open_engine(bundle, backend, threads=threads), level)
