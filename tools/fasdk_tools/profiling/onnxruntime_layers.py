"""Times of a graph's layers by ONNX Runtime's own profile."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.bundle.manifest import Precision
from fasdk.errors import BackendError
from fasdk_tools.profiling.layers import Layer, LayerProfile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.bundle.bundle import Bundle

_NODE_SUFFIX = "_kernel_time"
# Nodes that ONNX Runtime adds to change a layout or a type between two others.
_REFORMATS = {"ReorderInput", "ReorderOutput", "MemcpyFromHost", "MemcpyToHost"}
_ADDED_CAST = "InsertedPrecisionFreeCast"


def onnxruntime_layers(
    bundle: Bundle,
    inputs: Mapping[str, NDArray[np.float32]],
    *,
    threads: int,
    calls: int,
    warmup_calls: int,
) -> LayerProfile:
    """Run a bundle's graph under ONNX Runtime's profiler.

    Args:
        bundle: Bundle whose graph to run.
        inputs: One batch, as the engine takes it.
        threads: CPU threads; 0 for one a core.
        calls: Calls to count.
        warmup_calls: Calls before them.

    Raises:
        BackendError: ONNX Runtime refuses the graph or fails.
    """
    from fasdk.backends.onnxruntime import open_session

    with tempfile.TemporaryDirectory() as folder:
        session = open_session(
            bundle.graph,
            threads=threads,
            as_written=bundle.manifest.precision is not Precision.INT8_FP32,
            profile=Path(folder) / "layers",
        )
        try:
            for _ in range(warmup_calls + calls):
                session.run(None, dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed under its profiler: {error}") from error
    batch = len(next(iter(inputs.values())))
    return read_profile(events, batch=batch, warmup_calls=warmup_calls)


def read_profile(
    events: Sequence[Mapping[str, Any]], *, batch: int, warmup_calls: int
) -> LayerProfile:
    """Return the layers in a profile that ONNX Runtime wrote.

    Args:
        events: Events of the file, in order.
        batch: Captures in one call.
        warmup_calls: Leading calls that do not count.

    Raises:
        BackendError: No call is left, or the file is no such profile.
    """
    try:
        whole = [e["dur"] / 1e3 for e in events if e["name"] == "model_run"][warmup_calls:]
        nodes: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            if event["cat"] == "Node" and event["name"].endswith(_NODE_SUFFIX):
                nodes.setdefault(event["name"].removesuffix(_NODE_SUFFIX), []).append(event)
        layers = [_layer(name, runs, warmup_calls) for name, runs in nodes.items()]
    except (KeyError, TypeError, IndexError) as error:
        raise BackendError(f"this is no profile of ONNX Runtime: {error!r} is missing") from error
    if not whole:
        raise BackendError(f"the profile holds no call after {warmup_calls} to warm up")
    return LayerProfile(
        batch=batch,
        calls=len(whole),
        whole_ms=statistics.median(whole),
        layers=tuple(sorted(layers, key=lambda layer: -layer.ms)),
    )


def _layer(name: str, runs: Sequence[Mapping[str, Any]], warmup_calls: int) -> Layer:
    arguments = runs[0]["args"]
    operator = arguments["op_name"]
    outputs = arguments.get("output_type_shape") or [{}]
    return Layer(
        name=name,
        operator=operator,
        precision=next(iter(outputs[0]), "unknown"),
        ms=statistics.median([run["dur"] / 1e3 for run in runs[warmup_calls:]] or [0.0]),
        is_reformat=operator in _REFORMATS or name.startswith(_ADDED_CAST),
    )
