"""Build of a bundle from a checkpoint or an ONNX file: the steps of `fasdk build-engine`."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.manifest import Manifest, ModelInfo, PlanEntry, Provenance
from fasdk.bundle.members import CALIBRATION, EVALUATION, GRAPH
from fasdk_engines.build.captures import GOLDEN_COUNT, read_captures
from fasdk_engines.build.evaluation import evaluate_graph
from fasdk_engines.build.float_graph import (
    deploy_checkpoint,
    export_deployed,
    fold_graph,
    import_onnx_file,
    with_reliability,
)
from fasdk_engines.build.golden import GOLDEN_TOLERANCE
from fasdk_engines.build.phases import Phases
from fasdk_engines.build.plausibility import check_plausibility
from fasdk_engines.build.precision_choice import build_graph
from fasdk_engines.build.report import make_report
from fasdk_engines.build.resolved import resolve_build
from fasdk_engines.build.source import DescribedOnnxFile, read_source
from fasdk_engines.build.typed_graph import working_precision
from fasdk_engines.graph.captures import spread
from fasdk_engines.quantization.work_folder import WorkFolder

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.plan import BuiltPlan
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.evaluation import Evaluation
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.phases import BuildListener
    from fasdk_engines.build.plausibility import Plausibility
    from fasdk_engines.build.precision_choice import BuiltGraph
    from fasdk_engines.build.report import BuildReport
    from fasdk_engines.build.request import BuildRequest
    from fasdk_engines.build.resolved import ResolvedBuild
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
    build, captures, source, plausible = _prepare(request, phases)
    built = build_graph(source, build, captures, phases)
    typed, plan = built.typed, built.plan
    if built.precision is not build.precision:
        captures = replace(captures, golden=spread(captures.golden, GOLDEN_COUNT))
    phases.start("evaluation")
    evaluation = evaluate_graph(
        typed,
        built.precision,
        source.model,
        captures,
        lambda: working_precision(source, built.precision, captures),
    )
    phases.start("bundle")
    manifest = write_bundle(
        build.out,
        _manifest(build, source, (*plausible.notes, captures.golden_note), evaluation, built),
        _members(typed, evaluation, plan),
        build.signer,
    )
    if build.int8 is not None:
        WorkFolder(build.out).remove()
    phases.stop()
    doubts = plausible.doubts if evaluation.doubt is None else (*plausible.doubts, evaluation.doubt)
    return make_report(
        build.out, manifest, source, built, phases.seconds, build.signer.key_id, doubts
    )


def _prepare(
    request: BuildRequest, phases: Phases
) -> tuple[ResolvedBuild, BuildCaptures, FloatGraph, Plausibility]:
    """Read the source and the captures, make the FP32 graph and check that it is plausible."""
    phases.start("source")
    source = read_source(request)
    build = resolve_build(request, source)
    phases.start("captures")
    captures = read_captures(build)
    described = isinstance(source, DescribedOnnxFile)
    if isinstance(source, DescribedOnnxFile):
        graph = import_onnx_file(source, build.model, phases)
    else:
        deployed = deploy_checkpoint(source.checkpoint, build.model, phases)
        del source  # the export needs the memory of a full model's weights
        graph = export_deployed(deployed, build.model, phases)
        del deployed
    phases.start("plausibility")
    plausible = check_plausibility(
        graph.graph, graph.model, captures, described=described, accept_units=build.accept_units
    )
    # What is plausible shows in the batch norm's statistics, which folding removes.
    graph = fold_graph(graph, captures)
    phases.start("reliability")
    return build, captures, with_reliability(graph, captures), plausible


def _manifest(
    build: ResolvedBuild,
    source: FloatGraph,
    notes: tuple[str, ...],
    evaluation: Evaluation,
    built: BuiltGraph,
) -> Manifest:
    family, plan = source.model.family, built.plan
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
        product=build.product or family.name,
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
        certainty=family.has_certainty,
        reliability=source.reliability,
        presence=family.takes_presence,
        precision=built.precision,
        operating_points=evaluation.operating_points,
        operating_points_note=evaluation.note,
        max_batch=source.largest_batch(build.max_batch),
        plans=plans,
        golden_tolerance=GOLDEN_TOLERANCE,
        provenance=Provenance(
            checkpoint_sha256=source.source_sha256,
            tools={"fasdk": version("fasdk"), **tools},
            notes=(*source.notes, *notes, *built.notes),
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
