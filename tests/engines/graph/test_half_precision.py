"""Choice of float32 nodes by what half precision does on captures."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.errors import PrecisionError
from fasdk_engines.graph.half_precision import SCORE_DRIFT, FloatReason, to_half_precision

from support.sample_graphs import add_weight, layer_norm, parse, weight


def captures(model: onnx.ModelProto, values: np.ndarray) -> tuple[dict, np.ndarray]:
    """Return a batch for the graph's one input, and the float32 graph's logits on it."""
    batch = {model.graph.input[0].name: values.astype(np.float32)}
    return batch, OnnxRuntimeEngine(model.SerializeToString(), threads=1).run(batch).logits


def set_weight(model: onnx.ModelProto, name: str, value: object) -> None:
    weight(model, name).CopyFrom(onnx.numpy_helper.from_array(np.float32(value), name))


def features(count: int = 8, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(3).standard_normal((count, 64))


def affine(shift: float, gain: float = 1.0) -> onnx.ModelProto:
    """Return a graph that multiplies by `gain`, adds a small `shift` and multiplies by a matrix."""
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        affine (float[batch,64] x) => (float[batch,2] logits)
        {
          [gain] scaled = Mul (x, gains)
          [shift] shifted = Add (scaled, shifts)
          [bend] bent = Tanh (shifted)
          [mix] mixed = MatMul (bent, mix_w)
          [bend2] hidden = Tanh (mixed)
          [head] logits = MatMul (hidden, head_w)
        }
        """
    )
    rng = np.random.default_rng(1)
    add_weight(model, "gains", np.full(64, gain))
    add_weight(model, "shifts", np.full(64, shift))
    add_weight(model, "mix_w", rng.standard_normal((64, 64)) / 8)
    add_weight(model, "head_w", rng.standard_normal((64, 2)) / 8)
    return model


def test_a_weight_that_vanishes_without_effect_is_accepted():
    model = affine(1e-9)
    batch, reference = captures(model, features())
    half = to_half_precision(model.SerializeToString(), (), batch, reference)
    assert half.added == ()
    assert half.report.finite
    assert half.score_drift <= SCORE_DRIFT


def test_a_weight_that_vanishes_with_effect_keeps_its_node_in_float32():
    model = affine(0.0)
    set_weight(model, "mix_w", 1e-9 * np.random.default_rng(2).standard_normal((64, 64)))
    model.graph.node[4].op_type = "Identity"  # what is small stays so, and is scaled up behind
    set_weight(model, "head_w", 1e9 * np.random.default_rng(4).standard_normal((64, 2)) / 64)
    batch, reference = captures(model, features())
    half = to_half_precision(model.SerializeToString(), (), batch, reference)
    assert half.reasons["mix"] == FloatReason.LOST_WEIGHT.value
    assert half.score_drift <= SCORE_DRIFT
    assert "^mix$" in half.islands


def test_a_guard_of_a_division_is_tried_on_images_of_one_level():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        norm (float[batch,1,8,8] x) => (float[batch,2] logits)
        <float epsilon = {0.000000000001}, int64[2] flat = {0, -1}>
        {
          [mean] mean = GlobalAveragePool (x)
          [center] centered = Sub (x, mean)
          [square] squared = Mul (centered, centered)
          [variance] variance = GlobalAveragePool (squared)
          [guard] guarded = Add (variance, epsilon)
          [root] deviation = Sqrt (guarded)
          [divide] normed = Div (centered, deviation)
          [flatten] vector = Reshape (normed, flat)
          [head] logits = MatMul (vector, head_w)
        }
        """
    )
    add_weight(model, "head_w", np.random.default_rng(1).standard_normal((64, 2)) / 8)
    batch, reference = captures(model, features().reshape(8, 1, 8, 8))
    half = to_half_precision(model.SerializeToString(), (), batch, reference)
    assert half.reasons["guard"] == FloatReason.LOST_WEIGHT.value
    black = {"x": np.zeros((1, 1, 8, 8), np.float32)}
    assert np.isfinite(OnnxRuntimeEngine(half.graph, threads=1).run(black).logits).all()


@pytest.mark.parametrize("gain", [3e4, 7e4])
def test_nodes_around_a_tensor_that_overflows_stay_float32(gain):
    # The product leaves half precision's range, 7e4 already as a weight; Tanh brings it back.
    model = affine(0.5, gain)
    batch, reference = captures(model, features(scale=4.0))
    half = to_half_precision(model.SerializeToString(), (), batch, reference)
    assert {"gain", "shift", "bend"} <= set(half.reasons)
    assert half.report.finite and not half.report.offending
    found = OnnxRuntimeEngine(half.graph, threads=1).run(batch).logits
    np.testing.assert_allclose(found, reference, atol=5e-3)


def test_a_decomposed_layer_norm_of_large_inputs_is_kept_in_range():
    model = layer_norm(fused=False)
    batch, reference = captures(model, features(scale=1000.0))
    half = to_half_precision(model.SerializeToString(), (), batch, reference)
    assert half.reasons["square"] == FloatReason.OVERFLOW.value
    assert half.report.finite


def test_everything_behind_an_overflow_is_float32_up_to_the_answer():
    model = affine(0.0)
    set_weight(model, "head_w", 1e9 * np.random.default_rng(4).standard_normal((64, 2)))
    model.graph.node[5].output[0] = "large"
    model.graph.node.append(onnx.helper.make_node("Identity", ["large"], ["logits"], name="out"))
    batch, reference = captures(model, features())
    half = to_half_precision(model.SerializeToString(), (), batch, reference)
    assert "head" in half.reasons
    assert half.report.finite


def deep(count: int = 10) -> onnx.ModelProto:
    """Return a chain of convolutions whose first one amplifies rounding."""
    lines = ["[conv0] c0 = Conv (rgb, w0)", "[relu0] r0 = Tanh (c0)"]
    for n in range(1, count):
        lines.append(f"[conv{n}] c{n} = Conv (r{n - 1}, w{n})")
        lines.append(f"[relu{n}] r{n} = Tanh (c{n})")
    body = "\n".join(lines)
    model = parse(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        deep (float[batch,3,8,8] rgb) => (float[batch,2] logits)
        <int64[2] flat = {{0, -1}}>
        {{
          {body}
          [flatten] v = Reshape (r{count - 1}, flat)
          [head] logits = MatMul (v, head_w)
        }}
        """
    )
    rng = np.random.default_rng(8)
    for n in range(count):
        inputs = 3 if n == 0 else 8
        add_weight(model, f"w{n}", 1.2 * rng.standard_normal((8, inputs, 1, 1)) / np.sqrt(inputs))
    add_weight(model, "head_w", rng.standard_normal((512, 2)))
    return model


def test_sensitive_layers_of_a_small_network_stay_float32():
    model = deep()
    values = np.random.default_rng(5).uniform(0, 255, (12, 3, 8, 8)) / 100
    batch, reference = captures(model, values)
    graph = model.SerializeToString()
    plain = to_half_precision(graph, (), batch, reference, keep_sensitive=False)
    assert plain.score_drift > SCORE_DRIFT and plain.added == ()
    half = to_half_precision(graph, (), batch, reference)
    assert half.score_drift < plain.score_drift
    assert set(half.reasons.values()) == {FloatReason.DRIFT.value}
    assert 0 < len(half.added) < len(model.graph.node)
    again = to_half_precision(graph, (), batch, reference)
    assert again.graph == half.graph


def test_the_models_own_islands_are_kept_and_not_listed_again():
    model = affine(0.5, 3e4)
    batch, reference = captures(model, features(scale=4.0))
    half = to_half_precision(model.SerializeToString(), ("^gain$",), batch, reference)
    assert half.islands[0] == "^gain$"
    assert "gain" not in half.reasons


def test_a_weight_that_is_not_a_number_is_refused():
    model = affine(float("nan"))
    batch, _ = captures(model, features())
    with pytest.raises(PrecisionError, match="'shifts' holds nan, which no precision can use"):
        to_half_precision(model.SerializeToString(), (), batch, np.eye(2, dtype=np.float32))
