"""Conversion of a graph to opset 19, its function unchanged."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk.errors import ExportError
from fasdk_engines.quantization.graph.opset import OPSET, raise_opset

from support import networks


def test_a_reduction_s_axes_become_an_operand() -> None:
    model, batch = networks.network("transformer"), networks.captures(3)
    exact = networks.run(model.SerializeToString(), batch)
    raise_opset(model)
    assert model.opset_import[0].version == OPSET
    onnx.checker.check_model(model)
    assert np.array_equal(networks.run(model.SerializeToString(), batch), exact)


def test_a_split_without_sizes_gets_num_outputs() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (float[4,6] x) => (float[4,3] a, float[4,3] b) { a, b = Split <axis = 1> (x) }"
    )
    raise_opset(model)
    onnx.checker.check_model(model)


def test_a_newer_graph_is_left_alone() -> None:
    model = networks.network("transformer")
    model.opset_import[0].version = 21
    raise_opset(model)
    assert model.opset_import[0].version == 21


def test_an_older_graph_is_refused() -> None:
    model = networks.network("transformer")
    model.opset_import[0].version = 16
    with pytest.raises(ExportError, match="opset 16, INT8 needs 17"):
        raise_opset(model)
