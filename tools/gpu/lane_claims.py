"""Lanes of the SDK's engine against a serial run, capture by capture."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from claims import Claim
from setting import SkippedError, open_gpu

from fasdk.backends.tensorrt.layout import TensorLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from setting import Gpu, Setting
    from torch import Tensor

    from fasdk.backends.tensorrt.execution import TensorRtEngine

LANES = 4
_SEED = 7
_SIDE = 16
_NAMES = ("rgb", "depth", "ir")


def lane_claims(setting: Setting) -> Iterator[Claim]:
    """Four lanes, each taking one to four captures as they come free, give the serial bits."""
    runs: Any = import_module("support.cuda_sim.lanes")
    gpu = open_gpu(setting)
    count = setting.sizes.captures
    try:
        engine = open_row_engine(gpu, runs.LARGEST)
    except SkippedError as error:
        claim = f"lanes: captures of {count} that differ from a serial run"
        yield Claim(claim, None, "==", 0, skipped=str(error))
        return
    try:
        serial = runs.run_serially(engine, count)
        unlike = int(np.unique(serial).size)
        yield Claim("lanes: distinct scores of the serial run", unlike, ">=", count // 2)
        for graphs in (True, False):
            way = "graphs" if graphs else "enqueued"
            found, taken = runs.run_on_lanes(engine, count, LANES, _SEED, graphs=graphs)
            differing = int((found != serial).sum() + (~np.isfinite(serial)).sum())
            claim = f"lanes, {way}: captures of {count} that differ from a serial run"
            yield Claim(claim, differing, "==", 0, f"captures by lane {taken}")
    finally:
        engine.close()
    yield from gpu.misuse()


def open_row_engine(gpu: Gpu, max_batch: int) -> TensorRtEngine:
    """Open an engine whose answer to a row is the same bits in every batch.

    Libraries choose kernels by batch size, which round differently. Here every row is computed by
    itself, so that what differs is the lanes' doing.

    Raises:
        SkippedError: There is no PyTorch that can use the GPU.
    """
    from torch_runtime import TorchPlan, open_torch_engine

    layout = TensorLayout(inputs=dict.fromkeys(_NAMES, (3, _SIDE, _SIDE)), outputs={"logits": (2,)})
    plan = TorchPlan(_row_by_row, layout, max_batch)
    return open_torch_engine(plan, gpu.driver, gpu.torch_streams())


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
