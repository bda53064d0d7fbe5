"""A bundle on the quick CUDA driver with the stand-in TensorRT, and what its graph says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fasdk.backends.engine import Backend
from fasdk.backends.plan_options import PlanOptions
from fasdk.backends.tensorrt.cache import PlanCache
from fasdk.backends.tensorrt.execution import TensorRtEngine
from fasdk.backends.tensorrt.opening import open_tensorrt_engine
from fasdk.bundle.bundle import Bundle

from support.fake_gpu import FakeGpu
from support.graphs import SIZE, small_graph
from support.tensorrt_standin.settings import MAGIC, Behavior

GRAPH = small_graph()
SMALL_PLAN = MAGIC + b"4\n" + GRAPH


@dataclass
class Rig:
    """A bundle, a fake GPU, and what the stand-in TensorRT on it gets wrong."""

    bundle: Bundle
    gpu: FakeGpu
    behavior: Behavior

    @property
    def cache(self) -> PlanCache:
        return PlanCache.beside(self.bundle.path)

    @property
    def plans(self) -> list[Path]:
        return sorted(self.cache.folder.glob("*.plan"))

    def open(
        self,
        backend: Backend = Backend.TENSORRT,
        *,
        graphs: bool = True,
        timed: bool = False,
        options: PlanOptions | None = None,
    ) -> TensorRtEngine:
        return open_tensorrt_engine(
            self.bundle, backend, driver=self.gpu, graphs=graphs, timed=timed, options=options
        )


def batch(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"rgb": rng.random((size, 3, SIZE, SIZE), np.float32)}


def expected(inputs: dict[str, np.ndarray]) -> np.ndarray:
    from fasdk.backends.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(GRAPH, threads=1).run(inputs).logits
