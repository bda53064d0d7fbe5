"""Published latencies that check the planning estimate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from fasdk_tools.profiling.gpus import gpu_of
from fasdk_tools.profiling.graph_cost import Number, cost_of
from fasdk_tools.profiling.plan_latency import LatencyRange, estimate
from fasdk_tools.profiling.reference_networks import INPUT, NETWORKS, SIDE

if TYPE_CHECKING:
    from fasdk_tools.profiling.graph_cost import GraphCost

_ONNXSIM = (
    "github.com/onnxsim/onnxsim, scripts/nvidia/README.md (5208cea): mean GPU time of trtexec, "
    "MAXN SUPER"
)
_MLPERF = "github.com/mlcommons/inference_results_{}, {}: 90th percentile, SingleStream, TensorRT"


@dataclass(frozen=True)
class PublishedLatency:
    """A latency that others measured and published.

    Attributes:
        network: Name of the network, one of `NETWORKS`.
        gpu: Name of the GPU it was measured on.
        precision: Number format of its products with weights.
        batch: Images of one call.
        ms: Latency of one call, in milliseconds.
        source: Where it was published, and what it is.
    """

    network: str
    gpu: str
    precision: Number
    batch: int
    ms: float
    source: str

    def estimate(self) -> LatencyRange:
        """Return the planning estimate of the same call."""
        return estimate(_cost(self.network, self.batch), gpu_of(self.gpu), self.precision)


def _onnxsim(
    network: str, batch: int, fp32: float, fp16: float, int8: float
) -> tuple[PublishedLatency, ...]:
    return tuple(
        PublishedLatency(network, "orin-nano-super", number, batch, ms, _ONNXSIM)
        for number, ms in ((Number.FP32, fp32), (Number.FP16, fp16), (Number.INT8, int8))
    )


PUBLISHED: tuple[PublishedLatency, ...] = (
    *_onnxsim("ResNet-18", 1, 1.578, 0.758, 0.485),
    *_onnxsim("ResNet-18", 8, 8.357, 3.537, 1.927),
    *_onnxsim("ResNet-50", 1, 3.596, 1.814, 1.190),
    *_onnxsim("ResNet-50", 8, 19.969, 8.816, 4.930),
    *_onnxsim("MobileNetV2", 1, 1.386, 0.850, 0.781),
    *_onnxsim("MobileNetV2", 8, 8.147, 3.925, 2.446),
    *_onnxsim("ViT-B/16", 1, 13.65, 5.68, 4.92),
    PublishedLatency(
        "ResNet-50", "orin-nx", Number.INT8, 1, 1.087793, _MLPERF.format("v3.0", "Orin_NX_TRT")
    ),
    PublishedLatency(
        "ResNet-50", "agx-orin", Number.INT8, 1, 0.640258, _MLPERF.format("v3.1", "Orin_TRT")
    ),
)


@lru_cache
def _cost(network: str, batch: int) -> GraphCost:
    return cost_of(NETWORKS[network](), {INPUT: (batch, 3, SIDE, SIDE)})
