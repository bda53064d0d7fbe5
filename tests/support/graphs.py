"""Small typed ONNX graphs and bundles for the backends' tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fasdk.bundle.bundle import write_bundle as write
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import Manifest, ModelInfo, Precision, Provenance
from fasdk.bundle.members import GRAPH
from fasdk.capture import Capture, Modality
from fasdk.decision import OperatingPoint
from fasdk.preprocess import CropRule, PreprocessSpec, to_batch

SIZE = 16


def small_graph(*, half: bool = False, width: int = 4, batch: str | int = "batch") -> bytes:
    """Return conv → pool → linear on `rgb`, float32 at both ends, float16 inside if `half`."""
    rng = np.random.default_rng(7)
    inner = np.float16 if half else np.float32
    weights = {
        "kernel": rng.standard_normal((width, 3, 3, 3)).astype(inner),
        "linear": rng.standard_normal((width, 2)).astype(inner),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "linear"], ["y"]),
    ]
    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes.insert(0, helper.make_node("Cast", ["rgb"], ["x"], to=to))
    nodes.append(helper.make_node("Cast", ["y"], ["logits"], to=TensorProto.FLOAT))
    return model(nodes, weights, batch=batch)


def model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
    *,
    batch: str | int = "batch",
    dtype: int = TensorProto.FLOAT,
) -> bytes:
    """Return a graph from `rgb` [batch, 3, 16, 16] to `logits` [batch, 2]."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("rgb", dtype, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


SPEC = PreprocessSpec(
    width=SIZE, height=SIZE, crop=CropRule.FRAME, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)
)


def capture(seed: int) -> Capture:
    """Return an RGB capture of the graph's own size."""
    rng = np.random.default_rng(seed)
    return Capture(rgb=rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))


def graph_logits(graph: bytes, captures: list[Capture]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what ONNX Runtime says of the captures."""
    from fasdk.backends.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(graph, threads=1).run(to_batch(captures, {Modality.RGB: SPEC})).logits


def write_small_bundle(path: Path, *, golden: int = 2, **changes: Any) -> Path:
    """Write a bundle of `small_graph` with golden captures and one operating point."""
    graph = small_graph()
    captures = [capture(seed) for seed in range(golden)]
    members = {GRAPH: graph} | changes.pop("members", {})
    for index, (item, logits) in enumerate(
        zip(captures, graph_logits(graph, captures) if captures else [], strict=True)
    ):
        members[f"golden/{index}.npz"] = GoldenCapture(item, logits).to_bytes()
    manifest = Manifest(
        product="small",
        model=ModelInfo(family="small", config={}, parameters=116, published_in="nowhere"),
        modalities=(Modality.RGB,),
        required=(Modality.RGB,),
        inputs={Modality.RGB: SPEC},
        labels=("attack", "bona fide"),
        live_index=1,
        reliability=False,
        precision=Precision.FP32,
        operating_points=(
            OperatingPoint(
                level="standard",
                modalities=(Modality.RGB,),
                threshold=0.5,
                source="none",
                apcer_upper=1.0,
                graph_sha256=hashlib.sha256(graph).hexdigest(),
            ),
        ),
        operating_points_note="for tests",
        max_batch=4,
        golden_tolerance=0.01,
        provenance=Provenance(checkpoint_sha256="0" * 64, tools={}),
    )
    write(path, manifest.model_copy(update=changes), members)
    return path
