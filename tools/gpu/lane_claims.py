"""Lanes of the SDK's engine against a serial run, capture by capture."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from claims import Claim
from kernel_claims import preprocessing_of
from setting import SkippedError, open_gpu

from fasdk.backends.tensorrt.layout import TensorLayout
from fasdk.bundle.bundle import open_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from setting import Gpu, Setting
    from torch import Tensor

    from fasdk.backends.cuda_api import CudaDriver
    from fasdk.backends.tensorrt.device_preprocessing import DevicePreprocessing
    from fasdk.backends.tensorrt.execution import TensorRtEngine

LANES = 4
_SESSION_SHARE = 4  # a capture through a session costs its preprocessing and threads too
_SEED = 7
_SIDE = 16
_NAMES = ("rgb", "depth", "ir")


def lane_claims(setting: Setting) -> Iterator[Claim]:
    """Four lanes, each taking one to four captures as they come free, give the serial bits."""
    runs: Any = import_module("support.cuda_sim.lanes")
    gpu = open_gpu(setting)
    count = setting.sizes.captures
    try:
        engine = open_row_engine(gpu, gpu.driver, runs.LARGEST)
    except SkippedError as error:
        claim = f"lanes: captures of {count} that differ from a serial run"
        yield Claim(claim, None, "==", 0, skipped=str(error))
        return
    try:
        serial = runs.run_serially(engine, count)
    finally:
        engine.close()
    unlike = int(np.unique(serial).size)
    yield Claim("lanes: distinct scores of the serial run", unlike, ">=", count // 2)
    for is_mapped in (False, True):
        memory = "mapped" if is_mapped else "page-locked"
        engine = open_row_engine(gpu, gpu.sharing(is_mapped=is_mapped), runs.LARGEST)
        try:
            for graphs in (True, False):
                way = "graphs" if graphs else "enqueued"
                found, taken = runs.run_on_lanes(engine, count, LANES, _SEED, graphs=graphs)
                differing = int((found != serial).sum() + (~np.isfinite(serial)).sum())
                claim = f"lanes, {memory}, {way}: captures of {count} that differ from a serial run"
                yield Claim(claim, differing, "==", 0, f"captures by lane {taken}")
        finally:
            engine.close()
    yield from _session_claims(gpu, runs, count // _SESSION_SHARE)
    yield from gpu.misuse()


def _session_claims(gpu: Gpu, runs: Any, count: int) -> Iterator[Claim]:
    """Raw frames through sessions: preprocessed on the host one by one, on the GPU from threads."""
    claim = f"sessions: captures of {count} whose score on the GPU's own tensors differs"
    with tempfile.TemporaryDirectory() as folder:
        write = import_module("support.tiny_bundle").write
        bundle = open_bundle(write(Path(folder) / "tiny.fasb", reliability=False))
        serial = runs.check_serially(bundle, open_row_engine(gpu, gpu.driver, runs.LARGEST), count)
        try:
            preprocessing = preprocessing_of(gpu, gpu.driver, bundle.manifest)
        except SkippedError as error:
            yield Claim(claim, None, "==", 0, skipped=str(error))
            return
        meter = runs.UploadMeter()
        engine = open_row_engine(gpu, meter.driver(), runs.LARGEST, preprocessing)
        found = runs.submit_from_threads(bundle, engine, count, LANES, meter)
    differing = int((found != serial).sum() + (~np.isfinite(serial)).sum())
    note = f"{np.unique(serial).size} distinct scores"
    figures = {"uploaded_bytes_a_capture": meter.copied_bytes / count}
    yield Claim(claim, differing, "==", 0, note, figures=figures)


def open_row_engine(
    gpu: Gpu,
    driver: CudaDriver,
    max_batch: int,
    preprocessing: DevicePreprocessing | None = None,
) -> TensorRtEngine:
    """Open an engine whose answer to a row is the same bits in every batch.

    Libraries choose kernels by batch size, which round differently. Here every row is computed by
    itself, so that what differs is the lanes' doing.

    Raises:
        SkippedError: There is no PyTorch that can use the GPU.
    """
    from torch_runtime import TorchPlan, open_torch_engine

    layout = TensorLayout(inputs=dict.fromkeys(_NAMES, (3, _SIDE, _SIDE)), outputs={"logits": (2,)})
    plan = TorchPlan(_row_by_row, layout, max_batch)
    return open_torch_engine(plan, driver, gpu.torch_streams(), preprocessing=preprocessing)


def _row_by_row(*inputs: Tensor) -> Sequence[Tensor]:
    import torch

    rows = []
    for row in range(len(inputs[0])):
        # Unlike weights: two inputs or two pixels that change places change the sum.
        sums = [
            (tensor[row].flatten() * _weights(tensor)).sum() * (place + 1)
            for place, tensor in enumerate(inputs)
        ]
        rows.append(torch.stack([torch.zeros_like(sums[0]), torch.stack(sums).sum()]))
    return [torch.stack(rows)]


def _weights(like: Tensor) -> Tensor:
    import torch

    count = like[0].numel()
    return torch.linspace(-0.01, 0.012, count, device=like.device, dtype=like.dtype)
