"""Conversion of the FP32 graph to the precision of a build, held to that precision's limits."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from fasdk.bundle.manifest import Precision
from fasdk.errors import PrecisionError
from fasdk.preprocess import to_batch
from fasdk_engines.build.golden import GOLDEN_TOLERANCE, score_drift
from fasdk_engines.build.thresholds import choose_provisional_points
from fasdk_engines.graph.runner import GraphRunner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasdk.decision import OperatingPoint
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.phases import Phases
    from fasdk_engines.build.resolved import ResolvedBuild
    from fasdk_engines.graph.emulation import Fp16Report
    from fasdk_engines.quantization.mixed_precision.pipeline import Int8Graph


@dataclass(frozen=True, eq=False)
class TypedGraph:
    """A graph in the precision of the build.

    Attributes:
        graph: Serialized ONNX model.
        fp16: Result of the FP16 emulation; None in other precisions.
        int8: Calibration and budget of the INT8 graph; None in other precisions.
    """

    graph: bytes
    fp16: Fp16Report | None = None
    int8: Int8Graph | None = None


def convert_graph(source: FloatGraph, precision: Precision, captures: BuildCaptures) -> TypedGraph:
    """Return an FP32 graph in FP32 or FP16.

    Raises:
        PrecisionError: FP16 moves the logits or a score by more than it may.
        FasdkError: The graph cannot be converted or run.
    """
    from fasdk_engines.graph.fp16 import convert, islands_matching

    if precision is Precision.FP32:
        return TypedGraph(convert(source.graph, precision))
    family, specs = source.model.family, source.model.specs
    islands = islands_matching(source.graph, family.float32_islands)
    converted = convert(source.graph, precision, islands)
    from fasdk_engines.graph.emulation import emulate_fp16

    batch = to_batch(list(captures.emulation), specs, family.presence_order)
    reference = GraphRunner(source.graph, specs, family.presence_order).batch_logits(batch)
    parts = [batch]
    if source.max_batch == 1:
        rows = range(len(reference))
        parts = [{name: values[i : i + 1] for name, values in batch.items()} for i in rows]
    report = emulate_fp16(converted, parts, reference)
    _require_accurate(report, family.live_index, on_captures=captures.development is not None)
    return TypedGraph(converted, fp16=report)


def quantize_graph(
    source: FloatGraph, build: ResolvedBuild, captures: BuildCaptures, phases: Phases
) -> TypedGraph:
    """Return an FP32 graph in the INT8 precision of a build.

    Raises:
        BudgetError: The liveness budget is missed.
        DatasetError: The captures cannot calibrate the graph.
        FasdkError: The graph cannot be quantized or run.
    """
    from fasdk_engines.quantization.mixed_precision.pipeline import Int8Job, quantize
    from fasdk_engines.quantization.work_folder import WorkFolder

    # Both follow from the INT8 precision: `require_consistent`, then `read_captures`.
    assert build.int8 is not None  # noqa: S101
    assert captures.calibration is not None  # noqa: S101
    job = Int8Job(
        request=build.int8,
        precision=build.precision,
        graph=source.graph,
        family=source.model.family,
        specs=source.model.specs,
        calibration=captures.calibration,
        development=captures.development,
        choose_points=lambda logits: _reference_points(source, captures, logits),
    )
    int8 = quantize(job, WorkFolder(build.out), phases)
    return TypedGraph(int8.graph, int8=int8)


def _reference_points(
    source: FloatGraph, captures: BuildCaptures, logits: NDArray[np.float32]
) -> tuple[OperatingPoint, ...]:
    """Return the FP32 graph's operating points on the development captures."""
    # The budget is evaluated where there are development captures.
    assert captures.development is not None  # noqa: S101
    family = source.model.family
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
