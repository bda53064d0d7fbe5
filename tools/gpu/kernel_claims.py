"""Preprocessing on the GPU against the host's, to the bit, and what it costs a capture."""

from __future__ import annotations

import math
import tempfile
import time
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from claims import Claim
from setting import MODELS, SkippedError, open_gpu

from fasdk.backends.engine import CaptureLane, Preprocessing
from fasdk.backends.tensorrt.device_preprocessing import DevicePreprocessing, open_preprocessing
from fasdk.backends.tensorrt.layout import TensorLayout
from fasdk.backends.tensorrt.row_kernels import CaptureInputs, RowKernels
from fasdk.capture import Capture
from fasdk.errors import BackendError, PreprocessError
from fasdk.preprocess import to_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from setting import Gpu, Setting
    from torch import Tensor

    from fasdk.backends.cuda_api import CudaDriver
    from fasdk.bundle.manifest import Manifest

_BATCH = 4
_CASES_A_SPEC = 100
_SEED = 11
_FRAME_PX = (480, 640)
_FACE = (220, 120, 200, 240)


def kernel_claims(setting: Setting) -> Iterator[Claim]:
    """Random captures of random preprocessing, then times on the models' own."""
    bundles: Any = import_module("support.capture_bundle")
    gpu = open_gpu(setting)
    draw = np.random.default_rng(_SEED)
    # The kernels are the same; where they read and write is not.
    cases = {False: setting.sizes.kernel_cases, True: -(-setting.sizes.kernel_cases // 5)}
    for is_mapped, wanted in cases.items():
        driver = gpu.sharing(is_mapped=is_mapped)
        memory = "mapped" if is_mapped else "page-locked"
        claim = f"kernel, {memory}: bits that differ from the host's"
        compared = differing = specs = 0
        try:
            while compared < wanted:
                manifest = _manifest(bundles, draw, presence=bool(specs % 2))
                count = min(_CASES_A_SPEC, wanted - compared)
                captures = list(_captures(bundles, draw, manifest, count))
                differing += _differing_bits(gpu, driver, manifest, captures)
                compared += len(captures)
                specs += 1
        except SkippedError as error:
            yield Claim(claim, None, "==", 0, skipped=str(error))
            continue
        yield Claim(claim, differing, "==", 0, f"{compared} captures of {specs} models")
    yield from _time_claims(gpu, bundles, setting)
    yield from gpu.misuse()


def _manifest(bundles: Any, draw: np.random.Generator, *, presence: bool) -> Manifest:
    specs = bundles.random_specs(draw)
    return _manifest_of(bundles, specs, presence=presence)


def _manifest_of(bundles: Any, specs: Any, *, presence: bool) -> Manifest:
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundles.write(Path(folder) / "rows.fasb", specs, presence=presence)
        manifest: Manifest = bundle.manifest
    return manifest


def _captures(
    bundles: Any, draw: np.random.Generator, manifest: Manifest, count: int
) -> Iterator[Capture]:
    while count:
        capture: Capture = bundles.random_capture(draw)
        try:
            to_batch([capture], manifest.inputs, manifest.presence_order)
        except PreprocessError:  # its crop lies outside, or is too small for a composite
            continue
        count -= 1
        yield capture


def _differing_bits(
    gpu: Gpu, driver: CudaDriver, manifest: Manifest, captures: Sequence[Capture]
) -> int:
    """Return in how many bits the tensors of captures differ from the host's."""
    differing = 0
    with ExitStack() as stack:
        lane = _open_lane(gpu, driver, manifest, stack)
        for first in range(0, len(captures), _BATCH):
            batch = captures[first : first + _BATCH]
            for row, capture in enumerate(batch):
                lane.put(capture, row)
            found = lane.tensors(len(batch))
            expected = to_batch(list(batch), manifest.inputs, manifest.presence_order)
            for name, tensor in expected.items():
                differing += _bits(found[name], tensor)
    return differing


def _bits(found: NDArray[np.float32], expected: NDArray[np.float32]) -> int:
    unlike = found.view(np.uint32) ^ expected.view(np.uint32)
    return int(np.unpackbits(unlike.view(np.uint8)).sum())


def _open_lane(
    gpu: Gpu,
    driver: CudaDriver,
    manifest: Manifest,
    stack: ExitStack,
    *,
    timed: bool = False,
) -> Any:
    """Open a lane that preprocesses on the GPU, and whose engine answers zeros.

    Raises:
        SkippedError: The GPU cannot preprocess, or there is no PyTorch that can use it.
    """
    from torch_runtime import TorchPlan, open_torch_engine

    streams = gpu.torch_streams()
    preprocessing = preprocessing_of(gpu, driver, manifest)

    def zeros(*inputs: Tensor) -> list[Tensor]:
        return [inputs[0].flatten(1)[:, :1].expand(-1, 2) * 0.0]

    layout = TensorLayout.of(manifest)
    plan = TorchPlan(zeros, layout, _BATCH)
    engine = open_torch_engine(
        plan, driver, streams, graphs=False, timed=timed, preprocessing=preprocessing
    )
    stack.callback(engine.close)
    lane = engine.open_lane(_BATCH)
    if not isinstance(lane, CaptureLane):
        raise TypeError(f"{type(lane).__name__} takes no captures")
    return lane


def preprocessing_of(
    gpu: Gpu, driver: CudaDriver, manifest: Manifest
) -> DevicePreprocessing | None:
    """Return what lanes need to preprocess on the GPU; the simulated one plays its own kernels.

    Raises:
        SkippedError: The GPU cannot.
    """
    try:
        with driver.current():
            if gpu.simulator is None:
                return open_preprocessing(driver, manifest, Preprocessing.DEVICE)
            image = import_module("support.cuda_sim.kernel_image").image()
            inputs = CaptureInputs(manifest.inputs, manifest.presence_order)
            return DevicePreprocessing(RowKernels(driver, image), inputs)
    except BackendError as error:
        raise SkippedError(str(error)) from error


def _time_claims(gpu: Gpu, bundles: Any, setting: Setting) -> Iterator[Claim]:
    """Times a capture of one model's frames, on the GPU, on the host, and of a copy of floats."""
    from fasdk_engines.models.registry import get_family

    draw = np.random.default_rng(_SEED)
    family = get_family(MODELS[0])
    specs = family.preprocess(family.configs[setting.sizes.config])
    manifest = _manifest_of(bundles, specs, presence=False)
    capture = Capture(
        rgb=draw.integers(0, 256, (*_FRAME_PX, 3), np.uint8),
        depth=draw.integers(300, 900, _FRAME_PX, np.uint16),
        ir=draw.integers(0, 256, _FRAME_PX, np.uint8),
        face=_FACE,
    )
    claim = "kernel: ms a capture on the GPU, copy included, within the host's and a copy of floats"
    device, host_ms, floats_ms = list[float](), list[float](), list[float]()
    try:
        with ExitStack() as stack:
            lane = _open_lane(gpu, gpu.driver, manifest, stack, timed=True)
            for _ in range(setting.sizes.calls):
                start_s = time.perf_counter()
                to_batch([capture], manifest.inputs, manifest.presence_order)
                host_ms.append(1e3 * (time.perf_counter() - start_s))
                lane.put(capture, 0)
                taken = lane.run_captures(1).device
                device.append(taken.upload_ms + taken.preprocess_ms)
                floats_ms.append(lane.run(1).device.upload_ms)
    except SkippedError as error:
        yield Claim(claim, None, "<=", 0.0, skipped=str(error))
        return
    figures = {
        "device_p50_ms": float(np.median(device)),
        "host_p50_ms": float(np.median(host_ms)),
        "floats_p50_ms": float(np.median(floats_ms)),
    }
    # A simulated GPU is no faster than the host it runs on.
    limit = math.inf if setting.dry_run else figures["host_p50_ms"] + figures["floats_p50_ms"]
    yield Claim(claim, figures["device_p50_ms"], "<=", limit, figures=figures)
