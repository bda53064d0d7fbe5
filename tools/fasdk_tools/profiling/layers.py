"""Time of every layer of a graph, by ONNX Runtime's own profile."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import open_session
from fasdk.bundle.manifest import Precision
from fasdk.errors import BackendError, UsageError
from fasdk.scorer import Scorer
from fasdk_tools.profiling.document import Document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture

_WARMUP_CALLS = 3
_NODE_SUFFIX = "_kernel_time"
# Nodes that ONNX Runtime adds to change a layout or a type between two others.
_REFORMATS = {"ReorderInput", "ReorderOutput", "MemcpyFromHost", "MemcpyToHost"}
_ADDED_CAST = "InsertedPrecisionFreeCast"


class Layer(Document):
    """One layer of a graph as it ran, which an optimizer may have fused from several nodes."""

    name: str = Field(description="Name of the node.")
    operator: str = Field(description="Operator that ran, such as Conv.")
    precision: str = Field(description="Type of its first output, such as float or float16.")
    ms: float = Field(description="Median time of one call, in milliseconds.")
    is_reformat: bool = Field(description="Whether it only changes a layout or a type.")


class LayerProfile(Document):
    """Layers of a graph and the whole call they are part of; the profiler slows both down."""

    batch: int = Field(description="Captures in one call.")
    calls: int = Field(description="Calls counted.")
    whole_ms: float = Field(description="Median time of the whole call, in milliseconds.")
    layers: tuple[Layer, ...] = Field(description="Layers, slowest first.")

    @property
    def sum_ms(self) -> float:
        """Sum of the layers, in milliseconds."""
        return sum(layer.ms for layer in self.layers)

    @property
    def gap_ms(self) -> float:
        """What the whole call takes beyond its layers, in milliseconds; below 0 where they overlap.

        Each is a median of its own, so that the gap holds their scatter as well.
        """
        return self.whole_ms - self.sum_ms

    @property
    def reformat_share(self) -> float:
        """Share of the layers' time that only changes layouts or types, in [0, 1]."""
        spent_ms = sum(layer.ms for layer in self.layers if layer.is_reformat)
        return spent_ms / self.sum_ms if self.sum_ms else 0.0


def require_layer_times(backend: Backend) -> None:
    """Check that layers can be timed on a backend.

    Raises:
        UsageError: The backend is another than ONNX Runtime.
    """
    if backend is not Backend.ONNXRUNTIME:
        raise UsageError(
            f"--layers reads the profile of onnxruntime, this bundle runs on {backend.value}: "
            "give --backend onnxruntime, or leave --layers out"
        )


def profile_layers(
    bundle: Bundle,
    backend: Backend,
    captures: Sequence[Capture],
    *,
    batch: int = 1,
    threads: int = 0,
    calls: int = 50,
) -> LayerProfile:
    """Run a bundle's graph under ONNX Runtime's profiler.

    Args:
        bundle: Bundle whose graph to run.
        backend: Backend that runs it otherwise.
        captures: Captures to fill the batch with, in turn; at least one.
        batch: Captures in one call.
        threads: CPU threads; 0 for one a core.
        calls: Calls to count.

    Raises:
        UsageError: The backend is another than ONNX Runtime.
        BackendError: ONNX Runtime refuses the graph or fails.
    """
    require_layer_times(backend)
    scorer = Scorer(bundle, "standard")
    inputs = scorer.batch([captures[row % len(captures)] for row in range(batch)])
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(
            bundle.graph,
            threads=threads,
            as_written=bundle.manifest.precision is not Precision.INT8_FP32,
            profile=Path(folder) / "layers",
        )
        try:
            for _ in range(_WARMUP_CALLS + calls):
                session.run(None, dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed under its profiler: {error}") from error
    return read_profile(events, batch=batch, warmup_calls=_WARMUP_CALLS)


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
