"""Opening of a bundle with TensorRT: its plan found or built, proved and stored."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fasdk.backends.cuda import PyCudaDriver
from fasdk.backends.engine import Backend, Preprocessing
from fasdk.backends.plan_options import PlanOptions
from fasdk.backends.specs import EngineOptions, spec_of
from fasdk.backends.tensorrt.cache import PlanCache, PlanKey
from fasdk.backends.tensorrt.device_preprocessing import open_preprocessing
from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
from fasdk.backends.tensorrt.layout import TensorLayout
from fasdk.backends.tensorrt.module import load_module
from fasdk.backends.tensorrt.plan import BuiltPlan, build_plan
from fasdk.backends.tensorrt.progress import LoggedProgress
from fasdk.backends.tensorrt.proof import prove
from fasdk.backends.tensorrt.timing import TimingCache, TimingKey
from fasdk.bundle.members import MemberKind, kind_of
from fasdk.errors import PlanError

if TYPE_CHECKING:
    from fasdk.backends.cuda_api import CudaDevice, CudaDriver
    from fasdk.bundle.bundle import Bundle
    from fasdk.progress import Progress


def open_tensorrt(bundle: Bundle, options: EngineOptions) -> TensorRtEngine:
    """Open a bundle with TensorRT; see `open_tensorrt_engine`."""
    return _open(bundle, Backend.TENSORRT, options)


def open_tensorrt_rtx(bundle: Bundle, options: EngineOptions) -> TensorRtEngine:
    """Open a bundle with TensorRT-RTX; see `open_tensorrt_engine`."""
    return _open(bundle, Backend.TENSORRT_RTX, options)


def _open(bundle: Bundle, backend: Backend, options: EngineOptions) -> TensorRtEngine:
    return open_tensorrt_engine(
        bundle,
        backend,
        progress=options.progress,
        graphs=options.cuda_graphs,
        timed=options.device_times,
        preprocess=options.preprocess,
        options=options.plan,
    )


def open_tensorrt_engine(
    bundle: Bundle,
    backend: Backend,
    *,
    driver: CudaDriver | None = None,
    cache: PlanCache | None = None,
    progress: Progress | None = None,
    graphs: bool = True,
    timed: bool = False,
    preprocess: Preprocessing = Preprocessing.AUTO,
    options: PlanOptions | None = None,
) -> TensorRtEngine:
    """Open a verified bundle on this machine's GPU.

    A plan the bundle brings for this GPU and release is used; else this machine's own from the plan
    cache; else one is built, which can take many minutes on a small device. Whichever it is must
    reproduce the bundle's golden captures before it answers anything; a plan built here is kept
    only after that, and one from the cache that fails is deleted.

    Args:
        bundle: A bundle whose digests were checked.
        backend: TENSORRT or TENSORRT_RTX.
        driver: The GPU; pycuda's first one when None.
        cache: Folder of the cached plans; beside the bundle when None.
        progress: Receives the build's phases; None logs them.
        graphs: Whether lanes record CUDA graphs.
        timed: Whether lanes time copies and execution on the device.
        preprocess: Where the tensors of captures are made; the device must make the very bits that
            the host makes.
        options: How the plan must have been built on this machine; None takes any plan that fits,
            and builds by the defaults.

    Raises:
        BackendError: TensorRT or pycuda is not installed, the device failed, or it cannot
            preprocess and was asked to.
        PlanError: No plan can be built, it does not reproduce the golden captures, or one must be
            built and this account cannot keep it in the cache.
        FasdkError: The new plan cannot be written to the cache.
    """
    trt = load_module(backend)
    driver = driver or PyCudaDriver()
    cache = cache or PlanCache.beside(bundle.path)
    layout = TensorLayout.of(bundle.manifest)
    if not any(kind_of(name) is MemberKind.GOLDEN for name in bundle.member_sizes):
        raise PlanError(f"{bundle.path} holds no golden capture to prove a plan with: rebuild it")

    def proved(plan: bytes | memoryview, source: PlanSource) -> TensorRtEngine:
        with driver.current():
            preprocessing = open_preprocessing(driver, bundle.manifest, preprocess)
        engine = TensorRtEngine(
            plan,
            backend,
            layout=layout,
            driver=driver,
            plan_source=source,
            graphs=graphs,
            timed=timed,
            preprocessing=preprocessing,
        )
        try:
            prove(bundle, engine, is_new=source is not PlanSource.CACHE)
        except BaseException:
            engine.close()
            raise
        return engine

    version = str(trt.__version__)
    if options is None:  # how a plan that was brought was built, nobody here knows
        brought = _brought_plan(bundle, backend, version, driver.device)
        if brought is not None:
            return proved(brought, PlanSource.BUNDLE)
    key = _plan_key(bundle, backend, version, layout, driver.device)
    kept = cache.load(key, options)
    if kept is not None:
        try:
            return proved(kept, PlanSource.CACHE)
        except PlanError:
            if cache.is_writable:
                cache.discard(key)
            raise
    cache.require_writable()  # before a build that takes minutes
    if progress is None:
        progress = LoggedProgress(f"{bundle.path.name} on {driver.device.name}")
    options = options or PlanOptions()
    # A build for other GPUs times nothing on this one.
    times = options.timing_cache and not spec_of(backend).cross_builds
    timing = TimingCache.beside(bundle.path) if times else None
    timing_key = TimingKey.model_validate(key.model_dump(include=set(TimingKey.model_fields)))
    with driver.current():
        built = _build_here(
            bundle,
            backend,
            layout,
            driver.device,
            progress,
            options,
            None if timing is None else timing.load(timing_key),
        )
    engine = proved(built.data, PlanSource.BUILT)
    try:
        cache.store(key, built)
        if timing is not None and built.timing:
            timing.store(timing_key, built.timing)
    except BaseException:
        engine.close()
        raise
    return engine


def _brought_plan(
    bundle: Bundle, backend: Backend, version: str, device: CudaDevice
) -> memoryview | None:
    if not spec_of(backend).cross_builds:
        return None
    if bundle.signed_by is None:
        return None  # a plan is native code: none is loaded that nobody signed
    for entry in bundle.manifest.plans:
        if entry.version == version and device.compute_capability in entry.compute_capabilities:
            return bundle.plan(entry)
    return None


def _plan_key(
    bundle: Bundle, backend: Backend, version: str, layout: TensorLayout, device: CudaDevice
) -> PlanKey:
    return PlanKey(
        graph_sha256=hashlib.sha256(bundle.graph).hexdigest(),
        module=backend.value,
        version=version,
        cuda=device.driver_version,
        device=device.name,
        compute_capability=device.compute_capability,
        gpu_uuid=device.uuid,
        shapes=layout.inputs,
        max_batch=bundle.manifest.max_batch,
    )


def _build_here(
    bundle: Bundle,
    backend: Backend,
    layout: TensorLayout,
    device: CudaDevice,
    progress: Progress | None,
    options: PlanOptions,
    timing: bytes | None,
) -> BuiltPlan:
    targets = (device.compute_capability,) if spec_of(backend).cross_builds else ()
    return build_plan(
        bundle.graph,
        backend,
        shapes=layout.inputs,
        max_batch=bundle.manifest.max_batch,
        compute_capabilities=targets,
        progress=progress,
        options=options,
        timing=timing,
    )
