"""Weight rounding: by GPTQ, on half-precision scales, in pairs a CPU adds exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fasdk_engines.quantization.calibration.gptq import (
    PAIR_LIMIT,
    QuantizedWeight,
    gptq_round,
    round_to_nearest,
)

RNG = np.random.default_rng(5)
INNER, OUTPUTS = 96, 40


def _correlated(rows: int = 4000) -> np.ndarray:
    return RNG.normal(size=(rows, 12)) @ RNG.normal(size=(12, INNER)) + 0.1 * RNG.normal(
        size=(rows, INNER)
    )


def _output_error(rounded: QuantizedWeight, weight: np.ndarray, rows: np.ndarray) -> float:
    return float(np.mean((rows @ (rounded.dequantized - weight)) ** 2))


def test_gptq_rounding_changes_the_outputs_less() -> None:
    weight, rows = RNG.normal(size=(INNER, OUTPUTS)), _correlated()
    plain = _output_error(round_to_nearest(weight), weight, rows)
    found = _output_error(gptq_round(weight, np.cov(rows, rowvar=False)), weight, rows)
    assert found < 0.25 * plain


def test_gptq_rounding_helps_on_unseen_rows() -> None:
    weight, rows = RNG.normal(size=(INNER, OUTPUTS)), _correlated(8000)
    seen, unseen = rows[:4000], rows[4000:]
    found = gptq_round(weight, np.cov(seen, rowvar=False))
    assert _output_error(found, weight, unseen) < 0.25 * _output_error(
        round_to_nearest(weight), weight, unseen
    )


@pytest.mark.parametrize("limit_pairs", [False, True])
def test_scales_are_float16_numbers_and_codes_int8(limit_pairs: bool) -> None:
    weight = RNG.normal(size=(INNER, OUTPUTS)) * np.logspace(-5, 1, OUTPUTS)
    rounded = gptq_round(weight, np.cov(_correlated(), rowvar=False), limit_pairs=limit_pairs)
    assert np.array_equal(rounded.scales, rounded.scales.astype(np.float16).astype(np.float64))
    assert rounded.codes.dtype == np.int8
    assert rounded.codes.min() >= -127


@pytest.mark.parametrize("weight", [np.zeros((6, 3)), np.eye(6, 3)])
def test_empty_columns_and_dead_inputs_are_rounded(weight: np.ndarray) -> None:
    found = gptq_round(weight, np.zeros((6, 6)))
    assert np.allclose(found.dequantized, weight, atol=1e-3)


@settings(max_examples=40)
@given(st.integers(1, 33), st.integers(0, 2**32 - 1), st.floats(0.0, 3.0), st.booleans())
def test_limited_pairs_never_exceed_the_pair_limit(
    inner: int, seed: int, alike: float, to_data: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_t(2, (inner, 5)) + alike * rng.normal(size=(1, 5))
    rows = rng.normal(size=(50, inner)) + alike * rng.normal(size=(50, 1))
    covariance = rows.T @ rows / 50
    rounded = (
        gptq_round(weight, covariance, limit_pairs=True)
        if to_data
        else round_to_nearest(weight, limit_pairs=True)
    )
    codes = np.abs(rounded.codes.astype(int))
    paired = codes[0 : inner // 2 * 2 : 2] + codes[1::2]
    assert paired.max(initial=0) <= PAIR_LIMIT


def _fused(codes: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Return what ONNX Runtime's own 8-bit kernel makes of int8 operands."""
    import onnxruntime as ort

    inner, outputs = codes.shape
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ones", "zeros"], ["wd"], axis=1),
        helper.make_node("MatMul", ["d", "wd"], ["y"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.float32(1.0), "one"),
        onnx.numpy_helper.from_array(np.int8(0), "zero"),
        onnx.numpy_helper.from_array(codes.astype(np.int8), "w"),
        onnx.numpy_helper.from_array(np.ones(outputs, np.float32), "ones"),
        onnx.numpy_helper.from_array(np.zeros(outputs, np.int8), "zeros"),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, outputs])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["y"], {"x": activation.astype(np.float32)})[0]
    return found


def _pair(first: int, second: int) -> np.ndarray:
    codes = np.zeros((64, 32), int)
    codes[0], codes[1] = first, second
    return codes


@pytest.mark.parametrize(
    ("first", "second"), [(127, 1), (64, 64), (1, 127), (-127, -1), (-64, -64), (100, -28)]
)
@pytest.mark.parametrize("code", [127, -128])
def test_a_pair_at_the_limit_is_added_exactly_by_the_cpu(
    first: int, second: int, code: int
) -> None:
    activation = np.full((8, 64), code)
    codes = _pair(first, second)
    assert np.array_equal(_fused(codes, activation), activation @ codes)


def test_a_pair_beyond_the_limit_saturates_only_on_a_cpu_without_vnni() -> None:
    about = Path("/proc/cpuinfo").read_text()
    saturates = "avx2" in about and "vnni" not in about  # others add products in 32 bits
    activation = np.full((8, 64), 127)
    codes = _pair(65, 64)
    assert np.array_equal(_fused(codes, activation), activation @ codes) is not saturates
    apart = np.zeros((64, 32), int)
    apart[1], apart[2] = 65, 64  # not a pair: 0 and 1 are, 2 and 3 are
    assert np.array_equal(_fused(apart, activation), activation @ apart)
