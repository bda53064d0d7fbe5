"""Measurements of `make verify-calibration`: counts of INT8 work, drift and flips by hand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Import a module of tools/bench by name."""
    monkeypatch.syspath_prepend(str(BENCH))

    def load(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


def graph_of(*, quantized: bool, scale: float = 0.01) -> bytes:
    """Return x [B, 4, 6] @ w [6, 8], times itself transposed, and [B, 2] logits of the last row."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 9, (6, 8)).astype(np.int8)
    head = rng.normal(size=(8, 2)).astype(np.float32)
    tensors = {
        "head": head,
        "scale": np.float32(scale),
        "zero": np.int8(0),
        "last": np.int64(3),
    }
    nodes = []
    if quantized:
        tensors["w8"] = weight
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
            helper.make_node("DequantizeLinear", ["x8", "scale", "zero"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"]),
            helper.make_node("Identity", ["xd"], ["in"]),
        ]
    else:
        tensors["w"] = weight.astype(np.float32) * np.float32(scale)
        nodes.append(helper.make_node("Identity", ["x"], ["in"]))
    nodes += [
        helper.make_node("MatMul", ["in", "w"], ["y"]),
        helper.make_node("Transpose", ["y"], ["yt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["y", "yt"], ["products"]),
        helper.make_node("MatMul", ["products", "y"], ["mixed"]),
        helper.make_node("Gather", ["mixed", "last"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("quantized", "int8"),
    [
        (False, 0),
        (True, 4 * 6 * 8),  # the head and the products of two computed values are not
    ],
)
def test_int8_work_is_what_reads_dequantized_operands(bench, quantized, int8):
    macs = bench("int8_macs").count_macs(
        graph_of(quantized=quantized), {"x": np.zeros((1, 4, 6), np.float32)}
    )
    assert (macs.total, macs.int8) == (4 * 6 * 8 + 8 * 2, int8)


def test_a_graph_does_not_drift_from_itself_and_one_on_another_scale_does(bench):
    drift = bench("int8_drift")
    inputs = {"x": np.random.default_rng(1).normal(size=(40, 4, 6)).astype(np.float32)}
    graph = graph_of(quantized=False, scale=0.1)
    evaluator = drift.DriftEvaluator(graph, inputs, live_index=1, threshold=0.5, batch=16)
    same = evaluator.unfused(graph)
    assert (same.mean_drift, same.largest_drift, same.flips) == (0.0, 0.0, 0)
    moved = evaluator.unfused(graph_of(quantized=False, scale=0.05))
    assert moved.mean_drift > 0.0
    assert moved.flips == 0  # every logit shrinks eightfold: no sign changes
    # error = logits - logits / 8, so the power ratio is (8 / 7) squared
    assert moved.logit_sqnr_db == pytest.approx(20 * np.log10(8 / 7), abs=1e-3)


def test_a_flip_is_a_verdict_that_changes_at_the_threshold(bench):
    drift = bench("int8_drift")
    inputs = {"x": np.random.default_rng(2).normal(size=(40, 4, 6)).astype(np.float32)}
    graph = graph_of(quantized=False, scale=0.1)
    other = graph_of(quantized=False, scale=0.05)
    before, after = (
        drift.DriftEvaluator(g, inputs, live_index=1, threshold=None, batch=40).scores
        for g in (graph, other)
    )
    threshold = 0.7
    expected = int(((before > threshold) != (after > threshold)).sum())
    assert expected > 0
    evaluator = drift.DriftEvaluator(graph, inputs, live_index=1, threshold=threshold, batch=7)
    assert evaluator.unfused(other).flips == expected
