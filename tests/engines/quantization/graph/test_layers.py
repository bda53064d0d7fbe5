"""Which Linear and Conv layers compute in eight bits, and why others do not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk_engines.quantization.graph.layers import find_layers

from support import networks

ONE = {"rgb": (1, 3, 16, 16)}


@pytest.mark.parametrize(
    ("network", "layer", "macs", "reason"),
    [
        ("transformer", "embed", 16 * 48 * 32, ""),
        ("transformer", "expand", 16 * 32 * 64, ""),
        ("transformer", "contract", 16 * 64 * 32, ""),
        ("transformer", "narrow", 16 * 32 * 8, "too small: 32 by 8"),
        ("transformer", "widen", 16 * 8 * 32, "too small: 8 by 32"),
        ("transformer", "head", 32 * 2, "matrix-vector product: 1 rows a capture"),
        ("convolutions", "first", 64 * 24 * 27, ""),
        ("convolutions", "third", 64 * 24 * 18, ""),
        ("convolutions", "fourth", 64 * 24 * 24, ""),
        ("convolutions", "head", 24 * 2, "matrix-vector product: 1 rows a capture"),
    ],
)
def test_a_layer_is_quantized_or_says_why_not(
    network: str, layer: str, macs: int, reason: str
) -> None:
    found = {
        x.layer.name: x.layer for x in find_layers(networks.network(network), ONE, frozenset())
    }
    assert (found[layer].macs, found[layer].reason) == (macs, reason)
    assert found[layer].quantized is not bool(reason)


def test_an_island_stays_float() -> None:
    found = find_layers(networks.network("transformer"), ONE, frozenset(["expand"]))
    reasons = {x.layer.name: x.layer.reason for x in found}
    assert reasons["expand"] == "float32 island"
    assert reasons["value"] == ""


def test_a_product_of_two_activations_is_no_layer() -> None:
    model = networks.network("transformer")
    model.graph.node.insert(9, onnx.helper.make_node("MatMul", ["wide", "wide_t"], ["square"], "q"))
    model.graph.node.insert(9, onnx.helper.make_node("Transpose", ["wide"], ["wide_t"], "t"))
    assert "q" not in {x.layer.name for x in find_layers(model, ONE, frozenset())}


def test_a_matrix_a_head_is_not_one_layer() -> None:
    model = networks.network("transformer")
    weight = onnx.numpy_helper.from_array(np.ones((4, 32, 16), np.float32), "by_head")
    model.graph.initializer.append(weight)
    model.graph.node.insert(6, onnx.helper.make_node("MatMul", ["normed", "by_head"], ["h"], "h"))
    found = {x.layer.name: x.layer for x in find_layers(model, ONE, frozenset())}
    assert found["h"].reason == "its weight is not one matrix"
