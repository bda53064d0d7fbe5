"""Q/DQ reference: float16 is rounded behind every operator, and Q/DQ is not fused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fasdk.errors import BackendError
from fasdk_engines.quantization import run_qdq_reference

_HALF = """
<ir_version: 8, opset_import: ["" : 19]>
g (float[batch,2] x) => (float[batch,2] logits)
{
  half = Cast <to = 10> (x)
  BODY
  logits = Cast <to = 1> (done)
}
"""


def _graph(body: str) -> bytes:
    model = onnx.parser.parse_model(_HALF.replace("BODY", body))
    for name, value in (
        ("tiny", np.float16(2.0**-11)),
        ("scale", np.float16(0.1)),
        ("zero", np.int8(0)),
    ):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    return bytes(model.SerializeToString())


def test_a_sum_that_float16_cannot_hold_is_rounded() -> None:
    # 1 + 2^-11 lies between two float16 numbers; in float32, as the CPU computes it, it is kept.
    graph = _graph("once = Add (half, tiny) done = Sub (once, tiny)")
    found = run_qdq_reference(graph, {"x": np.ones((1, 2), np.float32)})
    assert found.tolist() == [[np.float16(1) - np.float16(2.0**-11)] * 2]


def test_values_become_int8_codes_and_those_beyond_are_clipped() -> None:
    graph = _graph(
        "coded = QuantizeLinear (half, scale, zero) done = DequantizeLinear (coded, scale, zero)"
    )
    found = run_qdq_reference(graph, {"x": np.array([[0.26, 99.0]], np.float32)})
    assert np.allclose(found, [[0.3, 12.7]], atol=0.01)


def test_a_graph_that_cannot_run_raises_backend_error() -> None:
    graph = _graph("done = Add (half, tiny)")
    with pytest.raises(BackendError, match="failed on the Q/DQ graph"):
        run_qdq_reference(graph, {"x": np.ones((1, 3), np.float32)})
