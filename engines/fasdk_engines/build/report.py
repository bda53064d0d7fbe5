"""Report on a finished build."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from fasdk.bundle.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fasdk.bundle.manifest import Manifest
    from fasdk_engines.build.comparison import Comparison
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.precision_choice import BuiltGraph
    from fasdk_engines.quantization.mixed_precision.summary import Int8Summary


@dataclass(frozen=True)
class BuildReport:
    """Contents of a bundle and the checks its build passed.

    Attributes:
        bundle: Path of the bundle.
        bundle_id: SHA-256 of its manifest, in hexadecimal.
        model: Registered name of the model.
        config: Settings of the model.
        precision: Numeric types of the graph.
        parameters: Number of weights in the deployed graph.
        nodes: Number of nodes in the graph.
        size_bytes: Size of the bundle.
        torch_parity: Largest logit difference, published form against deployed form, in torch;
            None for an imported ONNX file.
        graph_parity: Largest logit difference, deployed form against its FP32 graph; for an
            imported file the largest score difference, file as given against the graph in the
            bundle.
        score_parity: Largest softmax difference of both comparisons.
        logit_spread: Largest difference between two logits of one capture, at least 1, by which the
            budgets of the parity are multiplied; None for an imported ONNX file.
        half_drift: Largest logit difference, FP32 graph against the half-precision graph with
            every operator's output rounded; None in other precisions.
        half_drift_ratio: `half_drift` over the standard deviation of the logits; None in other
            precisions.
        float32_nodes: Reason by node that stays float32 beyond the model's own islands.
        half_max_activation: Largest magnitude of any half-precision tensor; None in other
            precisions.
        plan: TensorRT flavor and release the plan was built with, or None.
        plan_targets: Compute capabilities it was built for; empty for the GPU of this machine.
        plan_bytes: Size of the plan; 0 without a plan.
        operating_points: Threshold by the operating point's id.
        operating_points_note: Origin of the operating points, or the reason why there are none.
        phase_seconds: Duration by phase, in seconds.
        int8: Calibration and liveness budget; None without INT8.
        comparison: A quantized graph beside the float graph it would replace; None without one.
        signed_by: Id of the key that signed it.
        summary: What the build took its source to be, by topic.
        doubts: Plain lines, each on one thing that may be wrong.
    """

    bundle: str
    bundle_id: str
    model: str
    config: dict[str, Any]
    precision: str
    parameters: int
    nodes: int
    size_bytes: int
    torch_parity: float | None
    graph_parity: float
    score_parity: float
    logit_spread: float | None
    half_drift: float | None
    half_drift_ratio: float | None
    float32_nodes: dict[str, str]
    half_max_activation: float | None
    plan: str | None
    plan_targets: tuple[str, ...]
    plan_bytes: int
    operating_points: dict[str, float]
    operating_points_note: str
    phase_seconds: dict[str, float]
    int8: Int8Summary | None = None
    comparison: Comparison | None = None
    signed_by: str = ""
    summary: dict[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


def make_report(
    bundle: Path,
    manifest: Manifest,
    source: FloatGraph,
    built: BuiltGraph,
    phase_seconds: Mapping[str, float],
    signed_by: str,
    doubts: tuple[str, ...] = (),
) -> BuildReport:
    """Return the report on a bundle that has been written.

    Args:
        bundle: Path of the bundle.
        manifest: Manifest in it.
        source: FP32 graph it was built from.
        built: Graph and plan in it.
        phase_seconds: Duration by phase, in seconds.
        signed_by: Id of the key that signed it.
        doubts: Plain lines, each on one thing that may be wrong.
    """
    from fasdk_engines.graph.export import count_nodes

    typed, plan = built.typed, built.plan
    int8 = typed.int8
    half = None if int8 is not None else typed.half
    return BuildReport(
        bundle=str(bundle),
        bundle_id=sha256(manifest.to_bytes()).hexdigest(),
        model=manifest.model.family,
        config=manifest.model.config,
        precision=manifest.precision.value,
        parameters=manifest.model.parameters,
        nodes=count_nodes(typed.graph),
        size_bytes=bundle.stat().st_size,
        torch_parity=source.torch_parity,
        graph_parity=source.graph_parity,
        score_parity=source.score_parity,
        logit_spread=source.logit_spread,
        half_drift=None if half is None else half.report.logit_drift,
        half_drift_ratio=None if half is None else half.report.drift_ratio,
        float32_nodes={} if typed.half is None else typed.half.reasons,
        half_max_activation=None if half is None else half.report.max_activation,
        plan=None if plan is None else f"{plan.backend.value} {plan.version}",
        plan_targets=() if plan is None else plan.compute_capabilities,
        plan_bytes=0 if plan is None else len(plan.data),
        operating_points={point.id: point.threshold for point in manifest.operating_points},
        operating_points_note=manifest.operating_points_note,
        phase_seconds=dict(phase_seconds),
        int8=None if int8 is None else int8.record.summary(),
        comparison=built.comparison,
        signed_by=signed_by,
        summary=summarize(manifest),
        doubts=doubts,
    )
