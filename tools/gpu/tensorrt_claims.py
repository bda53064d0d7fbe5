"""A model in a TensorRT flavor: plans built here, golden proof, and latencies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from claims import Claim
from latency_points import latency_claims
from setting import BATCHES, SkippedError, open_gpu, stand_in_for_tensorrt

from fasdk.backends.engine import Backend
from fasdk.backends.specs import spec_of
from fasdk.backends.tensorrt.cache import PlanCache
from fasdk.backends.tensorrt.module import load_module
from fasdk.backends.tensorrt.opening import open_tensorrt_engine
from fasdk.backends.tensorrt.plan import known_compute_capabilities
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.trust import TrustPolicy
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from setting import Gpu, Setting

    from fasdk.backends.tensorrt.module import RtxTensorRt


def tensorrt_claims(setting: Setting, name: str) -> Iterator[Claim]:
    """One model in TensorRT."""
    yield from _claims(setting, name, Backend.TENSORRT)


def tensorrt_rtx_claims(setting: Setting, name: str) -> Iterator[Claim]:
    """One model in TensorRT-RTX."""
    yield from _claims(setting, name, Backend.TENSORRT_RTX)


def _claims(setting: Setting, name: str, backend: Backend) -> Iterator[Claim]:
    gpu = open_gpu(setting)
    stand_in_for_tensorrt(gpu, spec_of(backend).module)
    try:
        _require_flavor(backend, gpu)
    except SkippedError as error:
        claim = f"{backend.value}, {name}: proven on this GPU"
        yield Claim(claim, None, "==", True, skipped=str(error))
        return
    from proof_models import PRECISIONS, ProofModel  # heavy, and of no use where it is skipped

    model = ProofModel.of(name, setting)
    for precision in PRECISIONS:
        what = f"{backend.value}, {name} {precision.value}"
        path = model.bundle(precision)
        if not path.is_file():
            note = f"{path.name} is missing: run with --only prepare"
            yield Claim(f"{what}: prepared", None, "==", True, note)
            continue
        start_s = time.perf_counter()
        engine = open_tensorrt_engine(
            open_bundle(path, TrustPolicy.unsigned()),
            backend,
            driver=gpu.driver,
            cache=PlanCache(setting.work / "plans"),
            timed=True,
        )
        try:
            took_s = time.perf_counter() - start_s
            claim = f"{what}: reproduces the golden captures at every batch size"
            note = f"plan {engine.plan_source.value}, {backend.value} {engine.version}"
            yield Claim(claim, True, "==", True, note, figures={"open_s": took_s})
            yield from latency_claims(what, engine, model.inputs, BATCHES, setting.sizes)
        finally:
            engine.close()
    yield from gpu.misuse()


def _require_flavor(backend: Backend, gpu: Gpu) -> None:
    """Check that a flavor is installed and knows the GPU.

    Raises:
        SkippedError: It is not, or it does not.
    """
    spec = spec_of(backend)
    try:
        trt = load_module(backend)
    except BackendError as error:
        raise SkippedError(str(error)) from error
    if not spec.cross_builds or gpu.simulator is not None:
        return
    capability = gpu.driver.device.compute_capability
    known = known_compute_capabilities(cast("RtxTensorRt", trt))
    if capability not in known:
        raise SkippedError(
            f"{backend.value} {trt.__version__} has no compute capability {capability} "
            f"({gpu.driver.device.name}), only {', '.join(known)}"
        )
