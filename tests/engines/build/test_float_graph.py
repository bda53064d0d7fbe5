"""Folding of batch norm in the FP32 graph of a build."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from fasdk.capture import Modality
from fasdk_engines.build import float_graph
from fasdk_engines.build.float_graph import FloatGraph, fold_graph
from fasdk_engines.graph.runner import GraphRunner

from support.trained_network import colored_captures, spec, trained_network

CAPTURES = [labeled.capture for labeled in colored_captures(6, seed=4)]


@pytest.fixture
def source() -> FloatGraph:
    """The trained network as an FP32 graph with fasdk's names."""
    model = trained_network()
    for node in model.graph.node:
        node.input[:] = ["rgb" if name == "image" else name for name in node.input]
        node.output[:] = ["logits" if name == "answer" else name for name in node.output]
    model.graph.input[0].name, model.graph.output[0].name = "rgb", "logits"
    described = SimpleNamespace(
        specs={Modality.RGB: spec("level/255")}, family=SimpleNamespace(presence_order=None)
    )
    return FloatGraph(
        graph=model.SerializeToString(),
        model=described,  # type: ignore[arg-type]
        parameters=1,
        source_sha256="0" * 64,
        torch_parity=None,
        graph_parity=0.0,
        notes=("converted",),
    )


def operators(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node]


def logits(source: FloatGraph) -> np.ndarray:
    return GraphRunner(source.graph, source.model.specs).logits(CAPTURES)


def test_batch_norm_is_folded_and_noted(source):
    folded = fold_graph(source, SimpleNamespace(emulation=CAPTURES))
    assert "BatchNormalization" in operators(source.graph)
    assert "BatchNormalization" not in operators(folded.graph)
    assert folded.notes == ("converted", "1 batch norm was folded into the layers beside")
    np.testing.assert_allclose(logits(folded), logits(source), atol=1e-4)


def test_a_fold_that_would_move_a_score_is_left_out(source, monkeypatch):
    monkeypatch.setattr(float_graph, "_FOLD_BUDGET", -1.0)
    kept = fold_graph(source, SimpleNamespace(emulation=CAPTURES))
    assert kept.graph == source.graph
    assert "batch norm was not folded: a score would move by" in kept.notes[-1]


def test_a_graph_without_batch_norm_stays_as_it_is(source):
    once = fold_graph(source, SimpleNamespace(emulation=CAPTURES))
    assert fold_graph(once, SimpleNamespace(emulation=CAPTURES)) is once
