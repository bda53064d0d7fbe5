"""Bundles of any preprocessing, and random captures of every shape for them.

The graph multiplies every value of every input by a weight of its own, so that logits tell rows,
planes and modalities apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import Bundle, open_bundle, write_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.manifest import Manifest, ModelInfo, Precision, Provenance
from fasdk.bundle.members import GRAPH
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.decision import OperatingPoint
from fasdk.errors import FasdkError
from fasdk.preprocess import (
    Border,
    ChannelOrder,
    CropBounds,
    CropRule,
    CropShape,
    DepthEncoding,
    Fit,
    Interpolation,
    IrComposite,
    PreprocessSpec,
    input_shapes,
    to_batch,
)
from fasdk.quality.gates import assess
from fasdk.scorer import Scorer

ALL = tuple(Modality)
Specs = dict[Modality, PreprocessSpec]
# Landmarks of a face, as shares of its box.
_FACE = np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.83), (0.63, 0.82)])


def random_specs(draw: np.random.Generator) -> Specs:
    """Return preprocessing of all three modalities, by any rules."""
    return {modality: _random_spec(draw, modality) for modality in ALL}


def _random_spec(draw: np.random.Generator, modality: Modality) -> PreprocessSpec:
    while True:
        with suppress(ValidationError):  # a setting that another one leaves without effect
            return PreprocessSpec.model_validate(_random_settings(draw, modality))


def _random_settings(draw: np.random.Generator, modality: Modality) -> dict[str, Any]:
    def one_of(choices: Any) -> Any:
        return list(choices)[int(draw.integers(len(list(choices))))]

    width, height = (int(side) for side in draw.integers(1, 41, 2))
    crop = one_of(CropRule)
    given: dict[str, Any] = {
        "width": width,
        "height": height,
        "crop": crop,
        "mean": tuple(draw.uniform(1.5, 255, 3).tolist()),
        "std": tuple(draw.uniform(1.5, 255, 3).tolist()),
        "missing_value": float(draw.normal()),
        "border": one_of(Border),
    }
    if modality is Modality.DEPTH:
        near_mm = int(draw.integers(100, 1000))
        given["depth"] = DepthEncoding(
            near_mm=near_mm, far_mm=near_mm + int(draw.integers(1, 2000)), polarity="near-bright"
        )
    if given["border"] is Border.CONSTANT:
        given["border_level"] = int(draw.integers(0, 256))
    if crop is CropRule.LANDMARKS:
        share = draw.uniform(0.6, 1.2)
        positions = (_FACE - 0.5) * share * min(width, height) + np.array([width, height]) / 2
        given["landmark_positions"] = [tuple(p) for p in positions.tolist()]
    else:
        given["fit"] = one_of(Fit)
        given["interpolation"] = one_of(Interpolation)
    if crop is CropRule.FACE:
        given |= {
            "crop_scale": float(draw.uniform(0.3, 3.0)),
            "crop_shape": one_of(CropShape),
            "crop_bounds": one_of(CropBounds),
        }
    if given.get("fit") is Fit.STRETCH and given.get("crop_bounds") is not CropBounds.PAD:
        given.pop("border")
        given.pop("border_level", None)
    if modality is Modality.RGB:
        given["channel_order"] = one_of(ChannelOrder)
    if modality is Modality.IR and draw.random() < 0.1:
        given["ir_composite"] = IrComposite.IR_HOG_PLGF
    return given


def random_capture(draw: np.random.Generator, *, longest_px: int = 80) -> Capture:
    """Return a capture of random sizes, strides, landmarks and modalities."""
    held = [modality for modality in ALL if draw.random() < 0.75] or [Modality.RGB]
    frames = {modality: _frame(draw, modality, longest_px) for modality in held}
    height, width = frames[held[0]].shape[:2]
    box_width, box_height = int(draw.integers(1, width + 1)), int(draw.integers(1, height + 1))
    x = int(draw.choice([0, width - box_width, draw.integers(0, width - box_width + 1)]))
    y = int(draw.choice([0, height - box_height, draw.integers(0, height - box_height + 1)]))
    angle = draw.normal(0.0, 0.3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([x + box_width / 2, y + box_height / 2]) + draw.normal(0, 3, 2)
    side = max(box_width, box_height) * draw.uniform(0.5, 1.5) + 4
    points = (_FACE - 0.5) @ turn.T * side + middle
    return Capture.of(frames, (x, y, box_width, box_height), points.astype(np.float32))


def _frame(draw: np.random.Generator, modality: Modality, longest_px: int) -> NDArray[Any]:
    height, width = (int(side) for side in draw.integers(1, longest_px + 1, 2))
    shape = (height, width, 3) if modality is Modality.RGB else (height, width)
    steps = [int(draw.choice([1, 1, 1, -1, 2])) for _ in shape]
    stored = tuple(abs(step) * size for step, size in zip(steps, shape, strict=True))
    if modality is not Modality.DEPTH:
        frame: NDArray[Any] = draw.integers(0, 256, stored, np.uint8)
    else:
        frame = draw.integers(0, 3000, stored, np.uint16)
        if draw.random() < 0.2:  # behind a header of odd length
            raw = np.frombuffer(b"\0" + frame.tobytes(), np.uint8)[1:]
            frame = raw.view(np.uint16).reshape(stored)
    return frame[tuple(slice(None, None, step) for step in steps)]


def fit_captures(
    scorer: Scorer, draw: np.random.Generator, *, longest_px: int = 80
) -> Iterator[Capture]:
    """Yield random captures, without end, that a bundle can score."""
    while True:
        capture = random_capture(draw, longest_px=longest_px)
        try:
            scorer.require(capture)
            scorer.batch([capture])  # a composite's crop may be too small
        except FasdkError:
            continue
        if not assess(capture, scorer.limits, now_ms=monotonic_ms()):  # depth as of meters
            yield capture


def graph_of(specs: Mapping[Modality, PreprocessSpec], *, presence: bool, seed: int = 0) -> bytes:
    """Return an ONNX graph of those inputs to `logits` [batch, 2]."""
    draw = np.random.default_rng(seed)
    shapes = input_shapes(specs, tuple(specs) if presence else None)
    nodes, inputs = [], []
    for name, shape in shapes.items():
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]))
        nodes.append(helper.make_node("Flatten", [name], [f"{name}_flat"]))
    nodes += [
        helper.make_node("Concat", [f"{name}_flat" for name in shapes], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "weight"], ["logits"]),
    ]
    values = sum(int(np.prod(shape)) for shape in shapes.values())
    weight = (draw.standard_normal((values, 2)) / np.sqrt(values)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "rows",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write(path: Path, specs: Specs, *, presence: bool = False, max_batch: int = 4) -> Bundle:
    """Write and open a bundle of that preprocessing, with two golden captures."""
    graph = graph_of(specs, presence=presence)
    modalities = tuple(specs)
    manifest = Manifest(
        product="rows",
        model=ModelInfo(family="rows", config={}, parameters=2, published_in="this test"),
        modalities=modalities,
        required=(),
        inputs=specs,
        labels=("attack", "bona fide"),
        live_index=1,
        reliability=False,
        presence=presence,
        precision=Precision.FP32,
        operating_points=tuple(
            OperatingPoint(
                level="standard",
                modalities=held,
                threshold=0.5,
                source="made up for this test",
                apcer_upper=0.1,
                graph_sha256=hashlib.sha256(graph).hexdigest(),
            )
            for held in _combinations(modalities)
        ),
        operating_points_note="made up for this test",
        max_batch=max_batch,
        golden_tolerance=0.01,
        provenance=Provenance(checkpoint_sha256="0" * 64, tools={}, notes=()),
    )
    engine = OnnxRuntimeEngine(graph, threads=1)
    members = {GRAPH: graph}
    for number, capture in enumerate(_golden(specs)):
        logits = engine.run(to_batch([capture], specs, manifest.presence_order)).logits[0]
        members[f"golden/{number}.npz"] = GoldenCapture(capture, logits).to_bytes()
    write_bundle(path, manifest, members)
    return open_bundle(path)


def _combinations(modalities: tuple[Modality, ...]) -> list[tuple[Modality, ...]]:
    chosen: list[tuple[Modality, ...]] = [()]
    for modality in modalities:
        chosen += [(*held, modality) for held in chosen]
    return chosen[1:]


def _golden(specs: Specs) -> list[Capture]:
    draw, found = np.random.default_rng(1), list[Capture]()
    while len(found) < 2:
        capture = random_capture(draw)
        try:
            to_batch([capture], specs)
        except FasdkError:
            continue
        if set(capture.present) & set(specs):
            found.append(capture)
    return found
