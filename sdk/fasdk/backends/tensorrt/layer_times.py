"""Times of a TensorRT engine's layers, as its profiler and its inspector report them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.module import TensorRt


@dataclass(frozen=True)
class LayerReport:
    """What TensorRT reports of its layers.

    Attributes:
        calls: (layer name, milliseconds) in the order they were reported, of every call that was
            profiled.
        whole_ms: Execution of every call that was made beside them without the profiler, in
            milliseconds: on the device where the engine times its calls, else the whole call.
        information: The engine inspector's JSON. It has names only where the plan was built without
            detailed profiling verbosity.
    """

    calls: tuple[tuple[tuple[str, float], ...], ...]
    whole_ms: tuple[float, ...]
    information: str


@dataclass(frozen=True)
class LayerRecorder:
    """A profiler, and what it received of the call under way.

    Attributes:
        profiler: The object TensorRT calls; it must outlive the contexts it is set on.
        reported: Layer names and milliseconds, in order.
    """

    profiler: api.IProfiler
    reported: list[tuple[str, float]]

    def take(self) -> tuple[tuple[str, float], ...]:
        """Return what was received since the last time, and forget it."""
        taken = tuple(self.reported)
        self.reported.clear()
        return taken


def make_recorder(trt: TensorRt) -> LayerRecorder:
    """Return a recorder for the execution contexts of one lane."""
    reported: list[tuple[str, float]] = []

    class Profiler(trt.IProfiler):  # type: ignore[name-defined,misc]
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            reported.append((str(layer_name), float(ms)))

    return LayerRecorder(Profiler(), reported)
