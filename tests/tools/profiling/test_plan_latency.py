"""Planning estimate: its arithmetic, its table of GPUs, and published measurements."""

from __future__ import annotations

import pytest

from fasdk.errors import UsageError
from fasdk_tools.profiling.gpus import GPUS, SECONDARY, Gpu, StatedPeak, gpu_of
from fasdk_tools.profiling.graph_cost import GraphCost, KernelCost, Number, Work
from fasdk_tools.profiling.plan_latency import Assumptions, estimate
from fasdk_tools.profiling.published import PUBLISHED

# 10^12 dense FP16 operations and 10^10 bytes a second.
ROUND = Gpu(
    name="round",
    title="round figures",
    multiprocessors=1,
    clock_mhz=1000.0,
    fp16_per_clock=1000,
    bandwidth_gb_per_s=10.0,
    cache_mb=1.0,
    stated=StatedPeak("dense FP16", 1.0, 1.0),
    sources=("made up",),
)
PLAIN = Assumptions(least_compute_share=1.0, least_bandwidth_share=1.0, kernel_us=0.0)


def kernel(operations=0, weights=0, activations=0, work=Work.LINEAR, number=Number.FP16):
    return KernelCost(
        operator="MatMul",
        work=work,
        number=number,
        operations=operations,
        weights=weights,
        weight_bytes=weights * number.size_bytes,
        activations=activations,
        activation_bytes=activations * number.size_bytes,
    )


def cost(*kernels):
    return GraphCost(batch=1, kernels=kernels)


def test_the_fastest_time_is_compute_or_the_weights_beyond_the_cache():
    compute = estimate(cost(kernel(operations=10**9)), ROUND)
    assert (compute.fastest_ms, compute.bound_by) == (pytest.approx(1.0), "compute")
    memory = estimate(cost(kernel(operations=10**9, weights=10_500_000)), ROUND)
    assert (memory.fastest_ms, memory.bound_by) == (pytest.approx(2.0), "memory")


def test_the_slowest_time_adds_compute_bytes_and_the_start_of_every_kernel():
    found = estimate(
        cost(kernel(10**9, weights=500_000, activations=500_000), kernel(work=Work.OTHER)),
        ROUND,
        assumptions=Assumptions(
            least_compute_share=0.5, least_bandwidth_share=0.5, kernel_us=100.0
        ),
    )
    assert found.slowest_ms == pytest.approx(1.0 / 0.5 + 0.2 / 0.5 + 0.2)
    assert found.start_share == pytest.approx(0.2 / found.slowest_ms)


@pytest.mark.parametrize(
    ("precision", "ms"), [(Number.FP32, 2.0), (Number.FP16, 1.0), (Number.INT8, 0.5)]
)
def test_a_product_with_weights_runs_at_the_precision_asked_for(precision, ms):
    assert estimate(cost(kernel(10**9)), ROUND, precision, PLAIN).fastest_ms == pytest.approx(ms)


def test_int8_leaves_attention_and_values_between_kernels_in_fp16():
    attention = cost(kernel(10**9, activations=10**6, work=Work.ATTENTION))
    half, quantized = (estimate(attention, ROUND, n, PLAIN) for n in (Number.FP16, Number.INT8))
    assert (half.fastest_ms, half.slowest_ms) == (quantized.fastest_ms, quantized.slowest_ms)


def test_a_graph_as_it_is_mixes_its_own_precisions():
    mixed = cost(kernel(10**9, number=Number.INT8), kernel(10**9, number=Number.FP32))
    assert estimate(mixed, ROUND, None, PLAIN).fastest_ms == pytest.approx(0.5 + 2.0)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_the_figures_of_a_gpu_multiply_to_the_peak_its_vendor_states(gpu):
    peak = gpu.peak_per_s(Number.FP16) * gpu.stated.of_dense_fp16 / 1e12
    assert peak == pytest.approx(gpu.stated.tera, rel=0.03)
    assert gpu.sources
    assert any(not source.startswith(SECONDARY) for source in gpu.sources) is (
        gpu.name not in ("thor", "rtx-3090")
    )
    assert gpu_of(gpu.name) is gpu


def test_an_unknown_gpu_is_refused_with_those_known():
    with pytest.raises(UsageError, match=r"orin-mini.*orin-nano, .*rtx-3090"):
        gpu_of("orin-mini")


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda p: f"{p.network}-{p.gpu}-{p.batch}")
def test_every_published_measurement_lies_in_its_range(published):
    found = published.estimate()
    assert found.contains(published.ms), found


def test_a_range_that_is_ten_times_off_either_way_contains_none_of_them():
    ranges = [(each.estimate(), each.ms) for each in PUBLISHED]
    assert not any(found.contains(10 * ms) for found, ms in ranges)
    assert not any(found.contains(ms / 50) for found, ms in ranges)
