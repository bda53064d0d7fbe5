"""Quantizer: nodes and types of the graph, and its distance to the float32 graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk.backends.engine import Backend
from fasdk.backends.registry import installed_backends
from fasdk.bundle.manifest import Precision
from fasdk.errors import ExportError, PrecisionError
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.graph.types import infer_types
from fasdk_engines.quantization import (
    ExclusionReason,
    QdqReferenceRunner,
    Quantizer,
    int8_share,
    run_qdq_reference,
)

from support import networks
from support.networks import prepare
from support.requirements import Requirement

UNSEEN = networks.captures(64, seed=9)


def _written(quantizer: Quantizer, float_layers: frozenset[str] = frozenset()) -> onnx.ModelProto:
    return onnx.load_from_string(quantizer.write(float_layers))


def _writers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def test_quantized_layers_read_int8_and_no_other_node_does(int8: Quantizer, name: str) -> None:
    model = _written(int8)
    writers = _writers(model)
    reading = {
        node.name.removesuffix("_residual")
        for node in model.graph.node
        for value in node.input
        if value in writers
        and writers[value].op_type == "DequantizeLinear"
        and not node.name.endswith("_difference")
    }
    assert reading == {layer.name for layer in int8.layers if layer.quantized}
    assert all(layer.reason for layer in int8.layers if not layer.quantized)
    assert int8_share(int8.layers) > 0.9, name


def test_q_and_dq_are_float16_inside_and_float32_at_the_border(int8: Quantizer) -> None:
    model = _written(int8)
    types = infer_types(model)
    half, int8_type = onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        ends = (int8_type, half) if node.op_type == "DequantizeLinear" else (half, int8_type)
        assert (types[node.input[0]].element, types[node.output[0]].element) == ends, node.name
        assert types[node.input[1]].element == half
    border = [*model.graph.input, *model.graph.output]
    assert {v.type.tensor_type.elem_type for v in border} == {onnx.TensorProto.FLOAT}
    assert model.opset_import[0].version == 19
    assert not model.graph.value_info


def test_zero_points_are_zero_and_no_bias_is_an_integer(int8: Quantizer) -> None:
    model = _written(int8)
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not held[node.input[2]].any()
    assert not any(value.dtype == np.int32 for value in held.values())


def test_quantizer_is_far_nearer_to_the_float_graph_than_plain_rounding(
    int8: Quantizer, name: str
) -> None:
    from fasdk_calibration.calibration_set.ranges import RangeMethod
    from fasdk_engines.quantization import QuantizerOptions

    exact = networks.run(networks.graph(name), UNSEEN)
    plain = prepare(
        name,
        options=QuantizerOptions(
            RangeMethod.MINMAX,
            exact_pixels=False,
            fold_norms=False,
            explicit_shift=False,
            explicit_scale=False,
            gptq=False,
            bias_correction=False,
            residual_share=0.0,
        ),
    )
    ours = networks.decibels(exact, run_qdq_reference(int8.write(), UNSEEN, threads=1))
    theirs = networks.decibels(exact, run_qdq_reference(plain.write(), UNSEEN, threads=1))
    assert ours > 33.0
    assert ours > theirs + 6.0


def test_equal_arguments_give_equal_bytes(transformer: Quantizer) -> None:
    assert transformer.write() == transformer.write()
    assert transformer.write() == prepare("transformer").write()


def test_a_reverted_layer_is_float_and_the_rest_is_not(transformer: Quantizer) -> None:
    model = _written(transformer, frozenset(["expand"]))
    writers = _writers(model)
    by_name = {node.name: node for node in model.graph.node}
    assert writers.get(by_name["expand"].input[0]) is None or (
        writers[by_name["expand"].input[0]].op_type != "DequantizeLinear"
    )
    assert writers[by_name["value"].input[0]].op_type == "DequantizeLinear"
    told = {x.name: x for x in transformer.reverted_layers(frozenset(["expand"]))}
    assert (told["expand"].quantized, told["value"].quantized) == (False, True)


def test_reverting_all_layers_leaves_the_half_precision_graph(name: str, int8: Quantizer) -> None:
    everything = frozenset(x.name for x in int8.layers if x.quantized)
    model = _written(int8, everything)
    assert not any("Quantize" in node.op_type for node in model.graph.node)
    exact = networks.run(networks.graph(name), UNSEEN)
    found = run_qdq_reference(int8.write(everything), UNSEEN, threads=1)
    assert networks.decibels(exact, found) > 42.0


def test_the_cpu_form_is_float32_throughout_and_runs_on_its_8_bit_kernels() -> None:
    import onnxruntime as ort

    from fasdk.backends.onnxruntime import OnnxRuntimeEngine

    quantizer = prepare("transformer", Precision.INT8_FP32)
    graph = quantizer.write()
    types = {t.element for t in infer_types(onnx.load_from_string(graph)).values()}
    assert onnx.TensorProto.FLOAT16 not in types
    exact = networks.run(networks.graph("transformer"), UNSEEN)
    fused = OnnxRuntimeEngine(graph, threads=1, as_written=False).run(UNSEEN).logits
    written = OnnxRuntimeEngine(graph, threads=1).run(UNSEEN).logits
    assert networks.decibels(exact, fused) > 35.0
    # Weights that cannot saturate: what is fused is what is written, but for float rounding.
    assert networks.decibels(written, fused) > 50.0
    assert ort.__version__


@Requirement.TENSORRT_RTX.mark(
    "not installed", lacking=Backend.TENSORRT_RTX not in installed_backends()
)
def test_tensorrt_rtx_compiles_the_graph(int8: Quantizer) -> None:
    from fasdk.backends.tensorrt.plan import build_plan

    graph = int8.write()
    lint_tensorrt(graph)
    plan = build_plan(
        graph,
        Backend.TENSORRT_RTX,
        shapes={"rgb": (3, 16, 16)},
        max_batch=2,
        compute_capabilities=("8.6",),
    )
    assert plan.data


@pytest.mark.parametrize(
    "given",
    [[], [{"rgb": np.empty((0, 3, 16, 16), np.float32)}]],
)
def test_calibration_without_captures_is_refused(given: list[dict[str, np.ndarray]]) -> None:
    with pytest.raises(PrecisionError, match="no capture"):
        Quantizer.prepare(
            networks.graph("transformer"), given, networks.SPECS, precision=Precision.INT8
        )


def test_bad_input_is_named(transformer: Quantizer) -> None:
    graph, batch = networks.graph("transformer"), networks.captures(4)
    with pytest.raises(PrecisionError, match="'head' is no layer that computes in INT8"):
        transformer.write(frozenset(["head"]))
    with pytest.raises(PrecisionError, match="'fp16' is not quantized"):
        Quantizer.prepare(graph, [batch], networks.SPECS, precision=Precision.FP16)
    with pytest.raises(PrecisionError, match="'nowhere' is found in no node"):
        Quantizer.prepare(
            graph,
            [batch],
            networks.SPECS,
            precision=Precision.INT8,
            float32_islands=["nowhere"],
        )
    with pytest.raises(PrecisionError, match="none of the 7 Linear and Conv layers"):
        Quantizer.prepare(
            graph, [batch], networks.SPECS, precision=Precision.INT8, float32_islands=["."]
        )
    with pytest.raises(ExportError, match="not an ONNX file"):
        Quantizer.prepare(b"nothing", [batch], networks.SPECS, precision=Precision.INT8)
    broken = {"rgb": np.full((1, 3, 16, 16), np.nan, np.float32)}
    with pytest.raises(PrecisionError, match="not finite on a calibration capture"):
        Quantizer.prepare(graph, [broken], networks.SPECS, precision=Precision.INT8)


def test_reference_runner_serves_many_batches(transformer: Quantizer) -> None:
    runner = QdqReferenceRunner(transformer.write(), threads=1)
    halves = [{"rgb": UNSEEN["rgb"][:32]}, {"rgb": UNSEEN["rgb"][32:]}]
    found = np.concatenate([runner.logits(half) for half in halves])
    assert np.allclose(found, run_qdq_reference(transformer.write(), UNSEEN, threads=1), atol=1e-6)


def test_nodes_kept_in_float32_beside_quantized_layers_stay_so() -> None:
    islands = ("^third$", "^average$", "^flatten$")
    quantizer = prepare("convolutions", float32_islands=islands)
    model = onnx.load_from_string(quantizer.write())
    types = infer_types(model)
    for node in model.graph.node:
        if node.name in ("third", "average"):
            assert types[node.output[0]].element == onnx.TensorProto.FLOAT
    reasons = {layer.name: layer.reason for layer in quantizer.layers}
    assert reasons["third"] is ExclusionReason.FLOAT32_ISLAND
    assert reasons["second"] is None
