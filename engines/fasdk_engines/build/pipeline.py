"""Build of a bundle from a checkpoint or an ONNX file: the steps of `fasdk build-engine`."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.manifest import Manifest, ModelInfo, PlanEntry, Provenance
from fasdk.bundle.members import CALIBRATION, EVALUATION, GRAPH
from fasdk.errors import UsageError
from fasdk_engines.build.captures import read_captures
from fasdk_engines.build.evaluation import evaluate_graph
from fasdk_engines.build.float_graph import deploy_checkpoint, export_deployed, import_onnx_file
from fasdk_engines.build.golden import GOLDEN_TOLERANCE
from fasdk_engines.build.phases import Phases
from fasdk_engines.build.report import make_report
from fasdk_engines.build.resolved import resolve_build
from fasdk_engines.build.source import DescribedOnnxFile, read_source
from fasdk_engines.build.typed_graph import convert_graph, quantize_graph
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.quantization.work_folder import WorkFolder

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.plan import BuiltPlan
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.evaluation import Evaluation
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.phases import BuildListener
    from fasdk_engines.build.report import BuildReport
    from fasdk_engines.build.request import BuildRequest
    from fasdk_engines.build.resolved import PlanTarget, ResolvedBuild
    from fasdk_engines.build.typed_graph import TypedGraph

_RTX_PLAN = "plans/tensorrt-rtx.plan"


def build_bundle(request: BuildRequest, listener: BuildListener | None = None) -> BuildReport:
    """Build a bundle; nothing is written unless every check passes.

    Args:
        request: Options of the build.
        listener: Receiver of its progress, or None.

    Raises:
        FasdkError: A subclass names the fault: of the request, the checkpoint, the parity of two
            forms of the model, the precision, the plan or the disk.
    """
    request.require_consistent()
    phases = Phases(listener)
    build, captures, source = _prepare(request, phases)
    phases.start("precision")
    if build.int8 is not None and source.max_batch is not None:
        raise UsageError(
            f"the graph takes {source.max_batch} capture at a time, and INT8 is calibrated in "
            "batches: build with --precision fp16 or fp32, or export it with a dynamic batch"
        )
    if build.int8 is None:
        typed = convert_graph(source, build.precision, captures)
    else:
        typed = quantize_graph(source, build, captures, phases)
    lint_tensorrt(typed.graph)
    plan = None
    if build.plan is not None:
        phases.start("plan")
        max_batch = _largest_batch(build, source)
        plan = _build_plan(typed.graph, build.plan, source.model.shapes, max_batch, listener)
    phases.start("evaluation")
    evaluation = evaluate_graph(typed, build.precision, source.model, captures)
    phases.start("bundle")
    manifest = write_bundle(
        build.out,
        _manifest(build, source, evaluation, plan),
        _members(typed, evaluation, plan),
        build.sign_key,
    )
    if typed.int8 is not None:
        WorkFolder(build.out).remove()
    phases.stop()
    return make_report(build.out, manifest, source, typed, plan, phases.seconds)


def _prepare(
    request: BuildRequest, phases: Phases
) -> tuple[ResolvedBuild, BuildCaptures, FloatGraph]:
    """Read the source and the captures, and make the FP32 graph."""
    phases.start("source")
    source = read_source(request)
    build = resolve_build(request, source)
    phases.start("captures")
    captures = read_captures(build)
    if isinstance(source, DescribedOnnxFile):
        return build, captures, import_onnx_file(source, build.model, phases)
    deployed = deploy_checkpoint(source.checkpoint, build.model, phases)
    del source  # the export needs the memory of a full model's weights
    return build, captures, export_deployed(deployed, build.model, phases)


def _build_plan(
    graph: bytes,
    target: PlanTarget,
    shapes: dict[str, tuple[int, ...]],
    max_batch: int,
    listener: BuildListener | None,
) -> BuiltPlan:
    from fasdk.backends.tensorrt.plan import build_plan

    return build_plan(
        graph,
        target.backend,
        shapes=shapes,
        max_batch=max_batch,
        compute_capabilities=target.compute_capabilities,
        progress=listener,
    )


def _largest_batch(build: ResolvedBuild, source: FloatGraph) -> int:
    """Return the batch of the plan's profile and of the manifest."""
    limit = source.max_batch
    return build.max_batch if limit is None else min(build.max_batch, limit)


def _manifest(
    build: ResolvedBuild, source: FloatGraph, evaluation: Evaluation, plan: BuiltPlan | None
) -> Manifest:
    family = source.model.family
    tools = {name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")}
    plans: tuple[PlanEntry, ...] = ()
    if plan is not None:
        tools[plan.backend.value] = plan.version
        # A plan for the GPU of this machine is of no use in a bundle: its devices build their own.
        if plan.compute_capabilities:
            entry = PlanEntry(
                member=_RTX_PLAN,
                compute_capabilities=plan.compute_capabilities,
                version=plan.version,
                max_batch=plan.max_batch,
            )
            plans = (entry,)
    return Manifest(
        model=ModelInfo(
            family=family.name,
            config=source.model.config.model_dump(mode="json"),
            parameters=source.parameters,
            published_in=family.published_in,
        ),
        modalities=family.modalities,
        required=source.model.required,
        inputs=source.model.specs,
        labels=family.labels,
        live_index=family.live_index,
        reliability=family.has_reliability,
        presence=family.takes_presence,
        precision=build.precision,
        operating_points=evaluation.operating_points,
        operating_points_note=evaluation.note,
        max_batch=_largest_batch(build, source),
        plans=plans,
        golden_tolerance=GOLDEN_TOLERANCE,
        provenance=Provenance(
            checkpoint_sha256=source.source_sha256, tools={"fasdk": version("fasdk"), **tools}
        ),
    )


def _members(typed: TypedGraph, evaluation: Evaluation, plan: BuiltPlan | None) -> dict[str, bytes]:
    """Return the bundle's members by name, manifest and signature left out."""
    members = {GRAPH: typed.graph}
    for number, golden in enumerate(evaluation.golden):
        members[f"golden/{number:03d}.npz"] = golden.to_bytes()
    if typed.int8 is not None:
        members[CALIBRATION] = typed.int8.record.to_bytes()
    if evaluation.document is not None:
        members[EVALUATION] = json.dumps(evaluation.document, indent=1, sort_keys=True).encode()
    if plan is not None and plan.compute_capabilities:
        members[_RTX_PLAN] = plan.data
    return members
