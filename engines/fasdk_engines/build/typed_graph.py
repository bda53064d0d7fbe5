"""Conversion of the FP32 graph to the precision of a build, held to that precision's limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from fasdk.bundle.manifest import Precision
from fasdk.errors import FasdkError, NoThresholdError, PrecisionError
from fasdk.preprocess import to_batch
from fasdk_engines.build.golden import GOLDEN_TOLERANCE, score_drift
from fasdk_engines.build.thresholds import choose_provisional_points
from fasdk_engines.graph.captures import spread
from fasdk_engines.graph.runner import GraphRunner
from fasdk_engines.graph.separation import measure_separation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk.decision import OperatingPoint
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.phases import Phases
    from fasdk_engines.build.resolved import ResolvedBuild
    from fasdk_engines.graph.emulation import Fp16Report
    from fasdk_engines.graph.half_precision import HalfPrecision
    from fasdk_engines.quantization.mixed_precision.pipeline import Int8Graph, Int8Job


_FEW_CAPTURES = 4  # enough to see an overflow before a calibration


@dataclass(frozen=True, eq=False)
class TypedGraph:
    """A graph in the precision of the build.

    Attributes:
        graph: Serialized ONNX model.
        half: The FP32 graph in half precision and what that costs: the graph itself in FP16, for
            INT8 what its float16 part was judged by; None in other precisions.
        int8: Calibration and budget of the INT8 graph; None in other precisions.
    """

    graph: bytes
    half: HalfPrecision | None = None
    int8: Int8Graph | None = None


def convert_graph(source: FloatGraph, precision: Precision, captures: BuildCaptures) -> TypedGraph:
    """Return an FP32 graph in FP32 or FP16.

    Raises:
        PrecisionError: FP16 moves the logits or a score by more than it may.
        FasdkError: The graph cannot be converted or run.
    """
    if precision is Precision.FP32:
        return TypedGraph(source.graph)
    half = _half_graph(source, captures, keep_sensitive=True)
    return TypedGraph(half.graph, half=half)


def quantize_graph(
    source: FloatGraph, build: ResolvedBuild, captures: BuildCaptures, phases: Phases
) -> TypedGraph:
    """Return an FP32 graph in the INT8 precision of a build.

    What is not quantized in INT8 is float16, so half precision is measured first, before the time
    of a calibration is spent.

    Raises:
        BudgetError: The liveness budget is missed.
        DatasetError: The captures cannot calibrate the graph.
        NoInt8LayerError: No layer can compute in INT8.
        FasdkError: The graph cannot be quantized or run.
    """
    from fasdk_engines.quantization.mixed_precision.pipeline import quantize
    from fasdk_engines.quantization.work_folder import WorkFolder

    half = None
    if build.precision is Precision.INT8:
        few = spread(captures.emulation, _FEW_CAPTURES)
        half = _half_precision(source, few, keep_sensitive=False)
    job = _int8_job(source, build, captures, half)
    int8 = quantize(job, WorkFolder(build.out), phases)
    return TypedGraph(int8.graph, half=half, int8=int8)


def working_precision(
    source: FloatGraph, precision: Precision, captures: BuildCaptures
) -> Precision:
    """Return the float precision to advise where an INT8 one does not work: one that does.

    Args:
        source: FP32 graph of the build.
        precision: INT8 or INT8_FP32.
        captures: Captures of the build.
    """
    if precision is not Precision.INT8:
        return Precision.FP32
    for keep_sensitive in (False, True):  # the quick way first
        try:
            _half_graph(source, captures, keep_sensitive=keep_sensitive)
        except FasdkError:
            continue
        return Precision.FP16
    return Precision.FP32


def convert_instead(
    source: FloatGraph, build: ResolvedBuild, captures: BuildCaptures, phases: Phases
) -> TypedGraph:
    """Return an FP32 graph in the float precision that `auto` may take in place of INT8.

    That is FP16 for INT8, held to the same liveness budget, and FP32 for INT8_FP32.

    Raises:
        PrecisionError: FP16 moves the logits or a score by more than it may, or misses the budget.
        FasdkError: The graph cannot be converted or run.
    """
    from fasdk_engines.quantization.mixed_precision.pipeline import evaluate_float_graph
    from fasdk_engines.quantization.work_folder import WorkFolder

    if build.precision is Precision.INT8_FP32:
        return convert_graph(source, Precision.FP32, captures)
    typed = convert_graph(source, Precision.FP16, captures)
    job = _int8_job(source, build, captures, typed.half)
    found = evaluate_float_graph(job, typed.graph, WorkFolder(build.out), phases)
    if not found.holds:
        raise PrecisionError(f"fp16 misses the liveness budget: {'; '.join(found.misses)}")
    return typed


def _int8_job(
    source: FloatGraph,
    build: ResolvedBuild,
    captures: BuildCaptures,
    half: HalfPrecision | None,
) -> Int8Job:
    from fasdk_engines.quantization.mixed_precision.pipeline import Int8Job

    # Both follow from the INT8 precision: `require_consistent`, then `read_captures`.
    assert build.int8 is not None  # noqa: S101
    assert captures.calibration is not None  # noqa: S101
    family = source.model.family
    return Int8Job(
        request=build.int8,
        precision=build.precision,
        graph=source.graph,
        family=family if half is None else replace(family, float32_islands=half.islands),
        specs=source.model.specs,
        calibration=captures.calibration,
        development=captures.development,
        choose_points=lambda logits: _reference_points(source, captures, logits),
        instead=lambda: working_precision(source, build.precision, captures),
    )


def _half_graph(
    source: FloatGraph, captures: BuildCaptures, *, keep_sensitive: bool
) -> HalfPrecision:
    """Return the graph in FP16, held to FP16's limits."""
    half = _half_precision(source, captures.emulation, keep_sensitive=keep_sensitive)
    on_captures = captures.development is not None
    _require_accurate(half.report, source.model.family.live_index, on_captures=on_captures)
    return half


def _half_precision(
    source: FloatGraph, captures: Sequence[Capture], *, keep_sensitive: bool
) -> HalfPrecision:
    from fasdk_engines.graph.half_precision import to_half_precision

    family, specs = source.model.family, source.model.specs
    batch = to_batch(list(captures), specs, family.presence_order)
    reference = GraphRunner(source.graph, specs, family.presence_order).batch_logits(batch)
    return to_half_precision(
        source.graph, family.float32_islands, batch, reference, keep_sensitive=keep_sensitive
    )


def _reference_points(
    source: FloatGraph, captures: BuildCaptures, logits: NDArray[np.float32]
) -> tuple[OperatingPoint, ...]:
    """Return the FP32 graph's operating points on the development captures."""
    # The budget is evaluated where there are development captures.
    assert captures.development is not None  # noqa: S101
    family = source.model.family
    found = measure_separation(captures.development, logits, family)
    if found is not None and found.doubt is not None:
        raise NoThresholdError(f"no liveness budget can be held: {found.doubt}")
    points, _, _ = choose_provisional_points(
        captures.development,
        logits,
        family.live_index,
        family.modalities,
        sha256(source.graph).hexdigest(),
    )
    return points


def _require_accurate(report: Fp16Report, live_index: int, *, on_captures: bool) -> None:
    """Hold the FP16 emulation to its limits.

    The drift ratio needs logits that vary as real captures make them vary; on seeded captures the
    score itself is held to the golden tolerance instead.
    """
    from fasdk_engines.graph.emulation import require_fp16_accuracy

    require_fp16_accuracy(report, check_drift=on_captures)
    drift = score_drift(report.logits, report.reference_logits, live_index).max()
    if not drift <= GOLDEN_TOLERANCE:
        raise PrecisionError(
            f"half precision moves a score by {drift:.4f}, more than {GOLDEN_TOLERANCE}: "
            "build with --precision fp32"
        )
