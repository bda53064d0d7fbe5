"""FP16 emulation: rounding of every operator's output, and overflow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from fasdk.bundle.manifest import Precision
from fasdk.errors import BackendError, PrecisionError
from fasdk_engines.graph.emulation import emulate_fp16, emulated_model, require_fp16_accuracy
from fasdk_engines.graph.fp16 import convert

from support.sample_graphs import add_weight, block, images, layer_norm, parse, run, weight


def judged(model, inputs):
    graph = model.SerializeToString()
    reference = run(graph, inputs)["logits"]
    return emulate_fp16(convert(graph, Precision.FP16), [inputs], reference, threads=1)


def chain(body: str, weights: dict[str, float]) -> onnx.ModelProto:
    model = parse(
        f'<ir_version: 8, opset_import: ["" : 18]> chain (float[batch,2] x) => '
        f"(float[batch,2] logits) {{ {body} }}"
    )
    for name, value in weights.items():
        add_weight(model, name, value)
    return model


def features(scale: float, batch: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {"x": (scale * rng.standard_normal((batch, 64))).astype(np.float32)}


def test_every_output_is_rounded_before_the_next_operator_sees_it():
    model = chain(
        "shifted = Add (x, one) stretched = Mul (shifted, third) logits = Sub (stretched, half)",
        {"one": 1.0, "third": 1 / 3, "half": 0.5},
    )
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    report = judged(model, {"x": x})
    # The same in NumPy: each operation in float32, its result rounded.
    third, half = np.float32(np.float16(1 / 3)), np.float32(0.5)
    step = (x.astype(np.float16).astype(np.float32) + np.float32(1)).astype(np.float16)
    step = (step.astype(np.float32) * third).astype(np.float16)
    # What writes a graph output is an island.
    np.testing.assert_array_equal(report.logits, step.astype(np.float32) - half)
    assert report.logit_drift > 0.0


def test_a_difference_below_half_precision_is_lost():
    model = chain("shifted = Add (x, one) logits = Sub (shifted, one)", {"one": 1.0})
    report = judged(model, {"x": np.float32([[2**-12, 2**-10]])})
    np.testing.assert_array_equal(report.logits, [[0.0, 2**-10]])


def test_islands_are_not_rounded():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[batch,4] x) => (float[batch,2] logits, float[batch,4] aside)
        <int64[1] last = {-1}, float small = {0.0001}>
        {
          size = Abs (x)
          aside = Neg (size)
          mean = ReduceMean (x, last)
          tiny = Mul (mean, small)
          logits = Concat <axis = 1> (tiny, mean)
        }
        """
    )
    x = np.float32([[1.0, 1.0, 1.0, 1.001953125], [0.5, 0.25, 2.0, 1.0]])
    report = judged(model, {"x": x})
    # The inputs are exact in half precision and all the rest is float32.
    assert report.logit_drift == 0.0


def test_ordinary_inputs_pass_through_a_fused_layer_norm():
    report = judged(layer_norm(fused=True), features(1.0))
    require_fp16_accuracy(report)
    assert report.finite
    assert report.max_activation < 16
    assert 0.0 < report.drift_ratio < 0.01


def test_a_fused_layer_norm_takes_large_inputs():
    # Inside, squares of 8,000 are float32; only the normalized values are handed on.
    report = judged(layer_norm(fused=True), features(2000.0))
    require_fp16_accuracy(report)
    assert 4000 < report.max_activation < 16384
    assert report.worst_tensor == "x_fp16"


def test_a_planted_overflow_is_found_and_named():
    report = judged(layer_norm(fused=False), features(2000.0))
    assert not report.finite
    assert report.worst_tensor == "squared"
    assert report.max_activation == np.inf
    with pytest.raises(PrecisionError, match=r"overflows: tensor 'squared'.*--precision fp32"):
        require_fp16_accuracy(report)


def test_the_same_decomposed_layer_norm_passes_on_ordinary_inputs():
    report = judged(layer_norm(fused=False), features(1.0))
    require_fp16_accuracy(report)


def test_not_a_number_is_found_though_a_maximum_passes_over_it():
    model = chain("rooted = Sqrt (x) logits = Mul (rooted, two)", {"two": 2.0})
    graph = convert(model.SerializeToString(), Precision.FP16)
    x = np.float32([[4.0, 9.0], [-1.0, 16.0]])
    report = emulate_fp16(graph, [{"x": x}], np.float32([[4, 6], [0, 8]]))
    assert not report.finite
    assert report.worst_tensor == "rooted"
    assert np.isnan(report.max_activation)
    assert report.logit_drift == np.inf
    with pytest.raises(PrecisionError, match="'rooted' is not finite"):
        require_fp16_accuracy(report, check_drift=False)


def test_an_infinity_that_later_vanishes_is_still_found():
    model = chain(
        "large = Mul (x, big) saturated = Sigmoid (large) logits = Mul (saturated, x)",
        {"big": 60000.0},
    )
    report = judged(model, {"x": np.float32([[2.0, 3.0], [0.1, 0.2]])})
    assert np.isfinite(report.logits).all()
    assert not report.finite
    assert report.worst_tensor == "large"


def test_an_activation_near_the_limit_is_refused():
    model = chain("large = Mul (x, big) logits = Div (large, big)", {"big": 20000.0})
    report = judged(model, {"x": np.float32([[1.0, 0.5], [0.25, -1.0]])})
    assert report.finite
    with pytest.raises(PrecisionError, match=r"'large' reaches 20000 in half.*above 16384"):
        require_fp16_accuracy(report)


def test_drift_is_held_against_the_logits_own_spread():
    model = block()
    inputs = images(8)
    report = judged(model, inputs)
    spread = np.std(report.reference_logits)
    drift = np.abs(report.logits - report.reference_logits).max()
    assert report.logit_drift == pytest.approx(drift)
    assert report.drift_ratio == pytest.approx(drift / spread)
    require_fp16_accuracy(replace(report, drift_ratio=0.01))
    over = replace(report, drift_ratio=0.0101)
    with pytest.raises(PrecisionError, match=r"1\.01% of the logits' standard deviation"):
        require_fp16_accuracy(over)
    require_fp16_accuracy(over, check_drift=False)
    with pytest.raises(PrecisionError):
        require_fp16_accuracy(replace(report, drift_ratio=float("nan")))


def test_captures_are_judged_in_order_over_all_batches():
    model = block()
    graph = model.SerializeToString()
    inputs = images(9)["rgb"]
    reference = run(graph, {"rgb": inputs})["logits"]
    batches = [{"rgb": inputs[:6]}, {"rgb": inputs[6:]}]
    report = emulate_fp16(convert(graph, Precision.FP16), batches, reference)
    assert report.logits.shape == (9, 2)
    np.testing.assert_allclose(report.logits, reference, atol=5e-3)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (np.zeros((3, 2), np.float32), "shape \\(3, 2\\), the captures gave \\(4, 2\\)"),
        (np.ones((4, 2), np.float32), "standard deviation 0.0"),
        (np.full((4, 2), np.nan, np.float32), "standard deviation nan"),
    ],
)
def test_a_reference_that_measures_nothing_is_refused(reference, says):
    graph = convert(block().SerializeToString(), Precision.FP16)
    with pytest.raises(PrecisionError, match=says):
        emulate_fp16(graph, [images(4)], reference)


def test_a_float32_graph_is_not_judged():
    with pytest.raises(PrecisionError, match="holds no float16 tensor"):
        emulated_model(block().SerializeToString())


def test_inputs_the_graph_does_not_take_are_a_backend_error():
    graph = convert(block().SerializeToString(), Precision.FP16)
    with pytest.raises(BackendError, match="failed on the rounded graph"):
        emulate_fp16(graph, [{"depth": images(2)["rgb"]}], np.float32([[0, 1], [1, 0]]))


def test_the_rounded_graph_holds_the_weights_half_precision_has():
    graph = convert(block().SerializeToString(), Precision.FP16)
    rounded = emulated_model(graph)
    narrow = weight(onnx.load_from_string(graph), "query_w")
    wide = weight(rounded, "query_w")
    assert wide.data_type == onnx.TensorProto.FLOAT
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(wide), onnx.numpy_helper.to_array(narrow).astype(np.float32)
    )
