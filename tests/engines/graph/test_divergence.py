"""Divergence of two graphs: the first layer whose values differ."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk.bundle.manifest import Precision
from fasdk.errors import ParityError
from fasdk_engines.graph import divergence
from fasdk_engines.graph.divergence import first_divergence
from fasdk_engines.graph.fp16 import convert

from support.sample_graphs import block, images, layer_norm, node, parse, weight


def perturbed(model: onnx.ModelProto, name: str) -> bytes:
    """Return the graph with one element of one weight moved by 1 %."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    tensor = weight(changed, name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[3] += 0.01 * np.abs(array).max()
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    return changed.SerializeToString()


def test_a_graph_does_not_diverge_from_itself():
    graph = block().SerializeToString()
    assert first_divergence(graph, graph, images(2), tolerance=0.0) is None


@pytest.mark.parametrize(
    ("changed", "tensor", "operator", "place"),
    [
        ("query_w", "query", "MatMul", "ask"),
        ("patch_w", "patches", "Conv", "embed"),
        ("head_w", "logits", "Gemm", "head"),
    ],
)
def test_a_changed_weight_is_found_at_its_own_layer(changed, tensor, operator, place):
    model = block()
    graph = perturbed(model, changed)
    found = first_divergence(model.SerializeToString(), graph, images(2), tolerance=1e-4)
    assert found is not None
    assert (found.tensor, found.operator, found.node) == (tensor, operator, place)
    order = [name for n in model.graph.node for name in n.output]
    assert found.compared == order.index(tensor) + 1
    assert 1e-4 < found.relative < 0.1
    assert found.max_abs > 0.0


def test_a_difference_within_tolerance_is_none():
    model = block()
    changed = perturbed(model, "query_w")
    assert first_divergence(model.SerializeToString(), changed, images(2), tolerance=0.5) is None


def test_values_compared_a_few_at_a_time_give_the_same_answer(monkeypatch):
    model = block()
    graphs = model.SerializeToString(), perturbed(model, "query_w")
    whole = first_divergence(*graphs, images(2), tolerance=1e-4)
    monkeypatch.setattr(divergence, "_CHUNK_BYTES", 1024)
    assert first_divergence(*graphs, images(2), tolerance=1e-4) == whole is not None


def test_half_precision_stays_within_its_rounding():
    graph = block().SerializeToString()
    half = convert(graph, Precision.FP16)
    assert first_divergence(graph, half, images(2), tolerance=1e-2) is None
    found = first_divergence(graph, half, images(2), tolerance=1e-5)
    # The very first operator: its inputs, weights and output are rounded.
    assert found is not None
    assert found.node == "embed"


def test_an_overflow_in_half_precision_is_named():
    graph = layer_norm(fused=False).SerializeToString()
    half = convert(graph, Precision.FP16)
    x = 2000.0 * np.random.default_rng(5).standard_normal((3, 64)).astype(np.float32)
    found = first_divergence(graph, half, {"x": x}, tolerance=1e-2)
    assert found is not None
    assert (found.node, found.operator, found.max_abs) == ("square", "Pow", np.inf)


def test_not_a_number_on_one_side_alone_is_a_divergence():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[batch,2] x) => (float[batch,2] y)'
    first = parse(f"{text} {{ [a] z = Abs (x) [b] y = Relu (z) }}")
    second = parse(f"{text} {{ [a] z = Sqrt (x) [b] y = Relu (z) }}")
    x = {"x": np.float32([[1.0, -1.0]])}
    found = first_divergence(first.SerializeToString(), second.SerializeToString(), x)
    assert found is not None
    assert (found.tensor, found.max_abs) == ("z", np.inf)
    # Both sides alike is no divergence.
    both = second.SerializeToString()
    assert first_divergence(both, both, x) is None


def test_graphs_of_two_models_are_refused():
    one, other = block(), block()
    node(other, "head").output[0] = "answer"
    other.graph.output[0].name = "answer"
    with pytest.raises(ParityError, match="'logits' of graph 1 is not written in the other"):
        first_divergence(one.SerializeToString(), other.SerializeToString(), images(2))


def test_values_of_different_shape_are_refused():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[batch,2] x) =>'
    first = parse(f"{text} (float[batch,2] y) {{ y = Abs (x) }}")
    second = parse(f"{text} (float[batch,4] y) {{ y = Concat <axis = 1> (x, x) }}")
    with pytest.raises(ParityError, match=r"'y' has shape \(1, 2\).*\(1, 4\)"):
        first_divergence(
            first.SerializeToString(),
            second.SerializeToString(),
            {"x": np.ones((1, 2), np.float32)},
        )


def test_inputs_the_graph_cannot_take_are_named():
    graph = block().SerializeToString()
    with pytest.raises(ParityError, match="graph 1 takes inputs of these ranks"):
        first_divergence(graph, graph, {"rgb": np.ones((1, 3, 8, 8, 1), np.float32)})
