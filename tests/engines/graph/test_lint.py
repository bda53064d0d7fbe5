"""Graph lint against the operators of the oldest supported TensorRT."""

from __future__ import annotations

import onnx
import pytest

from fasdk.bundle.manifest import Precision
from fasdk.errors import ExportError
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.lint import lint_tensorrt

from support.sample_graphs import block, node, parse, weight


def lint(model: onnx.ModelProto) -> None:
    lint_tensorrt(model.SerializeToString())


def single(body: str, *, inputs: str = "float[batch,4] x", output: str = "float[batch,4] y"):
    return parse(
        f'<ir_version: 8, opset_import: ["" : 18]> g ({inputs}) => ({output}) {{ {body} }}'
    )


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_a_deployment_graph_passes(precision):
    lint_tensorrt(convert(block().SerializeToString(), precision))


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_the_opsets_of_the_range_pass(opset):
    model = single("[only] y = Relu (x)")
    model.opset_import[0].version = opset
    lint(model)


@pytest.mark.parametrize("opset", [8, 21])
def test_another_opset_is_refused(opset):
    model = single("[only] y = Relu (x)")
    model.opset_import[0].version = opset
    with pytest.raises(ExportError, match=f"opset {opset}, expected 9 to 20"):
        lint(model)


def test_a_newer_file_format_is_refused():
    model = block()
    model.ir_version = 11
    with pytest.raises(ExportError, match="IR version 11, expected at most 10"):
        lint(model)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (single("[only] y = Dropout (x)"), "Dropout 'only' is random or for training"),
        (single("[only] y = RandomNormalLike (x)"), "RandomNormalLike 'only' is random"),
        (single("[only] y = Bernoulli (x)"), "Bernoulli 'only' is random"),
        (
            single("[only] y = Unique (x)", output="float[batch] y"),
            "Unique 'only' is not a supported operator",
        ),
        (
            single("[only] y = Det (x)", inputs="float[batch,4,4] x", output="float[batch] y"),
            "Det 'only' is not a supported operator",
        ),
        (
            single(
                "[pool] y, z = MaxPool <kernel_shape = [2, 2]> (x)",
                inputs="float[batch,3,4,4] x",
                output="float[batch,3,3,3] y",
            ),
            "MaxPool 'pool': only the first output",
        ),
        (
            single(
                "[pool] y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)",
                inputs="float[batch,3,4,4] x",
                output="float[batch,3,2,2] y",
            ),
            "MaxPool 'pool': dilations must all be 1",
        ),
        (
            single(
                "[pool] y = AveragePool <kernel_shape = [2]> (x)",
                inputs="float[batch,3,4] x",
                output="float[batch,3,3] y",
            ),
            "AveragePool 'pool': only 2-D and 3-D",
        ),
        (
            single(
                "extents = Shape <start = 1> (x) [sum] y = ReduceSum <keepdims = 0> (x, extents)",
                output="float[batch] y",
            ),
            "ReduceSum 'sum': axes must be a constant",
        ),
        (
            single(
                '[grow] y = Resize <mode = "cubic"> (x, , s)',
                inputs="float[batch,3,4,4] x, float[4] s",
            ),
            "Resize 'grow': mode is 'cubic'",
        ),
        (
            single("[up] d = Cast <to = 11> (x) [down] y = Cast <to = 1> (d)"),
            "Cast 'up': 'd' is DOUBLE, which TensorRT lacks",
        ),
        (
            single("[sine] y = Sin (x)", inputs="double[batch,4] x", output="double[batch,4] y"),
            "Sin 'sine': 'x' is DOUBLE",
        ),
        (
            single("[top] y = Softmax (x)", inputs="int64[batch,4] x", output="int64[batch,4] y"),
            "types do not fit together",
        ),
        (
            single(
                "[times] y = MatMul (x, x)",
                inputs="int64[batch,4,4] x",
                output="int64[batch,4,4] y",
            ),
            "MatMul 'times': 'x' is INT64, expected one of BFLOAT16, FLOAT, FLOAT16",
        ),
        (single("[only] y = Relu (x)", inputs="float[2,4] x"), "'x': the first axis is 2"),
        (single("[only] y = Relu (x)", output="float[2,4] y"), "'y': the first axis is 2"),
        (
            single(
                "[only] y = Relu (x)", inputs="float[batch,width] x", output="float[batch,width] y"
            ),
            "'x': axis 1 is not fixed",
        ),
        (
            single("[only] y = Add (x, z)", inputs="float[batch,4] x, float[other,4] z"),
            "different batch axes: batch, other",
        ),
    ],
)
def test_each_refusal_names_the_node_and_the_reason(model, says):
    with pytest.raises(ExportError, match=says):
        lint(model)


def test_a_custom_domain_is_refused():
    model = block()
    node(model, "soften").domain = "com.microsoft"
    with pytest.raises(ExportError, match=r"Softmax 'soften' is of domain 'com.microsoft'"):
        lint(model)


def test_a_batch_norm_in_training_mode_is_refused():
    channels = ", ".join(f"float[3] {name}" for name in ("s", "b", "m", "v"))
    model = single(
        "[bn] y, m2, v2 = BatchNormalization <training_mode = 1> (x, s, b, m, v)",
        inputs=f"float[batch,3,4,4] x, {channels}",
        output="float[batch,3,4,4] y",
    )
    with pytest.raises(ExportError, match="'bn': training_mode is 1, expected 0"):
        lint(model)


def test_control_flow_is_refused():
    model = single(
        "[branch] y = If (flag) <then_branch = a () => (float[batch,4] p) { p = Abs (x) },"
        " else_branch = b () => (float[batch,4] q) { q = Neg (x) }>",
        inputs="bool flag, float[batch,4] x",
    )
    with pytest.raises(ExportError, match="If 'branch' is control flow"):
        lint(model)


def test_weights_outside_the_file_are_refused():
    model = block()
    tensor = weight(model, "query_w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(ExportError, match="weight 'query_w' lies outside the file"):
        lint(model)


def test_a_local_function_is_refused():
    model = block()
    model.functions.add(name="helper", domain="pkg")
    with pytest.raises(ExportError, match="local function 'helper'"):
        lint(model)


def test_operands_of_two_float_types_are_refused():
    model = onnx.load_from_string(convert(block().SerializeToString(), Precision.FP16))
    tensor = weight(model, "norm_w")
    wide = onnx.numpy_helper.to_array(tensor).astype("float32")
    tensor.CopyFrom(onnx.numpy_helper.from_array(wide, "norm_w"))
    with pytest.raises(ExportError, match="types do not fit together"):
        lint(model)


def test_only_the_first_findings_are_spelled_out():
    body = " ".join(f"[n{i}] y{i} = Unique (x)" for i in range(5)) + " [last] y = Relu (x)"
    with pytest.raises(ExportError, match=r"'n0'.*'n1'.*'n2'.*\(and 2 more\)"):
        lint(single(body))
