"""FP32 graph in, the graph in its final types out, held to what that precision is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from fasdk.bundle.manifest import Precision
from fasdk.decision import class_scores
from fasdk.errors import PrecisionError
from fasdk.preprocess import to_batch
from fasdk_engines.build.thresholds import choose_provisional_points
from fasdk_engines.graph.runner import GraphRunner
from fasdk_engines.quantization.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Capture, Modality
    from fasdk.decision import OperatingPoint
    from fasdk.preprocess import PreprocessSpec
    from fasdk_calibration.datasets import Dataset
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.request import BuildRequest, Phases
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.graph.emulation import HalfReport
    from fasdk_engines.models.base import Family
    from fasdk_engines.quantization.mixed_precision.pipeline import Int8Graph

# A device differs from the workstation by rounding alone; DESIGN grants a plan this much.
GOLDEN_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class BuildCaptures:
    """The captures a build looks at.

    Attributes:
        development: Labeled captures thresholds are chosen on, or None.
        calibration: Captures to choose a calibration set from, or None.
        seen: What half precision is judged on: spread over the development captures, or random
            fields without.
        golden: What the bundle will hold, or of an INT8 graph choose from.
    """

    development: DevelopmentSet | None
    calibration: Dataset | None
    seen: Sequence[Capture]
    golden: Sequence[Capture]


@dataclass(frozen=True, eq=False)
class TypedGraph:
    """A graph in its final types.

    Attributes:
        graph: ONNX file.
        half: How far rounding moves it, for half precision.
        int8: What calibrated it and what was measured, for eight bits.
    """

    graph: bytes
    half: HalfReport | None = None
    int8: Int8Graph | None = None


def make_typed_graph(
    request: BuildRequest, floating: FloatGraph, captures: BuildCaptures, phases: Phases
) -> TypedGraph:
    """Return the graph in the precision asked for.

    Raises:
        PrecisionError: The precision moves the logits by more than it may; `BudgetError` where the
            liveness budget of eight bits is missed.
        FasdkError: The graph cannot be converted or run, or the captures cannot calibrate it.
    """
    family, specs = floating.family, floating.family.preprocess(floating.config)
    if request.int8 is None:
        graph, half = _convert(floating.graph, request.precision, family, specs, captures.seen)
        if half is not None:
            _require_half(
                half, family.live_index, judged_on_captures=captures.development is not None
            )
        return TypedGraph(graph, half)
    from fasdk_engines.quantization.mixed_precision.pipeline import Int8Job, quantize

    assert captures.calibration is not None  # noqa: S101 - it was opened for this request
    job = Int8Job(
        request=request.int8,
        precision=request.precision,
        graph=floating.graph,
        family=family,
        specs=specs,
        calibration=captures.calibration,
        development=captures.development,
        choose_points=lambda logits: _reference_points(captures, logits, floating),
    )
    int8 = quantize(job, WorkFolder(request.out), phases)
    return TypedGraph(int8.graph, int8=int8)


def _reference_points(
    captures: BuildCaptures, logits: NDArray[np.float32], floating: FloatGraph
) -> tuple[OperatingPoint, ...]:
    """Return the float graph's operating points on the development captures."""
    assert captures.development is not None  # noqa: S101 - asked for with these captures only
    points, _, _ = choose_provisional_points(
        captures.development,
        logits,
        floating.family.live_index,
        floating.family.modalities,
        sha256(floating.graph).hexdigest(),
    )
    return points


def _convert(
    graph: bytes,
    precision: Precision,
    family: Family,
    specs: dict[Modality, PreprocessSpec],
    captures: Sequence[Capture],
) -> tuple[bytes, HalfReport | None]:
    """Return the graph in its final types and, for half precision, how far rounding moves it."""
    from fasdk_engines.graph.fp16 import convert, islands_matching

    if precision is Precision.FP32:
        return convert(graph, precision), None
    converted = convert(graph, precision, islands_matching(graph, family.float32_islands))
    from fasdk_engines.graph.emulation import judge_half

    batch = to_batch(list(captures), specs, family.presence_order)
    reference = GraphRunner(graph, specs, family.presence_order).batch_logits(batch)
    return converted, judge_half(converted, [batch], reference)


def _require_half(half: HalfReport, live_index: int, *, judged_on_captures: bool) -> None:
    """Hold half precision to its budget.

    The drift ratio needs logits that vary as real captures make them vary; on seeded fields the
    score itself is held to the golden tolerance instead.
    """
    from fasdk_engines.graph.emulation import require_half

    require_half(half, check_drift=judged_on_captures)
    drift = _score_drift(half.logits, half.reference_logits, live_index)
    if not drift <= GOLDEN_TOLERANCE:
        raise PrecisionError(
            f"half precision moves a score by {drift:.4f}, more than {GOLDEN_TOLERANCE}: "
            "build with --precision fp32"
        )


def choose_golden(
    graph: bytes,
    candidates: Sequence[Capture],
    logits: NDArray[np.float32],
    specs: Mapping[Modality, PreprocessSpec],
    family: Family,
    count: int,
    written: NDArray[np.float32] | None = None,
) -> tuple[int, ...]:
    """Return which captures of an INT8 graph a device will reproduce, the steadiest ones.

    A value that a rounding to float16 carries over the border of two levels moves a score by more
    than float16 alone does, and on a device other values cross than here. What is said of a capture
    must not hang on that.

    Args:
        graph: INT8 graph.
        candidates: Captures to choose from.
        logits: float32 [N, classes] of the same captures, nothing rounded to float16.
        specs: Preprocessing by modality.
        family: The model.
        count: How many to choose.
        written: float32 [N, classes] with every operator's output rounded, where known already.

    Raises:
        PrecisionError: Too few keep their score within the tolerance when every operator's output
            is rounded.
    """
    if written is None:
        from fasdk_engines.quantization import QdqReferenceRunner

        runner = QdqReferenceRunner(graph)
        written = np.concatenate(
            [runner.logits(to_batch([one], specs, family.presence_order)) for one in candidates]
        )
    drifts = [
        _score_drift(moved[None], row[None], family.live_index)
        for moved, row in zip(written, logits, strict=True)
    ]
    steadiest = sorted(
        range(len(drifts)), key=lambda index: (not drifts[index] >= 0, drifts[index])
    )
    chosen = sorted(steadiest[:count])
    worst = max(drifts[index] for index in chosen)
    if not worst <= GOLDEN_TOLERANCE:
        raise PrecisionError(
            f"rounding to float16 moves the score of a golden capture by {worst:.4f}, more than "
            f"{GOLDEN_TOLERANCE}: a device would refuse the bundle, build with --precision fp16"
        )
    return tuple(chosen)


def _score_drift(
    found: NDArray[np.float32], expected: NDArray[np.float32], live_index: int
) -> float:
    return max(
        abs(float(class_scores(one)[live_index] - class_scores(other)[live_index]))
        for one, other in zip(found, expected, strict=True)
    )
