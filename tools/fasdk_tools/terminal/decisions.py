"""Decisions of the capture loop as text lines or JSON documents."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fasdk.tracking.track import TrackDecision
from fasdk_tools.terminal.tables import wrap

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk.backends.engine import Backend
    from fasdk.capture_loop import CaptureResult
    from fasdk.decision import Decision

_TRUST_WIDTH = len("key ") + 8  # digits of the key's id, as many as a line of 80 columns holds


def text_of(result: CaptureResult, width: int, trust: str) -> str:
    """Return one decision as a line, and its reasons as indented lines below it.

    Args:
        result: The decision and when it was made.
        width: Width of the terminal in character cells.
        trust: Trust mode of the bundle in force, for a fault that no bundle answered.
    """
    decision = result.decision
    at = time.strftime("%H:%M:%S", time.localtime(result.unix_s))
    score = f"{decision.score:.4f}" if decision.score == decision.score else "-"
    threshold = "-" if decision.threshold is None else f"{decision.threshold:.4f}"
    latency = "-" if result.latency_ms is None else f"{result.latency_ms:.1f} ms"
    line = (
        f"{at}.{int(result.unix_s % 1 * 1000):03}  {decision.verdict.value.upper():<5}  "
        f"score {score:>6}  threshold {threshold:>6}  {latency:>9}  "
        f"{(decision.trust or trust)[:_TRUST_WIDTH]}"
    )
    reasons = [
        reason
        for code, text in zip(decision.codes, decision.reasons, strict=True)
        for reason in wrap(f"{code.value}: {text}", width, indent=14, hanging=16)
    ]
    return "\n".join((line, *reasons))


def document_of(result: CaptureResult, trust: str) -> dict[str, Any]:
    """Return the same for programs, as JSON takes it; `trust` as for `text_of`."""
    decision = result.decision
    return {
        "capture": result.capture,
        "unix_s": result.unix_s,
        "verdict": decision.verdict.value,
        "score": decision.score,
        "threshold": decision.threshold,
        "operating_point": decision.operating_point,
        "codes": [code.value for code in decision.codes],
        "reasons": list(decision.reasons),
        "latency_ms": result.latency_ms,
        "modalities": [m.value for m in decision.modalities],
        "class_scores": decision.class_scores,
        "reliability": decision.reliability,
        "certainty": decision.certainty,
        "timings_ms": decision.timings_ms,
        "bundle_id": decision.bundle_id,
        "trust": decision.trust or trust,
    } | _track_of(decision)


def check_document_of(decision: Decision, bundle: Path, backend: Backend) -> dict[str, Any]:
    """Return the decision on one capture for programs, as `fasdk check --json` prints it.

    Args:
        decision: The decision; a track's has the track's fields too.
        bundle: Path of the bundle, as it was given.
        backend: Backend of the engine.
    """
    return asdict(decision) | {
        "verdict": decision.verdict.value,
        "modalities": [m.value for m in decision.modalities],
        "bundle": str(bundle),
        "backend": backend.value,
    }


def _track_of(decision: Decision) -> dict[str, Any]:
    """Return what a track adds to the decision on one frame."""
    if not isinstance(decision, TrackDecision):
        return {}
    frame = decision.frame
    return {
        "camera_id": decision.camera_id,
        "frames": decision.frames,
        "log_likelihood_ratio": decision.log_likelihood_ratio,
        "wait_ms": decision.wait_ms,
        "frame_verdict": None if frame is None else frame.verdict.value,
    }
