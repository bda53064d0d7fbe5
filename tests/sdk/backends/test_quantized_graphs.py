"""ONNX Runtime on Q/DQ graphs: operators as written, or fused for int8-fp32."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.backends.registry import open_engine
from fasdk.bundle.manifest import Precision

onnx = pytest.importorskip("onnx")


def _saturating() -> bytes:
    """Return a product whose pairs of weights a CPU without VNNI cannot add in 16 bits."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch,64] rgb) => (float[batch,2] logits)
        <float one = {1.0}, int8 zero = {0}>
        {
          coded = QuantizeLinear (rgb, one, zero)
          value = DequantizeLinear (coded, one, zero)
          weight = DequantizeLinear <axis = 1> (levels, ones, zeros)
          logits = MatMul (value, weight)
        }
        """
    )
    for name, value in (
        ("levels", np.full((64, 2), 127, np.int8)),
        ("ones", np.ones(2, np.float32)),
        ("zeros", np.zeros(2, np.int8)),
    ):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return bytes(model.SerializeToString())


BATCH = {"rgb": np.full((4, 64), 127, np.float32)}
EXACT = 64 * 127 * 127


def test_unless_told_otherwise_it_runs_what_is_written() -> None:
    engine = OnnxRuntimeEngine(_saturating(), threads=1)
    assert np.all(engine.run(BATCH).logits == EXACT)


@pytest.mark.skipif(
    "vnni" in Path("/proc/cpuinfo").read_text() or "avx2" not in Path("/proc/cpuinfo").read_text(),
    reason="this CPU adds products in 32 bits",
)
def test_fused_kernels_saturate_which_is_why_they_are_asked_for() -> None:
    engine = OnnxRuntimeEngine(_saturating(), threads=1, as_written=False)
    assert np.all(engine.run(BATCH).logits < EXACT)


@pytest.mark.parametrize(
    ("precision", "fused"),
    [
        (Precision.FP32, False),
        (Precision.FP16, False),
        (Precision.INT8, False),
        (Precision.INT8_FP32, True),
    ],
)
def test_only_the_form_made_for_the_cpu_is_fused(
    precision: Precision, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fasdk.backends.onnxruntime as module

    asked: list[bool] = []

    def engine(_: bytes, *, threads: int, as_written: bool) -> None:
        asked.append(as_written)

    monkeypatch.setattr(module, "OnnxRuntimeEngine", engine)
    bundle = SimpleNamespace(graph=b"", manifest=SimpleNamespace(precision=precision))
    open_engine(bundle, Backend.ONNXRUNTIME, threads=1)  # type: ignore[arg-type]
    assert asked == [not fused]
