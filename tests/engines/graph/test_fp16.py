"""Conversion to half precision: the type of every value in the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk.bundle.manifest import Precision
from fasdk.errors import ExportError, PrecisionError
from fasdk_engines.graph.fp16 import convert, convert_to_half, parse_precision
from fasdk_engines.graph.islands import Islands, islands_matching
from fasdk_engines.graph.types import infer_types, parse_graph

from support.requirements import Requirement
from support.sample_graphs import add_weight, block, images, layer_norm, node, parse, run, weight

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def half(model: onnx.ModelProto, islands: Islands | None = None) -> onnx.ModelProto:
    graph = model.SerializeToString()
    converted = convert(graph, Precision.FP16, *([islands] if islands else []))
    return onnx.load_from_string(converted)


def test_fp32_returns_the_very_bytes_given():
    graph = block().SerializeToString()
    assert convert(graph, Precision.FP32) is graph


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT8_FP32])
def test_eight_bits_need_captures(precision):
    with pytest.raises(PrecisionError, match=f"'{precision.value}' needs calibration captures"):
        convert(block().SerializeToString(), precision)


@pytest.mark.parametrize("precision", list(Precision))
def test_every_precision_is_known_by_name(precision):
    assert parse_precision(precision.value) is precision


@pytest.mark.parametrize(
    ("name", "says"),
    [("auto", "names no precision"), ("bf16", "unknown precision 'bf16'"), ("", "unknown")],
)
def test_another_precision_is_refused_with_the_choices(name, says):
    with pytest.raises(PrecisionError, match=f"{says}.*fp32, fp16, int8, int8-fp32"):
        parse_precision(name)


def test_everything_is_half_but_the_reductions_and_what_writes_an_output():
    model = half(block())
    types = infer_types(model)
    elements = {name: t.element for name, t in types.items()}
    assert {elements[v.name] for v in (*model.graph.input, *model.graph.output)} == {FLOAT}
    for n in model.graph.node:
        if n.op_type in ("Conv", "PRelu", "MatMul", "LayerNormalization", "Softmax"):
            assert {elements[v] for v in (*n.input, *n.output)} <= {FLOAT16}, n.name
        if n.op_type in ("ReduceMean", "Gemm"):
            assert elements[n.input[0]] == elements[n.output[0]] == FLOAT, n.name
    assert elements["token_shape"] == onnx.TensorProto.INT64


def test_float32_island_between_float32_values_stays_float32():
    model = half(block())
    elements = {name: t.element for name, t in infer_types(model).items()}
    # Between two reductions, and between one and a graph output.
    assert elements[node(model, "rescale").output[0]] == FLOAT
    assert node(model, "clip").output[0] == "reliability"
    # Reads float16, though what it writes goes to a reduction.
    assert elements[node(model, "certain").output[0]] == FLOAT16


def test_values_keep_their_names():
    before, after = block(), half(block())
    written = {name for n in after.graph.node for name in n.output}
    assert {name for n in before.graph.node for name in n.output} <= written


def test_a_value_is_cast_once_per_direction_and_never_twice_in_a_row():
    model = half(block())
    casts = [n for n in model.graph.node if n.op_type == "Cast"]
    keys = [(n.input[0], n.attribute[0].i) for n in casts]
    assert len(keys) == len(set(keys))
    written_by_cast = {n.output[0] for n in casts}
    assert not written_by_cast & {n.input[0] for n in casts}


def test_conversion_is_deterministic():
    graph = block().SerializeToString()
    assert convert(graph, Precision.FP16) == convert(graph, Precision.FP16)


def test_the_half_graph_answers_nearly_the_same():
    model = block()
    expected = run(model.SerializeToString(), images(4))
    found = run(half(model).SerializeToString(), images(4))
    for name in expected:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], atol=5e-3)


def test_a_weight_read_by_both_regions_exists_in_both_types():
    model = half(block())
    assert weight(model, "rate").data_type == FLOAT16
    assert weight(model, "rate_fp32").data_type == FLOAT
    assert node(model, "scale").input[1] == "rate"
    assert node(model, "rescale").input[1] == "rate_fp32"


def test_a_duplicated_weight_gets_a_name_nothing_else_has():
    model = block()
    add_weight(model, "rate_fp32", np.zeros(3))
    converted = half(model)
    names = [tensor.name for tensor in converted.graph.initializer]
    assert len(names) == len(set(names))
    assert weight(converted, "rate_fp32_1").data_type == FLOAT


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1e5, "holds 100000, beyond half precision's 65504"),
        (-7e4, "holds -70000"),
        (np.nan, "holds nan"),
        (np.inf, "holds inf"),
    ],
)
def test_a_weight_that_half_precision_cannot_hold_is_named(value, says):
    model = block()
    tensor = weight(model, "query_w")
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[3, 5] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, "query_w"))
    with pytest.raises(PrecisionError, match=f"'query_w' .*{says}"):
        half(model)


def test_a_weight_that_vanishes_is_listed_with_its_node_and_an_island_saves_it():
    model = layer_norm(fused=False)
    weight(model, "epsilon").CopyFrom(onnx.numpy_helper.from_array(np.float32(1e-12), "epsilon"))
    graph = model.SerializeToString()
    narrow = Islands(operators=frozenset(), outputs=False)
    (lost,) = convert_to_half(graph, narrow).lost
    assert (lost.name, lost.nodes, lost.vanishes) == ("epsilon", ("guard",), True)
    assert lost.largest == pytest.approx(1e-12)
    assert convert(graph, Precision.FP16, narrow) == convert_to_half(graph, narrow).graph
    kept = Islands(operators=frozenset(), nodes=frozenset(lost.nodes))
    saved = convert_to_half(graph, kept)
    assert saved.lost == ()
    assert weight(parse_graph(saved.graph), "epsilon").data_type == FLOAT


def test_an_island_is_chosen_by_node_name():
    model = half(block(), Islands(nodes=frozenset(["soften"])))
    elements = {name: t.element for name, t in infer_types(model).items()}
    assert elements[node(model, "soften").output[0]] == FLOAT
    assert elements[node(model, "score").output[0]] == FLOAT16


def test_an_island_of_no_such_node_is_refused():
    with pytest.raises(PrecisionError, match="island 'nowhere' names no node"):
        half(block(), Islands(nodes=frozenset(["nowhere"])))


def test_islands_are_found_by_pattern_beside_the_default_ones():
    graph = block().SerializeToString()
    found = islands_matching(graph, ["^soft", "often$"])
    assert found == Islands(nodes=frozenset(["soften"]))
    assert islands_matching(graph, []) == Islands()


def test_a_pattern_that_protects_nothing_is_refused():
    with pytest.raises(PrecisionError, match="'nowhere' is found in no node's name"):
        islands_matching(block().SerializeToString(), ["^soft", "nowhere"])


def test_constants_casts_and_fills_are_retyped_with_their_region():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        awkward (float[batch,4] x) => (float[batch,4] logits, float[1] total)
        <int64 zero = {0}, int64 four = {4}, int64 one = {1}, int64[1] first = {0},
         int64[1] span = {4}>
        {
          [half_constant] gain = Constant <value_float = 0.5> ()
          [bounds] low = Constant <value = float {-3.0}> ()
          [count] steps = Range (zero, four, one)
          [ramp] ramp = Cast <to = 1> (steps)
          [again] same = Cast <to = 1> (ramp)
          [fill] ones = ConstantOfShape <value = float[1] {1.0}> (span)
          [scale] scaled = Mul (x, gain)
          [shift] shifted = Add (scaled, same)
          [clip] clipped = Clip (shifted, low)
          [test] negative = Less (clipped, ones)
          [choose] logits = Where (negative, clipped, ones)
          [shape] extents = Shape (clipped)
          [float_shape] sizes = Cast <to = 1> (extents)
          [sum] total = ReduceSum <keepdims = 1> (sizes, first)
        }
        """
    )
    x = {"x": np.float32([[-9.0, -1.0, 0.5, 2.0], [0.0, 0.25, -2.5, 8.0]])}
    expected = run(model.SerializeToString(), x)
    converted = half(model)
    elements = {name: t.element for name, t in infer_types(converted).items()}
    assert {elements[name] for name in ("gain", "low", "ramp", "ones")} == {FLOAT16}
    assert elements["sizes"] == FLOAT  # read by a reduction alone
    found = run(converted.SerializeToString(), x)
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    np.testing.assert_array_equal(found["total"], expected["total"])


def test_an_operand_that_is_float32_by_definition_stays_so():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        resize (float[batch,3,4,4] x) => (float[batch,3,8,8] logits)
        <float[4] scales = {1.0, 1.0, 2.0, 2.0}>
        {
          [bigger] grown = Resize <mode = "nearest"> (x, , scales)
          [bend] logits = Relu (grown)
        }
        """
    )
    converted = half(model)
    assert weight(converted, "scales").data_type == FLOAT
    assert infer_types(converted)["grown"].element == FLOAT16


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("[only] logits = Cast <to = 10> (x)", "float16"),
        ("[only] logits = EyeLike <dtype = 1> (x)", "float"),
    ],
)
def test_a_node_whose_type_comes_from_elsewhere_is_refused(body, kind):
    model = parse(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[batch,4] x) => '
        f"({kind}[batch,4] logits) {{ {body} }}"
    )
    with pytest.raises(ExportError, match="'only' cannot be converted"):
        half(model)


def test_a_graph_that_is_partly_half_already_is_refused():
    once = half(block())
    with pytest.raises(ExportError, match="float16: convert the float32 graph"):
        half(once)


def test_a_subgraph_is_refused():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        g (bool flag, float[batch,4] x) => (float[batch,4] logits)
        {
          [branch] logits = If (flag) <
            then_branch = yes () => (float[batch,4] y) { y = Abs (x) },
            else_branch = no () => (float[batch,4] z) { z = Neg (x) }
          >
        }
        """
    )
    with pytest.raises(ExportError, match="If 'branch' holds a graph of its own"):
        half(model)


def test_bytes_that_are_no_graph_are_refused():
    with pytest.raises(ExportError, match="not an ONNX file"):
        convert(b"\x00not a graph", Precision.FP16)


@pytest.mark.parametrize("capability", ["SM86", "SM89", "SM120"])
def test_tensorrt_rtx_builds_the_half_graph(capability):
    trt = Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(half(block()).SerializeToString())
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("rgb", (1, 3, 16, 16), (2, 3, 16, 16), (4, 3, 16, 16))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
