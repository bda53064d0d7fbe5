"""Folding of batch norm, held against the unfolded graph in ONNX Runtime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fasdk.backends.onnxruntime import Optimization, open_session
from fasdk_engines.graph.batch_norm import fold_batch_norm

from support.sample_graphs import add_weight, parse

CHANNELS = 6
# Graph text by case: what is in front of the batch norm and behind it, and the operators that are
# left. Channels are 6, the image 5 by 5; w is a convolution's weight, m a matrix.
FOLDED = {
    "conv": ("c = Conv <pads = [1, 1, 1, 1]> (x, w6) y = {bn} (c, {p})", "Conv"),
    "conv with bias": ("c = Conv (x, w6, b6) y = {bn} (c, {p})", "Conv"),
    "conv in groups": ("c = Conv <group = 2> (x, w3, b6) y = {bn} (c, {p})", "Conv"),
    "depthwise conv": ("c = Conv <group = 6> (x, w1) y = {bn} (c, {p})", "Conv"),
    "conv and its bias in an Add": (
        "c = Conv (x, w6) d = Add (c, planes) y = {bn} (d, {p})",
        "Conv",
    ),
    "conv and a sum of one value, first operand": (
        "c = Conv (x, w6, b6) d = Add (one, c) y = {bn} (d, {p})",
        "Conv",
    ),
    "transposed conv": ("c = ConvTranspose (x, w6, b6) y = {bn} (c, {p})", "ConvTranspose"),
    "transposed conv in groups": (
        "c = ConvTranspose <group = 2> (x, w3) y = {bn} (c, {p})",
        "ConvTranspose",
    ),
    "conv and two batch norms": (
        "c = Conv (x, w6) d = {bn} (c, {p}) y = {bn} (d, {p})",
        "Conv",
    ),
    "before a conv without padding": ("n = {bn} (x, {p}) y = Conv (n, w6, b6)", "Conv"),
    "before a conv in groups": ("n = {bn} (x, {p}) y = Conv <group = 2> (n, w3)", "Conv"),
    "before two convs": (
        "n = {bn} (x, {p}) a = Conv (n, w6) b = Conv (n, w6, b6) y = Add (a, b)",
        "Conv Conv Add",
    ),
    "before a conv with VALID padding": (
        'n = {bn} (x, {p}) y = Conv <auto_pad = "VALID"> (n, w6)',
        "Conv",
    ),
    "between convs, into the first": (
        "c = Conv (x, w6) n = {bn} (c, {p}) y = Conv <pads = [1, 1, 1, 1]> (n, w6)",
        "Conv Conv",
    ),
    "matrix": ("f = MatMul (v, m) y = {bn} (f, {p})", "Gemm"),
    "matrix and bias": ("f = MatMul (v, m) d = Add (f, b6) y = {bn} (d, {p})", "Gemm"),
    "gemm": ("f = Gemm (v, m, b6) y = {bn} (f, {p})", "Gemm"),
    "gemm with factors": (
        "f = Gemm <alpha = 0.5, beta = 3.0> (v, m, row) y = {bn} (f, {p})",
        "Gemm",
    ),
    "gemm, transposed": ("f = Gemm <transB = 1> (v, m) y = {bn} (f, {p})", "Gemm"),
    "before a matrix": ("n = {bn} (v, {p}) y = MatMul (n, m)", "Gemm"),
    "before a gemm": ("n = {bn} (v, {p}) y = Gemm <alpha = 0.5> (n, m, b6)", "Gemm"),
    "before a gemm, transposed": (
        "n = {bn} (v, {p}) y = Gemm <transB = 1, beta = 2.0> (n, m, one)",
        "Gemm",
    ),
    "alone": ("y = {bn} (x, {p})", "Mul Add"),
    "alone on features": ("y = {bn} (v, {p})", "Mul Add"),
    "behind a nonlinearity": (
        "c = Conv (x, w6) r = Relu (c) y = {bn} (r, {p})",
        "Conv Relu Mul Add",
    ),
    "before a nonlinearity": (
        "n = {bn} (x, {p}) r = Relu (n) y = Conv (r, w6)",
        "Mul Add Relu Conv",
    ),
    "before a conv with padding": (
        "n = {bn} (x, {p}) y = Conv <pads = [1, 1, 1, 1]> (n, w6)",
        "Mul Add Conv",
    ),
    "before a conv with SAME padding": (
        'n = {bn} (x, {p}) y = Conv <auto_pad = "SAME_UPPER"> (n, w6)',
        "Mul Add Conv",
    ),
    "conv that another node reads": (
        "c = Conv (x, w6) n = {bn} (c, {p}) y = Add (c, n)",
        "Conv Mul Add Add",
    ),
    "gemm with a bias for each row": (
        "f = Gemm (v, m, column) y = {bn} (f, {p})",
        "Gemm Mul Add",
    ),
    "two branches": (
        "a = Conv (x, w6) b = Conv (x, w6) c = Concat <axis = 2> (a, b) y = {bn} (c, {p})",
        "Conv Conv Concat Mul Add",
    ),
}


def graph(body: str, attributes: str = "epsilon = 0.001", opset: int = 17) -> onnx.ModelProto:
    """Return a graph with an image input x and a vector input v, of which it reads one."""
    lines = body.format(
        bn=f"BatchNormalization <{attributes}>", p="gamma, beta, mean, variance"
    ).replace(") ", ")\n  ")
    reads_image = "(x" in body
    given = "float[2,6,5,5] x" if reads_image else "float[2,6] v"
    answer = "float[a,b,c,d] y" if reads_image else "float[a,b] y"
    model = parse(
        f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
        f"sample ({given}) => ({answer})\n{{\n  {lines}\n}}"
    )
    rng = np.random.default_rng(len(body))
    shapes = {
        **{f"w{n}": (CHANNELS, n, 3, 3) for n in (1, 3, 6)},
        **{"b6": (6,), "m": (6, 6), "row": (1, 6), "column": (2, 1), "one": (1,)},
        **{"planes": (1, 6, 1, 1), "gamma": (6,), "beta": (6,), "mean": (6,)},
    }
    for name, shape in shapes.items():
        add_weight(model, name, rng.standard_normal(shape))
    add_weight(model, "variance", rng.uniform(0.01, 4.0, 6))
    return model


def answers(model: onnx.ModelProto) -> np.ndarray:
    session = open_session(model.SerializeToString(), optimization=Optimization.NONE)
    (given,) = session.get_inputs()
    values = np.random.default_rng(7).standard_normal(given.shape).astype(np.float32)
    return np.asarray(session.run(["y"], {given.name: values})[0])


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("case", FOLDED)
def test_a_folded_graph_answers_as_before(case):
    body, left = FOLDED[case]
    model = graph(body)
    expected = answers(model)
    assert fold_batch_norm(model) == body.count("{bn}")
    assert operators(model) == left.split()
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(answers(model), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", ["conv", "before a gemm", "alone"])
def test_parameters_without_an_epsilon_take_the_standards_default(case):
    model = graph(FOLDED[case][0], "momentum = 0.9")
    expected = answers(model)
    assert fold_batch_norm(model) == 1
    np.testing.assert_allclose(answers(model), expected, rtol=2e-5, atol=2e-5)


def test_constants_are_computed_in_float64():
    model = graph(FOLDED["alone on features"][0], "epsilon = 1e-12")
    values = {"gamma": 3e-3, "variance": 1e-9, "mean": 1e-9, "beta": 1.0}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(
                numpy_helper.from_array(np.full(6, values[tensor.name], np.float32), tensor.name)
            )
    gamma, variance, mean = (
        np.float64(np.float32(values[n])) for n in ("gamma", "variance", "mean")
    )
    scale = gamma / np.sqrt(variance + np.float64(np.float32(1e-12)))
    assert fold_batch_norm(model) == 1
    written = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    product, total = model.graph.node
    assert (written[product.input[1]] == np.float32(scale)).all()
    assert (written[total.input[1]] == np.float32(1.0 - mean * scale)).all()


def test_a_sum_of_zero_passes_a_padded_conv():
    model = graph(FOLDED["before a conv with padding"][0])
    for tensor in model.graph.initializer:
        if tensor.name in ("beta", "mean"):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(6, np.float32), tensor.name))
    expected = answers(model)
    assert fold_batch_norm(model) == 1
    assert operators(model) == ["Conv"]
    np.testing.assert_allclose(answers(model), expected, rtol=2e-5, atol=2e-5)


def test_a_weight_of_two_convs_is_folded_into_one_of_them_alone():
    model = graph("c = Conv (x, w6) n = {bn} (c, {p}) d = Conv (x, w6) y = Add (n, d)")
    expected = answers(model)
    assert fold_batch_norm(model) == 1
    assert Counter(operators(model)) == {"Conv": 2, "Add": 1}
    np.testing.assert_allclose(answers(model), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("training", "the statistics are those of the batch"),
        ("computed", "a parameter is computed from the input"),
        ("negative", "the square root is not a number"),
        ("overflow", "float32 does not hold the folded constant"),
    ],
)
def test_a_batch_norm_that_cannot_be_folded_stays(change, why):
    body, attributes = "y = {bn} (x, {p})", "epsilon = 0.001"
    if change == "training":
        attributes += ", training_mode = 1"
    model = graph(body, attributes)
    for tensor in model.graph.initializer:
        if tensor.name == "variance" and change == "negative":
            tensor.CopyFrom(numpy_helper.from_array(np.full(6, -1.0, np.float32), "variance"))
        if tensor.name == "gamma" and change == "overflow":
            tensor.CopyFrom(numpy_helper.from_array(np.full(6, 3e38, np.float32), "gamma"))
    if change == "computed":
        for tensor in model.graph.initializer:
            if tensor.name == "gamma":
                model.graph.initializer.remove(tensor)
                break
        pooled = onnx.helper.make_node("ReduceMean", ["x"], ["gamma"], axes=[0, 2, 3], keepdims=0)
        model.graph.node.insert(0, pooled)
    assert fold_batch_norm(model) == 0, why
    assert "BatchNormalization" in operators(model)


def test_a_parameter_that_a_caller_may_replace_is_not_folded():
    model = graph("y = {bn} (x, {p})")
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("gamma", onnx.TensorProto.FLOAT, [6])
    )
    assert fold_batch_norm(model) == 0


def test_a_graph_without_batch_norm_is_left_alone():
    model = graph("y = Conv (x, w6, b6)")
    before = model.SerializeToString(deterministic=True)
    assert fold_batch_norm(model) == 0
    assert model.SerializeToString(deterministic=True) == before
