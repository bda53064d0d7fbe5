"""Comparison of a quantized graph with the float graph it would replace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.bundle.manifest import Precision
from fasdk_engines.build.comparison import Comparison, Latency, PlanSizes, compare_latency

from support import networks

INT8 = Comparison(Precision.INT8, Precision.FP16, 0.9, (600, 900))
ON_CPU = replace(INT8, precision=Precision.INT8_FP32, floating=Precision.FP32)
FLOAT_PLAN = b"head function={ name=__myl_Relu fqn=1 function={ name=__myl_Relu fqn=2"
INT8_PLAN = FLOAT_PLAN + b" function={ name=__myl_MulRoun x function={ name=__myl_MulRoun y"


def test_a_plan_is_read_for_the_kernels_that_the_compiler_wrote():
    sizes = PlanSizes.of(INT8_PLAN, FLOAT_PLAN)
    assert (sizes.int8_bytes, sizes.float_bytes) == (len(INT8_PLAN), len(FLOAT_PLAN))
    assert (sizes.int8_kernels, sizes.float_kernels) == (4, 2)
    assert sizes.written == ("__myl_MulRoun",)


@pytest.mark.parametrize(
    ("comparison", "gains", "says"),
    [
        (INT8, True, "neither a plan's size nor its speed was measured"),
        (replace(INT8, graph_bytes=(901, 900)), False, "build with --precision fp16"),
        (replace(INT8, int8_share=0.0), False, "no layer is left in INT8: int8 is nothing but"),
        (replace(INT8, plans=PlanSizes(5, 5, 0, 0, ())), True, "speed is not measured"),
        (
            replace(INT8, plans=PlanSizes.of(INT8_PLAN, FLOAT_PLAN)),
            False,
            "wrote 4 kernels between the layers, 2 for fp16; among them __myl_MulRoun",
        ),
        (replace(ON_CPU, latency=Latency(1.0, 2.0, 8)), True, "int8-fp32 ran faster than fp32"),
        (replace(ON_CPU, latency=Latency(2.0, 1.0, 8)), False, "build with --precision fp32"),
        (replace(ON_CPU, latency=Latency(2.0, 2.0, 8)), False, "INT8 buys nothing"),
    ],
)
def test_int8_gains_where_it_is_faster_or_no_larger(comparison, gains, says):
    assert comparison.gains is gains
    assert says in comparison.note()
    assert comparison.note(chosen=True).startswith(f"auto took {comparison.floating.value}: ")
    assert ("buys nothing" in comparison.note()) is not gains


def test_the_advice_is_a_precision_that_works():
    larger = replace(INT8, graph_bytes=(901, 900))
    assert larger.note(advice=Precision.FP32).endswith("build with --precision fp32")


def test_times_are_shown_and_kept_out_of_the_note():
    compared = replace(ON_CPU, latency=Latency(1.25, 2.5, 9))
    assert compared.times == (
        "int8-fp32 1.25 ms a capture, fp32 2.50 ms: medians of 9 runs in turns on this CPU"
    )
    assert "1.25" not in compared.note()
    assert INT8.times is None


def test_two_graphs_run_in_turns():
    quantizer = networks.prepare("convolutions", precision=Precision.INT8_FP32)
    int8, plain = quantizer.write(), networks.network("convolutions").SerializeToString()
    capture = {"rgb": np.zeros((1, 3, 16, 16), np.float32)}
    found = compare_latency(int8, plain, capture)
    assert 8 <= found.pairs <= 60
    assert found.int8_ms > 0.0 and found.float_ms > 0.0
