"""Planning estimate of a graph's latency on a GPU: a roofline range from operations and bytes.

The fastest time is the roofline (Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009) of
the whole call with perfect fusion: the slower of all products at peak rate and of all weights
beyond the L2 cache at peak bandwidth. The slowest is the sum over kernels that each read and write
memory, at rates that published measurements of small batches reach, with a start-up time each.
It is of the engine alone, at a GPU's highest clock: no queue, no copy, no preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.profiling.graph_cost import KernelCost, Number, Work

if TYPE_CHECKING:
    from fasdk_tools.profiling.gpus import Gpu
    from fasdk_tools.profiling.graph_cost import GraphCost

LABEL = "planning estimate, not a measurement"
"""What every output of an estimate says of it."""


@dataclass(frozen=True)
class Assumptions:
    """What the slowest time assumes.

    The defaults were chosen on ResNet-18 and MobileNetV2 in FP16, batch 1, on a Jetson Orin Nano
    (the measurements of `published.py`); the others there check them.

    Attributes:
        least_compute_share: Share of the peak rate that products reach at least, in (0, 1].
        least_bandwidth_share: Share of the peak bandwidth that copies reach at least, in (0, 1].
        kernel_us: Start-up time of one kernel at most, in microseconds.
    """

    least_compute_share: float = 0.25
    least_bandwidth_share: float = 0.7
    kernel_us: float = 10.0


@dataclass(frozen=True)
class LatencyRange:
    """Range of an estimate.

    Attributes:
        precision: Number format of the products; None for the graph as it is.
        fastest_ms: Time that no implementation can beat by these figures, in milliseconds.
        slowest_ms: Time of a plain implementation by the assumptions, in milliseconds.
        bound_by: What bounds the fastest time: "compute" or "memory".
        start_share: Share of the slowest time that the start of kernels takes, in [0, 1].
    """

    precision: Number | None
    fastest_ms: float
    slowest_ms: float
    bound_by: str
    start_share: float

    def contains(self, ms: float) -> bool:
        """Return whether a latency in milliseconds lies in the range."""
        return self.fastest_ms <= ms <= self.slowest_ms


def estimate(
    cost: GraphCost,
    gpu: Gpu,
    precision: Number | None = None,
    assumptions: Assumptions | None = None,
) -> LatencyRange:
    """Estimate the latency of one call.

    Args:
        cost: Operations and bytes of the call.
        gpu: GPU to estimate for.
        precision: Number format to assume. INT8 is that of products with weights, the rest FP16,
            as INT8 builds of transformers are. None takes every kernel as the graph has it.
        assumptions: What the slowest time assumes; None for the defaults.
    """
    assumptions = assumptions or Assumptions()
    bandwidth = gpu.bandwidth_gb_per_s * 1e9
    compute_s = slowest_s = 0.0
    weight_bytes = 0
    for kernel in cost.kernels:
        number = _number_of(kernel, precision)
        read, moved = _bytes_of(kernel, precision)
        product_s = kernel.operations / gpu.peak_per_s(number)
        compute_s += product_s
        weight_bytes += read
        slowest_s += (
            product_s / assumptions.least_compute_share
            + (read + moved) / (bandwidth * assumptions.least_bandwidth_share)
            + assumptions.kernel_us * 1e-6
        )
    memory_s = max(0.0, weight_bytes - gpu.cache_mb * 1e6) / bandwidth
    return LatencyRange(
        precision=precision,
        fastest_ms=1e3 * max(compute_s, memory_s),
        slowest_ms=1e3 * slowest_s,
        bound_by="compute" if compute_s >= memory_s else "memory",
        start_share=len(cost.kernels) * assumptions.kernel_us * 1e-6 / slowest_s,
    )


def _number_of(kernel: KernelCost, precision: Number | None) -> Number:
    if precision is None:
        return kernel.number
    if precision is Number.INT8 and kernel.work not in (Work.CONVOLUTION, Work.LINEAR):
        return Number.FP16
    return precision


def _bytes_of(kernel: KernelCost, precision: Number | None) -> tuple[int, int]:
    """Return the bytes of a kernel's weights and of what else it reads and writes."""
    if precision is None:
        return kernel.weight_bytes, kernel.activation_bytes
    activation = Number.FP16 if precision is Number.INT8 else precision
    size = _number_of(kernel, precision).size_bytes
    return kernel.weights * size, kernel.activations * activation.size_bytes
