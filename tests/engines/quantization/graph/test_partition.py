"""Graph partitions in front of a switched layer, skipped with equal results."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from fasdk_engines.quantization import Quantizer
from fasdk_engines.quantization.graph.partition import (
    SKIPPED,
    Partition,
    cached_input,
    partition_graph,
)

from support import networks

SWITCHED = networks.captures(8, seed=3)
OTHERS = networks.captures(8, seed=4)
# Two layers with a switch between them, and one value that crosses.
CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2,4] x, float switch) => (float[2,4] logits)
{
  [aside] doubled = Add (x, x)
  [scale] scaled = Mul (x, switch)
  [one] a = MatMul (scaled, w)
  [bend] b = Relu (a)
  [two] c = MatMul (b, w)
  [sum] logits = Add (c, doubled)
}
"""
# An index crosses wherever there is a place between the two, and it is no float.
INDEXED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2,4] x, float switch) => (float[2,1] logits)
{
  [scale] scaled = Mul (x, switch)
  [best] index = ArgMax <axis = 1, keepdims = 1> (scaled)
  [one] a = MatMul (scaled, w)
  [two] c = MatMul (a, w)
  [pick] logits = GatherElements <axis = 1> (c, index)
}
"""


def chain(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("of", ["one layer", "one layer, two terms", "two layers"])
def test_logits_from_cached_results_are_bit_identical(name: str, of: str) -> None:
    quantizer = networks.prepare(name)
    caching = quantizer.switchable_graph(threads=1)
    every = frozenset(caching.layers)
    plain = caching.logits(SWITCHED, every)
    for at, layer in enumerate(caching.layers):
        tried = frozenset([layer])
        if of == "two layers":
            tried |= {caching.layers[at - 1]}
        residual_layers = tried if "terms" in of else frozenset()
        found = caching.logits(SWITCHED, every - tried, residual_layers)
        fresh = quantizer.switchable_graph(threads=1).logits(
            SWITCHED, every - tried, residual_layers
        )
        np.testing.assert_array_equal(found, fresh)
        assert not np.array_equal(found, plain)
    np.testing.assert_array_equal(caching.logits(SWITCHED, every), plain)


def test_other_captures_are_computed_from_the_start(transformer: Quantizer) -> None:
    switchable_graph = transformer.switchable_graph(threads=1)
    every = frozenset(switchable_graph.layers)
    last = every - {switchable_graph.layers[-1]}
    switchable_graph.logits(SWITCHED, every)
    found = switchable_graph.logits(OTHERS, last)
    np.testing.assert_array_equal(
        found, transformer.switchable_graph(threads=1).logits(OTHERS, last)
    )
    alike = {name: array.copy() for name, array in SWITCHED.items()}
    np.testing.assert_array_equal(
        switchable_graph.logits(alike, last), switchable_graph.logits(SWITCHED, last)
    )


def test_a_graph_is_cut_between_its_layers() -> None:
    model = chain(CHAIN)
    assert partition_graph(model, ["one", "two"], ["switch"]) == (
        Partition(("one",), ("a",)),
        Partition(("two",), ("logits",)),
    )
    assert "aside" in {node.name for node in model.graph.node}  # depends on no switch


def test_a_skipped_partition_yields_its_cached_results() -> None:
    model = chain(CHAIN)
    x = np.random.default_rng(2).normal(size=(2, 4)).astype(np.float32)
    feeds = {"x": x, "switch": np.array(0.5, np.float32)}
    expected = run(model, feeds)["logits"]
    partitions = partition_graph(model, ["one", "two"], ["switch"])
    nothing = {cached_input(name): x[:0] for partition in partitions for name in partition.results}
    whole = run(model, {**feeds, **nothing, SKIPPED: np.array([False, False])})
    np.testing.assert_array_equal(whole["logits"], expected)
    given = {**feeds, **nothing, "a:cached": whole["a"], SKIPPED: np.array([True, False])}
    np.testing.assert_array_equal(run(model, given)["logits"], expected)
    given["a:cached"] = -whole["a"]
    assert not np.array_equal(run(model, given)["logits"], expected)


def test_a_graph_that_only_an_index_could_cross_is_left_whole() -> None:
    model = chain(INDEXED)
    assert partition_graph(model, ["one", "two"], ["switch"]) == ()
    assert model == chain(INDEXED)
