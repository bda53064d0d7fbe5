"""Decisions of a build, resolved once from its request and its source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends.engine import Backend
from fasdk.backends.registry import installed_backends, require_installed
from fasdk.backends.specs import BACKENDS, spec_of
from fasdk.bundle.manifest import Precision
from fasdk.bundle.signer import Signer
from fasdk.bundle.signing import open_signer
from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk_calibration.datasets import depth_encoding
from fasdk_engines.build.source import DescribedOnnxFile
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.models.checkpoint import resolve_config
from fasdk_engines.quantization.mixed_precision.request import Int8Request

if TYPE_CHECKING:
    from fasdk.preprocess import DepthEncoding, PreprocessSpec
    from fasdk_calibration.datasets import DatasetSource
    from fasdk_engines.build.request import BuildRequest
    from fasdk_engines.build.source import Source

DEFAULT_COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")


@dataclass(frozen=True)
class ResolvedModel:
    """Model of a build.

    Attributes:
        family: Registered family, or the one an ONNX file's description states.
        config: Settings its weights were trained with.
        required: Modalities without which a capture is refused, in model order.
    """

    family: Family
    config: ModelConfig
    required: tuple[Modality, ...]

    @cached_property
    def specs(self) -> dict[Modality, PreprocessSpec]:
        """Preprocessing by modality."""
        return self.family.preprocess(self.config)

    @property
    def depth(self) -> DepthEncoding | None:
        """Depth encoding, or None where the model looks at no depth."""
        return depth_encoding(self.specs)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each graph input by name, without the batch axis."""
        return self.family.input_shapes(self.config)


@dataclass(frozen=True)
class PlanTarget:
    """TensorRT plan that goes into the bundle.

    Attributes:
        backend: TensorRT flavor that builds it.
        compute_capabilities: GPU generations it is built for, such as "8.6"; empty for the GPU of
            this machine.
    """

    backend: Backend
    compute_capabilities: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedBuild:
    """All decisions of a build that hold before its graph exists.

    Attributes:
        out: Bundle to write.
        signer: Key that signs the bundle.
        product: Name of what the bundle is for; None for the model's name.
        model: Family, settings and required modalities.
        precision: Numeric types of the graph.
        int8: Calibration and liveness budget of an INT8 precision; None for the others.
        plan: TensorRT plan to build, or None for a bundle without one.
        max_batch: Largest batch of the plan's optimization profile.
        development: Labeled captures to choose an operating point on, or None.
        golden: Captures that golden captures may come from; None takes synthetic ones.
        accept_units: Whether a description's mean and std are taken although the network's
            weights speak against them.
    """

    out: Path
    signer: Signer
    product: str | None
    model: ResolvedModel
    precision: Precision
    int8: Int8Request | None
    plan: PlanTarget | None
    max_batch: int
    development: DatasetSource | None
    golden: DatasetSource | None
    accept_units: bool = False


def resolve_build(request: BuildRequest, source: Source) -> ResolvedBuild:
    """Decide what a build does.

    Args:
        request: Options, consistent with each other (`require_consistent`).
        source: Result of `read_source`.

    Raises:
        UsageError: Required modalities or compute capabilities do not fit the model or backend.
        BackendError: The backend asked for is not installed.
        ModelError: There is no such config, or one of its fields is wrong.
        CheckpointError: The checkpoint states that it belongs to another model.
    """
    return ResolvedBuild(
        out=request.out,
        signer=request.signer or open_signer(None),
        product=request.product,
        model=_resolve_model(request, source),
        precision=request.precision,
        int8=request.int8,
        plan=_resolve_plan(request),
        max_batch=request.max_batch,
        development=request.development,
        golden=request.golden,
        accept_units=request.accept_units,
    )


def _resolve_model(request: BuildRequest, source: Source) -> ResolvedModel:
    if isinstance(source, DescribedOnnxFile):
        family = source.description.family()
        return ResolvedModel(family, source.description, _required(request, family))
    required = _required(request, source.family)
    config = resolve_config(source.family, source.checkpoint, request.config)
    return ResolvedModel(source.family.configured(config), config, required)


def _required(request: BuildRequest, family: Family) -> tuple[Modality, ...]:
    """Return the modalities a capture must hold, in model order."""
    unknown = [m.value for m in request.required if m not in family.modalities]
    if unknown:
        raise UsageError(
            f"--require {', '.join(unknown)}: {family.name} does not look at it; "
            f"choose among {', '.join(m.value for m in family.modalities)}"
        )
    return tuple(m for m in family.modalities if m in {*family.required, *request.required})


def _resolve_plan(request: BuildRequest) -> PlanTarget | None:
    backend = request.backend or _backend_here(request)
    if backend is None:
        return None
    spec = spec_of(backend)
    if request.compute_capabilities and not spec.cross_builds:
        names = " or ".join(other.backend.value for other in BACKENDS if other.cross_builds)
        raise UsageError(
            f"--compute-capability needs the {names} backend, found {backend.value}: "
            "a TensorRT plan is always for the very machine that builds it"
        )
    require_installed(backend)
    if not spec.builds_plans:
        return None
    targets: tuple[str, ...] = ()
    if spec.cross_builds:
        targets = request.compute_capabilities or DEFAULT_COMPUTE_CAPABILITIES
    return PlanTarget(backend, targets)


def _backend_here(request: BuildRequest) -> Backend | None:
    """Return the installed TensorRT flavor for a request that names no backend, or None."""
    flavors = [spec for b in installed_backends() if (spec := spec_of(b)).builds_plans]
    # TensorRT first on a device; the cross-building flavor where targets were named.
    if request.compute_capabilities:
        flavors = [spec for spec in flavors if spec.cross_builds]
        if not flavors:
            return Backend.ONNXRUNTIME
    elif request.precision is Precision.INT8_FP32:
        return None  # the CPU's form: a plan of it is built where one is asked for
    return flavors[0].backend if flavors else None
