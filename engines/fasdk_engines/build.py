"""Checkpoint or ready graph in, verified bundle out: `fasdk build-engine`, step by step."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fasdk.backends import Backend, installed_backends
from fasdk.bundle import (
    EVALUATION,
    GRAPH,
    GoldenCapture,
    Manifest,
    ModelInfo,
    PlanEntry,
    Precision,
    Provenance,
    write_bundle,
)
from fasdk.capture import Capture, Modality
from fasdk.decision import class_scores
from fasdk.errors import BackendError, PrecisionError, UsageError
from fasdk.preprocess import PreprocessSpec, to_batch
from fasdk_engines.evaluation import (
    NO_EVALUATION,
    DevelopmentSet,
    GraphRunner,
    choose_provisional_points,
    read_development,
    seeded_captures,
    spread,
)
from fasdk_engines.models import READY, Family, ModelConfig, get_family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.backends.tensorrt.plan import BuiltPlan, ProgressListener
    from fasdk_engines.ready.description import Description
    from fasdk_engines.rounding import HalfReport

DEFAULT_COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")
_GOLDEN_COUNT = 4
_JUDGED_COUNT = 32
# A device differs from the workstation by rounding alone; DESIGN grants a plan this much.
_GOLDEN_TOLERANCE = 0.01
_RTX_PLAN = "plans/tensorrt-rtx.plan"


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        source: Checkpoint, or a ready ONNX file.
        out: Bundle to write.
        model: Registered model name; `READY` for a ready ONNX file.
        config: Named settings, or a JSON file; None takes the checkpoint's own, else the published.
        precision: Types of the graph.
        backend: Which plan to build along; ONNXRUNTIME builds none, None builds one where a
            TensorRT flavour is installed.
        max_batch: Largest batch of the plan's optimisation profile.
        compute_capabilities: GPU generations a TensorRT-RTX plan is built for; empty takes all
            of `DEFAULT_COMPUTE_CAPABILITIES`.
        development: List of labelled captures to choose an operating point on, or None.
        sign_key: PEM file of an Ed25519 private key, or None to leave the bundle unsigned.
        preprocess: TOML file that describes a ready ONNX file; None for a checkpoint.
        required: Modalities without which a capture is refused, besides the model's own.
    """

    source: Path
    out: Path
    model: str
    config: str | None = None
    precision: Precision = Precision.FP32
    backend: Backend | None = None
    max_batch: int = 8
    compute_capabilities: tuple[str, ...] = ()
    development: Path | None = None
    sign_key: Path | None = None
    preprocess: Path | None = None
    required: tuple[Modality, ...] = ()


@dataclass(frozen=True)
class BuildReport:
    """What was built, and how it was shown to be right.

    Attributes:
        bundle: The file written.
        bundle_id: SHA-256 of its manifest.
        model: Model name.
        config: Its settings.
        precision: Types of the graph.
        parameters: Weights in the deployed graph.
        nodes: Nodes in the graph.
        size_bytes: Size of the bundle.
        torch_parity: Largest logit difference, published form against deployed form, in torch;
            None for a ready graph.
        graph_parity: Largest logit difference, deployed form against its FP32 graph; for a ready
            graph the largest score difference, file as given against the graph in the bundle.
        half_drift: Largest logit difference, FP32 graph against the half-precision graph with
            every operator's output rounded; None in FP32.
        half_drift_ratio: The same over the logits' standard deviation; None in FP32.
        half_max_activation: Largest magnitude of any half-precision tensor; None in FP32.
        plan: TensorRT flavour and release a plan was built with, or None.
        plan_targets: Compute capabilities it was built for; empty for this very machine.
        plan_bytes: Its size; 0 without a plan.
        operating_points: Threshold by name.
        operating_points_note: Where they come from, or why there are none.
        phase_seconds: Time by phase.
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
    half_drift: float | None
    half_drift_ratio: float | None
    half_max_activation: float | None
    plan: str | None
    plan_targets: tuple[str, ...]
    plan_bytes: int
    operating_points: dict[str, float]
    operating_points_note: str
    phase_seconds: dict[str, float]


class BuildListener(Protocol):
    """Hears how a build is getting on; `plan_progress` hears the plan compiler's own steps."""

    @property
    def plan_progress(self) -> ProgressListener | None:
        """Who hears the plan compiler, or None."""
        ...

    def phase(self, name: str) -> None:
        """Note that the phase called `name` begins."""
        ...


@dataclass
class _Phases:
    """Times the phases of one build and tells the listener."""

    listener: BuildListener | None
    seconds: dict[str, float] = field(default_factory=dict)
    _current: str | None = None
    _since: float = 0.0

    def start(self, name: str) -> None:
        self.stop()
        self._current, self._since = name, time.perf_counter()
        if self.listener is not None:
            self.listener.phase(name)

    def stop(self) -> None:
        if self._current is not None:
            self.seconds[self._current] = round(time.perf_counter() - self._since, 3)
        self._current = None


@dataclass(frozen=True)
class _FloatGraph:
    """An FP32 graph and what it came from, with the parity that was measured on the way."""

    graph: bytes
    family: Family
    config: ModelConfig
    parameters: int
    source_sha256: str
    torch_parity: float | None
    graph_parity: float


def build_bundle(request: BuildRequest, listener: BuildListener | None = None) -> BuildReport:
    """Build a bundle from a checkpoint or a ready graph; nothing is written unless all checks hold.

    Raises:
        FasdkError: A subclass names what was wrong: the request, the checkpoint, the parity of
            two forms of the model, the precision, the plan or the disk.
    """
    description = _description(request)
    family = get_family(request.model) if description is None else description.family()
    _required(request, family)
    backend = _plan_backend(request)
    if not request.out.resolve().parent.is_dir():
        raise UsageError(f"cannot write {request.out}: its folder does not exist: make it first")
    phases = _Phases(listener)
    phases.start("captures")
    development = None if request.development is None else read_development(request.development)
    seen = seeded_captures(family.modalities, _GOLDEN_COUNT)
    if development is not None:
        seen = spread(development.captures, _JUDGED_COUNT)
    golden = spread(seen, _GOLDEN_COUNT)

    if description is None:
        floating = _graph_of_checkpoint(request, family, phases)
    else:
        floating = _graph_of_file(request, description, phases)
        family = floating.family
    specs = family.preprocess(floating.config)
    phases.start("precision")
    graph, half = _convert(floating.graph, request.precision, family, specs, seen)
    if half is not None:
        _require_half(half, family.live_index, judged_on_captures=development is not None)
    _lint(graph)
    plan = None
    if backend is not None:
        phases.start("plan")
        shapes = family.input_shapes(floating.config)
        plan = _build_plan(graph, backend, request, shapes, listener)

    phases.start("evaluation")
    runner = GraphRunner(graph, specs, family.presence_order)
    golden_logits = runner.logits(golden)
    update, evaluation = _decide_points(family, development, runner)
    phases.start("bundle")
    members = {GRAPH: graph}
    for number, (capture, row) in enumerate(zip(golden, golden_logits, strict=True)):
        members[f"golden/{number:03d}.npz"] = GoldenCapture(capture, row).to_bytes()
    if evaluation is not None:
        members[EVALUATION] = json.dumps(evaluation, indent=1, sort_keys=True).encode()
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
        _manifest(request, family, floating, plan).model_copy(update=update),
        members,
        request.sign_key,
    )
    phases.stop()
    return _report(request, manifest, graph, floating, half, plan, phases.seconds)


def _plan_backend(request: BuildRequest) -> Backend | None:
    """Return the TensorRT flavour to build a plan with, or None for no plan."""
    if request.max_batch < 1:
        raise UsageError(f"--max-batch is {request.max_batch}: it must be at least 1")
    installed = installed_backends()
    backend = request.backend
    if backend is None:
        flavours = [b for b in installed if b is not Backend.ONNXRUNTIME]
        # TensorRT first on a device; the cross-building flavour where targets were named.
        if request.compute_capabilities:
            flavours = [b for b in flavours if b is Backend.TENSORRT_RTX]
        backend = flavours[0] if flavours else Backend.ONNXRUNTIME
    if backend is not Backend.TENSORRT_RTX and request.compute_capabilities:
        raise UsageError(
            f"--compute-capability needs the tensorrt-rtx backend, found {backend.value}: "
            "a TensorRT plan is always for the very machine that builds it"
        )
    if backend not in installed:
        raise BackendError(
            f"backend {backend.value} is not installed: "
            "install fasdk[rtx], or take --backend onnxruntime to build no plan"
        )
    return None if backend is Backend.ONNXRUNTIME else backend


def _description(request: BuildRequest) -> Description | None:
    """Return what describes a ready ONNX file, or None where a checkpoint is to be built.

    Raises:
        UsageError: Source, model and description do not go together.
        ModelError: The description is not as it should be.
    """
    if request.model != READY:
        if request.preprocess is not None:
            raise UsageError(f"--preprocess goes with --model {READY}: {request.model} has its own")
        if request.source.suffix.lower() == ".onnx":
            raise UsageError(
                f"{request.source} is an ONNX file, which needs --model {READY} and --preprocess "
                "FILE.toml; other models are built from a checkpoint"
            )
        return None
    if request.preprocess is None or request.config is not None:
        raise UsageError(
            f"--model {READY} takes --preprocess FILE.toml, which describes inputs and output, and "
            "no --config"
        )
    if request.source.suffix.lower() != ".onnx":
        raise UsageError(f"{request.source} is not called like an ONNX file: expected .onnx")
    from fasdk_engines.ready.description import read_description

    return read_description(request.preprocess)


def _graph_of_file(request: BuildRequest, description: Description, phases: _Phases) -> _FloatGraph:
    """Ready ONNX file → FP32 graph under our names, held against the file as it was given."""
    from fasdk_engines.ready.file import read_file
    from fasdk_engines.ready.graph import adopt

    phases.start("ready graph")
    file = read_file(request.source)
    ready = adopt(file, description)
    return _FloatGraph(
        graph=ready.graph,
        family=ready.family,
        config=description,
        parameters=ready.parameters,
        source_sha256=file.sha256,
        torch_parity=None,
        graph_parity=ready.parity,
    )


def _graph_of_checkpoint(request: BuildRequest, family: Family, phases: _Phases) -> _FloatGraph:
    """Checkpoint → module → deployed module → FP32 graph, each held against the one before."""
    from fasdk_engines.checkpoint import load_checkpoint, load_into, resolve_config
    from fasdk_engines.export import export_graph
    from fasdk_engines.parity import graph_parity, torch_parity

    phases.start("checkpoint")
    checkpoint = load_checkpoint(request.source)
    config = resolve_config(family, checkpoint, request.config)
    published = family.build(config).eval()
    load_into(published, checkpoint, family)
    phases.start("torch parity")
    deployed = published.deployed().eval()
    inputs = family.example_inputs(config, batch=3, seed=1)
    in_torch = torch_parity(published, deployed, [tensor[:2] for tensor in inputs])
    sha256 = checkpoint.sha256
    del checkpoint, published
    phases.start("export")
    graph = export_graph(deployed, family, config)
    phases.start("graph parity")
    in_graph = graph_parity(graph, deployed, inputs)
    parameters = sum(p.numel() for p in deployed.parameters())
    return _FloatGraph(graph, family, config, parameters, sha256, in_torch, in_graph)


def _convert(
    graph: bytes,
    precision: Precision,
    family: Family,
    specs: dict[Modality, PreprocessSpec],
    captures: Sequence[Capture],
) -> tuple[bytes, HalfReport | None]:
    """Return the graph in its final types and, for half precision, how far rounding moves it."""
    from fasdk_engines.precision import convert, islands_matching

    if precision is Precision.FP32:
        return convert(graph, precision), None
    converted = convert(graph, precision, islands_matching(graph, family.float32_islands))
    from fasdk_engines.rounding import judge_half

    batch = to_batch(list(captures), specs, family.presence_order)
    reference = GraphRunner(graph, specs, family.presence_order).batch_logits(batch)
    return converted, judge_half(converted, [batch], reference)


def _require_half(half: HalfReport, live_index: int, *, judged_on_captures: bool) -> None:
    """Hold half precision to its budget.

    The drift ratio needs logits that vary as real captures make them vary; on seeded fields the
    score itself is held to the golden tolerance instead.
    """
    from fasdk_engines.rounding import require_half

    require_half(half, check_drift=judged_on_captures)
    drift = max(
        abs(class_scores(found)[live_index] - class_scores(expected)[live_index])
        for found, expected in zip(half.logits, half.reference_logits, strict=True)
    )
    if not drift <= _GOLDEN_TOLERANCE:
        raise PrecisionError(
            f"half precision moves a score by {drift:.4f}, more than {_GOLDEN_TOLERANCE}: "
            "build with --precision fp32"
        )


def _lint(graph: bytes) -> None:
    from fasdk_engines.lint import lint_tensorrt

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
    if backend is Backend.TENSORRT_RTX:
        targets = request.compute_capabilities or DEFAULT_COMPUTE_CAPABILITIES
    return build_plan(
        graph,
        backend,
        shapes=shapes,
        max_batch=request.max_batch,
        compute_capabilities=targets,
        progress=None if listener is None else listener.plan_progress,
    )


def _decide_points(
    family: Family, development: DevelopmentSet | None, runner: GraphRunner
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the manifest's operating points and note, and the evaluation document."""
    if development is None:
        return {"operating_points": (), "operating_points_note": NO_EVALUATION}, None
    points, note, document = choose_provisional_points(
        development,
        runner.logits(development.captures),
        family.live_index,
        family.modalities,
        runner.graph_sha256,
    )
    return {"operating_points": points, "operating_points_note": note}, document


def _required(request: BuildRequest, family: Family) -> tuple[Modality, ...]:
    """Return the modalities a capture must hold, in model order."""
    unknown = [m.value for m in request.required if m not in family.modalities]
    if unknown:
        raise UsageError(
            f"--require {', '.join(unknown)}: {family.name} does not look at it; "
            f"choose among {', '.join(m.value for m in family.modalities)}"
        )
    return tuple(m for m in family.modalities if m in {*family.required, *request.required})


def _manifest(
    request: BuildRequest, family: Family, floating: _FloatGraph, plan: BuiltPlan | None
) -> Manifest:
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
        golden_tolerance=_GOLDEN_TOLERANCE,
        provenance=Provenance(
            checkpoint_sha256=floating.source_sha256, tools={"fasdk": version("fasdk"), **tools}
        ),
    )


def _report(
    request: BuildRequest,
    manifest: Manifest,
    graph: bytes,
    floating: _FloatGraph,
    half: HalfReport | None,
    plan: BuiltPlan | None,
    seconds: dict[str, float],
) -> BuildReport:
    from hashlib import sha256

    from fasdk_engines.export import count_nodes

    return BuildReport(
        bundle=str(request.out),
        bundle_id=sha256(manifest.to_bytes()).hexdigest(),
        model=manifest.model.family,
        config=manifest.model.config,
        precision=manifest.precision.value,
        parameters=manifest.model.parameters,
        nodes=count_nodes(graph),
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
    )
