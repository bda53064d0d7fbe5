"""Comparison of a quantized graph with the float graph that it would replace."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.manifest import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_MIN_PAIRS, _MAX_PAIRS = 8, 60
_SECONDS = 2.0  # of measuring, where the least number of pairs does not take longer
# How a TensorRT-RTX plan lists the kernels that the compiler wrote itself.
_KERNEL = re.compile(rb"function=\{ name=(\w+)")
_NAMED, _NAME_LENGTH = 3, 40  # kernels that a sentence names, and letters of each


@dataclass(frozen=True)
class Latency:
    """Time of one capture on this machine's CPU.

    Attributes:
        int8_ms: Median time with the quantized graph, in milliseconds.
        float_ms: Median time with the float graph, in milliseconds.
        pairs: Number of times each was run, in turns.
    """

    int8_ms: float
    float_ms: float
    pairs: int


@dataclass(frozen=True)
class PlanSizes:
    """Size and contents of two plans for the same GPUs.

    Attributes:
        int8_bytes: Size of the quantized graph's plan.
        float_bytes: Size of the float graph's plan.
        int8_kernels: Number of kernels that the compiler wrote for the quantized graph; 0 where
            the plan does not list them.
        float_kernels: The same for the float graph.
        written: Kernels that only the quantized graph's plan holds, the most frequent first.
    """

    int8_bytes: int
    float_bytes: int
    int8_kernels: int
    float_kernels: int
    written: tuple[str, ...]

    @classmethod
    def of(cls, int8: bytes, floating: bytes) -> PlanSizes:
        """Read two plans."""
        mine, other = (Counter(_KERNEL.findall(plan)) for plan in (int8, floating))
        own = [name.decode() for name, _ in mine.most_common() if name not in other]
        return cls(len(int8), len(floating), mine.total(), other.total(), tuple(own))


@dataclass(frozen=True)
class Comparison:
    """A quantized graph beside the float graph that it would replace.

    Attributes:
        precision: Precision of the quantized graph.
        floating: Precision of the float graph: FP16 for INT8, FP32 for INT8_FP32.
        int8_share: Share of the layers' multiply-accumulates in INT8, in [0, 1].
        graph_bytes: Size of the quantized and of the float graph.
        plans: Sizes of the plans; None where none was built or compared.
        latency: Times on the CPU; None for INT8, which is not made for CPUs.
    """

    precision: Precision
    floating: Precision
    int8_share: float
    graph_bytes: tuple[int, int]
    plans: PlanSizes | None = None
    latency: Latency | None = None

    @property
    def gains(self) -> bool:
        """Whether the quantized graph is faster on the CPU, or its plan or graph no larger."""
        if self.int8_share <= 0.0:
            return False
        if self.latency is not None:
            return self.latency.int8_ms < self.latency.float_ms
        if self.plans is not None:
            return self.plans.int8_bytes <= self.plans.float_bytes
        return self.graph_bytes[0] <= self.graph_bytes[1]

    @property
    def finding(self) -> str:
        """What was found, without times: a manifest holds it, and equal builds give equal bytes."""
        names = self.precision.value, self.floating.value
        if self.int8_share <= 0.0:
            return f"no layer is left in INT8: {names[0]} is nothing but {names[1]}"
        if self.latency is not None:
            how = "faster" if self.gains else "slower"
            return f"{names[0]} ran {how} than {names[1]} on the CPU of the build"
        if self.plans is not None:
            return self._of_plans(self.plans)
        return (
            f"the {names[0]} graph has {_megabytes(self.graph_bytes[0])}, that of {names[1]} "
            f"{_megabytes(self.graph_bytes[1])}; neither a plan's size nor its speed was measured"
        )

    def note(self, *, chosen: bool = False, advice: Precision | None = None) -> str:
        """Return the line for the manifest, which ends a build's report.

        Args:
            chosen: Whether the build took the float graph in place of the quantized one.
            advice: Float precision that works for the network; None takes `floating`.
        """
        if chosen:
            return f"auto took {self.floating.value}: {self.finding}"
        if self.gains:
            return self.finding
        instead = self.floating if advice is None else advice
        return f"INT8 buys nothing: {self.finding}; build with --precision {instead.value}"

    @property
    def times(self) -> str | None:
        """Both times on the CPU; None where they were not measured."""
        if self.latency is None:
            return None
        return (
            f"{self.precision.value} {self.latency.int8_ms:.2f} ms a capture, "
            f"{self.floating.value} {self.latency.float_ms:.2f} ms: medians of "
            f"{self.latency.pairs} runs in turns on this CPU"
        )

    def _of_plans(self, plans: PlanSizes) -> str:
        found = (
            f"the {self.precision.value} plan has {_megabytes(plans.int8_bytes)}, that of "
            f"{self.floating.value} {_megabytes(plans.float_bytes)}"
        )
        if plans.int8_kernels and not self.gains:
            such = ", ".join(name[:_NAME_LENGTH] for name in plans.written[:_NAMED])
            found += (
                f" (the compiler wrote {plans.int8_kernels} kernels between the layers, "
                f"{plans.float_kernels} for {self.floating.value}; among them {such})"
            )
        return f"{found}; speed is not measured at a build"


def compare_latency(
    int8: bytes, floating: bytes, capture: Mapping[str, NDArray[np.float32]]
) -> Latency:
    """Run a quantized and a float graph in turns on the CPU, as their bundles would run.

    Args:
        int8: Graph of precision INT8_FP32.
        floating: Float32 graph.
        capture: float32 [1, ...] by input name.

    Raises:
        BackendError: ONNX Runtime refuses or fails to run a graph.
    """
    engines = OnnxRuntimeEngine(int8, as_written=False), OnnxRuntimeEngine(floating)
    for engine in engines:
        engine.run(capture)
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + _SECONDS
    for pair in range(_MAX_PAIRS):
        if pair >= _MIN_PAIRS and time.perf_counter() > until:
            break
        # Which goes first changes, so that neither always finds the caches warm.
        for index in (0, 1) if pair % 2 else (1, 0):
            times[index].append(_timed(engines[index], capture))
    return Latency(1e3 * median(times[0]), 1e3 * median(times[1]), len(times[0]))


def _timed(engine: OnnxRuntimeEngine, capture: Mapping[str, NDArray[np.float32]]) -> float:
    start = time.perf_counter()
    engine.run(capture)
    return time.perf_counter() - start


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
