"""Times of a graph's layers by OpenVINO's performance counters."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

from fasdk.errors import BackendError
from fasdk_tools.profiling.layers import Layer, LayerProfile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.openvino import NodeTime
    from fasdk.bundle.bundle import Bundle

_REFORMATS = {"Reorder", "Convert"}  # nodes that its CPU plugin adds; a graph's casts are Convert


def openvino_layers(
    bundle: Bundle,
    inputs: Mapping[str, NDArray[np.float32]],
    *,
    threads: int,
    calls: int,
    warmup_calls: int,
) -> LayerProfile:
    """Run a bundle's graph with OpenVINO's performance counters.

    Args:
        bundle: Bundle whose graph to run.
        inputs: One batch, as the engine takes it.
        threads: CPU threads; 0 for one a core.
        calls: Calls to count.
        warmup_calls: Calls before them.

    Raises:
        BackendError: OpenVINO is not installed, refuses the graph or fails.
    """
    try:
        from fasdk.backends.openvino import OpenVinoEngine
    except ImportError as error:
        raise BackendError(f"cannot import openvino ({error}): `pip install openvino`") from error
    whole_ms: list[float] = []
    nodes: list[tuple[NodeTime, ...]] = []
    with closing(OpenVinoEngine(bundle.graph, threads=threads, profiled=True)) as engine:
        for _ in range(warmup_calls + calls):
            start_s = time.perf_counter()
            engine.run(inputs)
            whole_ms.append(1e3 * (time.perf_counter() - start_s))
            nodes.append(engine.node_times())
    return LayerProfile(
        batch=len(next(iter(inputs.values()))),
        calls=calls,
        whole_ms=statistics.median(whole_ms[warmup_calls:]),
        layers=read_nodes(nodes[warmup_calls:]),
    )


def read_nodes(calls: Sequence[Sequence[NodeTime]]) -> tuple[Layer, ...]:
    """Return the layers of calls' nodes, slowest first.

    Args:
        calls: Nodes that ran in each call; at least one call.
    """
    layers = []
    for first in calls[0]:
        ms = [node.ms for call in calls for node in call if node.name == first.name]
        layers.append(
            Layer(
                name=first.name,
                operator=first.operator,
                precision=first.kernel.rpartition("_")[2] or "unknown",
                ms=statistics.median(ms),
                is_reformat=first.operator in _REFORMATS,
            )
        )
    return tuple(sorted(layers, key=lambda layer: -layer.ms))
