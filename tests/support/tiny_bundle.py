"""Smallest real bundle: a graph of averages that scores a bright face live."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import write_bundle
from fasdk.bundle.calibration import CALIBRATION_SCHEMA
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import Manifest, ModelInfo, Precision, Provenance
from fasdk.bundle.members import CALIBRATION, GRAPH
from fasdk.bundle.signing import open_signer
from fasdk.capture import Capture, Modality
from fasdk.decision import OperatingPoint, ScoreCalibration
from fasdk.preprocess import (
    CropRule,
    DepthEncoding,
    DepthPolarity,
    PreprocessSpec,
    to_batch,
)

SIZE = 16
ALL = (Modality.RGB, Modality.DEPTH, Modality.IR)


@lru_cache
def graph_bytes(reliability: bool = True) -> bytes:
    """Return an ONNX graph: averages of rgb, depth and ir, then one matrix product.

    logits [B, 2] are (attack, bona fide) = (0, 4 * rgb + depth + ir); reliability [B, 3] is a
    sigmoid of the three averages.
    """
    names = [m.value for m in ALL]
    nodes = []
    for name in names:
        nodes += [
            helper.make_node("GlobalAveragePool", [name], [f"{name}_pool"]),
            helper.make_node("Flatten", [f"{name}_pool"], [f"{name}_mean"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"{n}_mean" for n in names], ["means"], axis=1),
        helper.make_node("Gemm", ["means", "weight"], ["logits"]),
    ]
    weight = np.zeros((9, 2), np.float32)
    weight[:, 1] = [4 / 3] * 3 + [1 / 3] * 6
    initializers = [numpy_helper.from_array(weight, "weight")]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    if reliability:
        pick = np.kron(np.eye(3), np.full((3, 1), 1 / 3)).astype(np.float32)
        initializers.append(numpy_helper.from_array(pick, "pick"))
        nodes += [
            helper.make_node("Gemm", ["means", "pick"], ["certainty"]),
            helper.make_node("Sigmoid", ["certainty"], ["reliability"]),
        ]
        outputs.append(
            helper.make_tensor_value_info("reliability", TensorProto.FLOAT, ["batch", 3])
        )
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3, SIZE, SIZE]) for n in names
    ]
    graph = helper.make_graph(nodes, "averages", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def capture(level: int = 200, modalities=ALL, seed: int = 0, face=None) -> Capture:
    """Return a capture whose 8-bit frames average `level`; depth is 500 mm throughout."""
    rng = np.random.default_rng(seed)
    frames = {}
    if Modality.RGB in modalities:
        frames["rgb"] = np.clip(rng.normal(level, 5, (24, 32, 3)), 0, 255).astype(np.uint8)
    if Modality.DEPTH in modalities:
        frames["depth"] = np.full((24, 32), 500, np.uint16)
    if Modality.IR in modalities:
        frames["ir"] = np.clip(rng.normal(level, 5, (24, 32)), 0, 255).astype(np.uint8)
    return Capture(**frames, face=face)


def graph_sha256(reliability: bool = True) -> str:
    return hashlib.sha256(graph_bytes(reliability)).hexdigest()


def point(
    level="standard", modalities=ALL, threshold=0.5, *, calibrated=False, graph=None
) -> OperatingPoint:
    """Return an operating point of the tiny graph, or of the graph whose digest is given."""
    return OperatingPoint(
        level=level,
        modalities=modalities,
        threshold=threshold,
        source="made up for this test",
        apcer_upper=0.1,
        graph_sha256=graph or graph_sha256(),
        calibrated=calibrated,
    )


def calibration(slope=2.0, offset=-1.0, modalities=ALL, graph=None) -> ScoreCalibration:
    """Return a score calibration of the tiny graph, or of the graph whose digest is given."""
    return ScoreCalibration(
        modalities=modalities,
        slope=slope,
        offset=offset,
        graph_sha256=graph or graph_sha256(),
        source="made up for this test",
    )


def manifest(**changes) -> Manifest:
    """Return a valid manifest of the tiny graph, `members` still empty."""
    spec = PreprocessSpec(
        width=SIZE, height=SIZE, crop=CropRule.FRAME, mean=(127.5,) * 3, std=(127.5,) * 3
    )
    graph = graph_sha256(changes.get("reliability", True))
    encoding = DepthEncoding(near_mm=250, far_mm=750, polarity=DepthPolarity.NEAR_BRIGHT)
    settings = {
        "product": "averages",
        "model": ModelInfo(family="averages", config={}, parameters=18, published_in="this test"),
        "modalities": ALL,
        "required": (Modality.RGB,),
        "inputs": {
            Modality.RGB: spec,
            Modality.DEPTH: spec.model_copy(update={"depth": encoding, "missing_value": -1.0}),
            Modality.IR: spec,
        },
        "labels": ("attack", "bona fide"),
        "live_index": 1,
        "reliability": True,
        "precision": Precision.FP32,
        "operating_points": (
            point(graph=graph),
            point(modalities=(Modality.RGB,), threshold=0.9, graph=graph),
        ),
        "operating_points_note": "made up for this test",
        "max_batch": 4,
        "golden_tolerance": 0.01,
        "provenance": Provenance(
            checkpoint_sha256=hashlib.sha256(b"averages").hexdigest(),
            tools={"onnx": "1"},
            notes=("made up",),
        ),
    }
    return Manifest(**(settings | changes))


def golden(item: Capture, described: Manifest, graph: bytes) -> GoldenCapture:
    """Return a golden capture with the logits the graph itself gives."""
    engine = OnnxRuntimeEngine(graph, threads=1)
    return GoldenCapture(item, engine.run(to_batch([item], described.inputs)).logits[0])


def calibration_json(**changes: object) -> bytes:
    """Return a calibration.json of the current schema that names nobody, changed as asked."""
    return json.dumps({"schema_version": CALIBRATION_SCHEMA, **changes}).encode()


def members(described: Manifest) -> dict[str, bytes]:
    """Return every member of the tiny bundle but its manifest."""
    graph = graph_bytes(described.reliability)
    captures = [capture(200), capture(60, face=(4, 3, 20, 15)), capture(180, (Modality.RGB,))]
    captures = [c for c in captures if set(described.required) <= set(c.present)]
    return {
        GRAPH: graph,
        "evaluation.json": b'{"captures":3}',
        CALIBRATION: calibration_json(),
    } | {
        f"golden/{number}.npz": golden(item, described, graph).to_bytes()
        for number, item in enumerate(captures)
    }


def write(path: Path, sign_key: Path | None = None, **changes) -> Path:
    """Write the tiny bundle, its manifest changed as asked, signed by the build key or another."""
    described = manifest(**changes)
    write_bundle(path, described, members(described), open_signer(sign_key))
    return path
