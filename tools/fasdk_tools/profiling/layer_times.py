"""Time of every layer of a bundle's graph on the backend that runs it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fasdk.backends.engine import Backend
from fasdk.backends.registry import open_engine
from fasdk.backends.tensorrt.execution import TensorRtEngine
from fasdk.errors import BackendError
from fasdk.scorer import Scorer
from fasdk_tools.profiling.onnxruntime_layers import onnxruntime_layers
from fasdk_tools.profiling.openvino_layers import openvino_layers
from fasdk_tools.profiling.tensorrt_layers import tensorrt_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk_tools.profiling.layers import LayerProfile

_WARMUP_CALLS = 3
_ON_CPU = {Backend.ONNXRUNTIME: onnxruntime_layers, Backend.OPENVINO: openvino_layers}


def profile_layers(
    bundle: Bundle,
    backend: Backend,
    captures: Sequence[Capture],
    *,
    batch: int = 1,
    threads: int = 0,
    calls: int = 50,
) -> LayerProfile:
    """Run a bundle's graph under the profiler of a backend.

    Args:
        bundle: Bundle whose graph to run.
        backend: Backend that runs it otherwise.
        captures: Captures to fill the batch with, in turn; at least one.
        batch: Captures in one call.
        threads: CPU threads of a backend that runs on the CPU; 0 for one a core.
        calls: Calls to count.

    Raises:
        BackendError: The backend refuses the graph, fails, or tells no layer.
    """
    scorer = Scorer(bundle, "standard")
    inputs = scorer.batch([captures[row % len(captures)] for row in range(batch)])
    on_cpu = _ON_CPU.get(backend)
    if on_cpu is not None:
        return on_cpu(bundle, inputs, threads=threads, calls=calls, warmup_calls=_WARMUP_CALLS)
    engine = open_engine(bundle, backend, device_times=True)
    with closing(engine):
        if not isinstance(engine, TensorRtEngine):
            raise BackendError(f"{backend.value} tells no times of layers: leave --layers out")
        return tensorrt_layers(engine, inputs, calls=calls, warmup_calls=_WARMUP_CALLS)
