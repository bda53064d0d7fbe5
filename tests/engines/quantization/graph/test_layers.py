"""Linear and Conv layers that compute in INT8, and the reason where they do not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk_engines.quantization.graph.layers import ExclusionReason, find_layers

from support import networks

ONE = {"rgb": (1, 3, 16, 16)}
SMALL, VECTOR = ExclusionReason.TOO_SMALL, ExclusionReason.MATRIX_VECTOR


@pytest.mark.parametrize(
    ("network", "layer", "macs", "reason", "detail"),
    [
        ("transformer", "embed", 16 * 48 * 32, None, ""),
        ("transformer", "expand", 16 * 32 * 64, None, ""),
        ("transformer", "contract", 16 * 64 * 32, None, ""),
        ("transformer", "narrow", 16 * 32 * 8, SMALL, "32 by 8"),
        ("transformer", "widen", 16 * 8 * 32, SMALL, "8 by 32"),
        ("transformer", "head", 32 * 2, VECTOR, "1 rows"),
        ("convolutions", "first", 64 * 24 * 27, None, ""),
        ("convolutions", "third", 64 * 24 * 18, None, ""),
        ("convolutions", "fourth", 64 * 24 * 24, None, ""),
        ("convolutions", "head", 24 * 2, VECTOR, "1 rows"),
    ],
)
def test_a_layer_is_quantized_or_has_an_exclusion_reason(
    network: str, layer: str, macs: int, reason: ExclusionReason | None, detail: str
) -> None:
    found = {
        x.layer.name: x.layer for x in find_layers(networks.network(network), ONE, frozenset())
    }
    assert (found[layer].macs, found[layer].reason, found[layer].detail) == (macs, reason, detail)
    assert found[layer].quantized is (reason is None)


def test_an_island_stays_float() -> None:
    found = find_layers(networks.network("transformer"), ONE, frozenset(["expand"]))
    reasons = {x.layer.name: x.layer.reason for x in found}
    assert reasons["expand"] is ExclusionReason.FLOAT32_ISLAND
    assert reasons["value"] is None


def test_a_product_of_two_activations_is_no_layer() -> None:
    model = networks.network("transformer")
    model.graph.node.insert(9, onnx.helper.make_node("MatMul", ["wide", "wide_t"], ["square"], "q"))
    model.graph.node.insert(9, onnx.helper.make_node("Transpose", ["wide"], ["wide_t"], "t"))
    assert "q" not in {x.layer.name for x in find_layers(model, ONE, frozenset())}


def test_a_weight_with_a_matrix_for_each_head_is_excluded() -> None:
    model = networks.network("transformer")
    weight = onnx.numpy_helper.from_array(np.ones((4, 32, 16), np.float32), "by_head")
    model.graph.initializer.append(weight)
    model.graph.node.insert(6, onnx.helper.make_node("MatMul", ["normed", "by_head"], ["h"], "h"))
    found = {x.layer.name: x.layer for x in find_layers(model, ONE, frozenset())}
    assert found["h"].reason is ExclusionReason.NOT_ONE_MATRIX


def test_every_exclusion_reason_has_a_code_of_its_own_and_a_sentence() -> None:
    codes = [reason.value for reason in ExclusionReason]
    assert len(set(codes)) == len(codes)
    assert all(reason.sentence and reason.sentence != reason.value for reason in ExclusionReason)
    assert [ExclusionReason(code) for code in codes] == list(ExclusionReason)
