"""Checkpoint or ready graph in, verified bundle out: `fasdk build-engine`, step by step."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fasdk.backends.engine import Backend
from fasdk.backends.registry import (
    BACKENDS,
    installed_backends,
    require_installed,
    spec_of,
)
from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import Manifest, ModelInfo, PlanEntry, Precision, Provenance
from fasdk.bundle.members import CALIBRATION, EVALUATION, GRAPH
from fasdk.errors import UsageError
from fasdk_engines.build.float_graph import FloatGraph, make_float_graph, read_description_of
from fasdk_engines.build.request import (
    BuildListener,
    BuildReport,
    BuildRequest,
    Phases,
)
from fasdk_engines.build.thresholds import (
    NO_EVALUATION,
    choose_provisional_points,
)
from fasdk_engines.build.typed_graph import (
    GOLDEN_TOLERANCE,
    BuildCaptures,
    TypedGraph,
    choose_golden,
    make_typed_graph,
)
from fasdk_engines.graph.captures import read_development, seeded_captures, spread
from fasdk_engines.graph.runner import GraphRunner
from fasdk_engines.models.base import Family
from fasdk_engines.models.registry import get_family
from fasdk_engines.quantization.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.tensorrt.plan import BuiltPlan
    from fasdk.capture import Modality

DEFAULT_COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")
_GOLDEN_COUNT, _GOLDEN_CANDIDATES = 4, 16
_JUDGED_COUNT = 32
_RTX_PLAN = "plans/tensorrt-rtx.plan"

__all__ = ["BuildListener", "BuildReport", "BuildRequest", "build_bundle"]


def build_bundle(request: BuildRequest, listener: BuildListener | None = None) -> BuildReport:
    """Build a bundle from a checkpoint or a ready graph; nothing is written unless all checks hold.

    Raises:
        FasdkError: A subclass names what was wrong: the request, the checkpoint, the parity of
            two forms of the model, the precision, the plan or the disk.
    """
    request.require_consistent()
    description = read_description_of(request)
    family = get_family(request.model) if description is None else description.family()
    required = _required(request, family)
    backend = _plan_backend(request)
    if not request.out.resolve().parent.is_dir():
        raise UsageError(f"cannot write {request.out}: its folder does not exist: make it first")
    phases = Phases(listener)
    phases.start("captures")
    captures = _read_captures(request, family, required)
    floating = make_float_graph(request, family, description, phases)
    phases.start("precision")
    typed = make_typed_graph(request, floating, captures, phases)
    _lint(typed.graph)
    plan = None
    if backend is not None:
        phases.start("plan")
        shapes = floating.family.input_shapes(floating.config)
        plan = _build_plan(typed.graph, backend, request, shapes, listener)
    phases.start("evaluation")
    update, members = _evaluate(request.precision, floating, typed, captures)
    phases.start("bundle")
    if plan is not None and plan.compute_capabilities:
        members[_RTX_PLAN] = plan.data
        update["plans"] = (
            PlanEntry(
                member=_RTX_PLAN,
                compute_capabilities=plan.compute_capabilities,
                version=plan.version,
                max_batch=plan.max_batch,
            ),
        )
    manifest = write_bundle(
        request.out,
        _manifest(request, floating, plan).model_copy(update=update),
        members,
        request.sign_key,
    )
    if typed.int8 is not None:
        WorkFolder(request.out).remove()
    phases.stop()
    return _report(request, manifest, floating, typed, plan, phases.seconds)


def _plan_backend(request: BuildRequest) -> Backend | None:
    """Return the TensorRT flavor to build a plan with, or None for no plan."""
    backend = request.backend or _plan_backend_here(request)
    if backend is None:
        return None
    if request.compute_capabilities and not spec_of(backend).cross_builds:
        names = " or ".join(spec.backend.value for spec in BACKENDS if spec.cross_builds)
        raise UsageError(
            f"--compute-capability needs the {names} backend, found {backend.value}: "
            "a TensorRT plan is always for the very machine that builds it"
        )
    require_installed(backend)
    return backend if spec_of(backend).builds_plans else None


def _plan_backend_here(request: BuildRequest) -> Backend | None:
    """Return the installed flavor that suits a request that names none, or None."""
    flavors = [spec_of(b) for b in installed_backends() if spec_of(b).builds_plans]
    # TensorRT first on a device; the cross-building flavor where targets were named.
    if request.compute_capabilities:
        flavors = [spec for spec in flavors if spec.cross_builds]
        if not flavors:
            return Backend.ONNXRUNTIME
    elif request.precision is Precision.INT8_FP32:
        return None  # the CPU's form: a plan of it is built where one is asked for
    return flavors[0].backend if flavors else None


def _read_captures(
    request: BuildRequest, family: Family, required: Sequence[Modality]
) -> BuildCaptures:
    development = None if request.development is None else read_development(request.development)
    calibration = None
    if request.int8 is not None:
        from fasdk_engines.quantization.calibration.calibration_set import open_calibration

        calibration = open_calibration(
            request.int8.calibration,
            request.int8.root,
            family.modalities,
            required,
            development,
        )
    # Of an INT8 graph's the steadiest become golden.
    count = _GOLDEN_CANDIDATES if request.precision is Precision.INT8 else _GOLDEN_COUNT
    seen = seeded_captures(family.modalities, count)
    if development is not None:
        seen = spread(development.captures, _JUDGED_COUNT)
    return BuildCaptures(development, calibration, seen, spread(seen, count))


def _lint(graph: bytes) -> None:
    from fasdk_engines.graph.lint import lint_tensorrt

    lint_tensorrt(graph)


def _build_plan(
    graph: bytes,
    backend: Backend,
    request: BuildRequest,
    shapes: dict[str, tuple[int, ...]],
    listener: BuildListener | None,
) -> BuiltPlan:
    from fasdk.backends.tensorrt.plan import build_plan

    targets: tuple[str, ...] = ()
    if spec_of(backend).cross_builds:
        targets = request.compute_capabilities or DEFAULT_COMPUTE_CAPABILITIES
    return build_plan(
        graph,
        backend,
        shapes=shapes,
        max_batch=request.max_batch,
        compute_capabilities=targets,
        progress=None if listener is None else listener.plan_progress,
    )


def _evaluate(
    precision: Precision, floating: FloatGraph, typed: TypedGraph, captures: BuildCaptures
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the manifest's operating points and note, and all members but plans."""
    family, specs = floating.family, floating.family.preprocess(floating.config)
    is_int8 = precision is Precision.INT8
    runner = GraphRunner(typed.graph, specs, family.presence_order, as_written=is_int8)
    golden, golden_logits = captures.golden, runner.logits(captures.golden)
    if is_int8:
        kept = choose_golden(
            typed.graph,
            golden,
            golden_logits,
            specs,
            family,
            min(_GOLDEN_COUNT, len(golden)),
            _judged_logits(typed, captures),
        )
        golden, golden_logits = [golden[index] for index in kept], golden_logits[list(kept)]
    members = {GRAPH: typed.graph}
    for number, (capture, row) in enumerate(zip(golden, golden_logits, strict=True)):
        members[f"golden/{number:03d}.npz"] = GoldenCapture(capture, row).to_bytes()
    if typed.int8 is not None:
        members[CALIBRATION] = typed.int8.record.to_bytes()
    development = captures.development
    if development is None:
        return {"operating_points": (), "operating_points_note": NO_EVALUATION}, members
    logits = None if typed.int8 is None else typed.int8.development_logits
    points, note, document = choose_provisional_points(
        development,
        runner.logits(development.captures) if logits is None else logits,
        family.live_index,
        family.modalities,
        runner.graph_sha256,
    )
    members[EVALUATION] = json.dumps(document, indent=1, sort_keys=True).encode()
    return {"operating_points": points, "operating_points_note": note}, members


def _judged_logits(typed: TypedGraph, captures: BuildCaptures) -> NDArray[np.float32] | None:
    """Return what an INT8 graph said of the golden candidates when it was judged, if it was."""
    if typed.int8 is None or typed.int8.development_logits is None or captures.development is None:
        return None
    places = {id(capture): place for place, capture in enumerate(captures.development.captures)}
    rows: NDArray[np.float32] = typed.int8.development_logits[
        [places[id(capture)] for capture in captures.golden]
    ]
    return rows


def _required(request: BuildRequest, family: Family) -> tuple[Modality, ...]:
    """Return the modalities a capture must hold, in model order."""
    unknown = [m.value for m in request.required if m not in family.modalities]
    if unknown:
        raise UsageError(
            f"--require {', '.join(unknown)}: {family.name} does not look at it; "
            f"choose among {', '.join(m.value for m in family.modalities)}"
        )
    return tuple(m for m in family.modalities if m in {*family.required, *request.required})


def _manifest(request: BuildRequest, floating: FloatGraph, plan: BuiltPlan | None) -> Manifest:
    family = floating.family
    tools = {name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")}
    if plan is not None:
        tools[plan.backend.value] = plan.version
    return Manifest(
        model=ModelInfo(
            family=family.name,
            config=floating.config.model_dump(mode="json"),
            parameters=floating.parameters,
            published_in=family.published_in,
        ),
        modalities=family.modalities,
        required=_required(request, family),
        inputs=family.preprocess(floating.config),
        labels=family.labels,
        live_index=family.live_index,
        reliability=family.has_reliability,
        presence=family.takes_presence,
        precision=request.precision,
        operating_points=(),
        operating_points_note=NO_EVALUATION,
        max_batch=request.max_batch,
        golden_tolerance=GOLDEN_TOLERANCE,
        provenance=Provenance(
            checkpoint_sha256=floating.source_sha256, tools={"fasdk": version("fasdk"), **tools}
        ),
    )


def _report(
    request: BuildRequest,
    manifest: Manifest,
    floating: FloatGraph,
    typed: TypedGraph,
    plan: BuiltPlan | None,
    seconds: dict[str, float],
) -> BuildReport:
    from hashlib import sha256

    from fasdk_engines.graph.export import count_nodes

    half, int8 = typed.half, typed.int8

    return BuildReport(
        bundle=str(request.out),
        bundle_id=sha256(manifest.to_bytes()).hexdigest(),
        model=manifest.model.family,
        config=manifest.model.config,
        precision=manifest.precision.value,
        parameters=manifest.model.parameters,
        nodes=count_nodes(typed.graph),
        size_bytes=request.out.stat().st_size,
        torch_parity=floating.torch_parity,
        graph_parity=floating.graph_parity,
        half_drift=None if half is None else half.logit_drift,
        half_drift_ratio=None if half is None else half.drift_ratio,
        half_max_activation=None if half is None else half.max_activation,
        plan=None if plan is None else f"{plan.backend.value} {plan.version}",
        plan_targets=() if plan is None else plan.compute_capabilities,
        plan_bytes=0 if plan is None else len(plan.data),
        operating_points={point.id: point.threshold for point in manifest.operating_points},
        operating_points_note=manifest.operating_points_note,
        phase_seconds=seconds,
        int8=None if int8 is None else int8.record.summary(),
    )
