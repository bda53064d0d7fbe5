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
        warmup_calls: Calls before them, at least one.

    Raises:
        BackendError: OpenVINO is not installed, refuses the graph or fails.
    """
    try:
        from fasdk.backends.openvino import OpenVinoEngine
    except ImportError as error:
        raise BackendError(f"cannot import openvino ({error}): `pip install openvino`") from error
    whole_ms: list[float] = []
    with closing(OpenVinoEngine(bundle.graph, threads=threads, profiled=True)) as engine:
        for _ in range(warmup_calls):
            engine.run(inputs)
        before = engine.node_times()
        for _ in range(calls):
            start_s = time.perf_counter()
            engine.run(inputs)
            whole_ms.append(1e3 * (time.perf_counter() - start_s))
        after = engine.node_times()
    return LayerProfile(
        batch=len(next(iter(inputs.values()))),
        calls=calls,
        whole_ms=statistics.fmean(whole_ms),
        layers=read_nodes(before, after, warmup_calls=warmup_calls, calls=calls),
    )


def read_nodes(
    before: Sequence[NodeTime], after: Sequence[NodeTime], *, warmup_calls: int, calls: int
) -> tuple[Layer, ...]:
    """Return the mean times of layers after the warm-up, slowest first.

    Args:
        before: Nodes after the warm-up.
        after: Nodes after the last call.
        warmup_calls: Calls before `before`, at least one.
        calls: Calls between the two, at least one.
    """
    early_ms = {node.name: node.ms for node in before}
    layers = []
    for node in after:
        spent_ms = (warmup_calls + calls) * node.ms - warmup_calls * early_ms.get(node.name, 0.0)
        layers.append(
            Layer(
                name=node.name,
                operator=node.operator,
                precision=node.kernel.rpartition("_")[2] or "unknown",
                ms=max(0.0, spent_ms / calls),
                is_reformat=node.operator in _REFORMATS,
            )
        )
    return tuple(sorted(layers, key=lambda layer: -layer.ms))
