"""Small networks with the shapes that quantization handles, and captures for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from fasdk.bundle.manifest import Precision
from fasdk.capture import Modality
from fasdk.preprocess import CropRule, PreprocessSpec
from fasdk_engines.quantization import Quantizer

SPEC = PreprocessSpec(
    width=16,
    height=16,
    crop=CropRule.FRAME,
    mean=(120.0, 110.0, 100.0),
    std=(60.0, 55.0, 50.0),
    missing_value=0.0,
)
SPECS = {Modality.RGB: SPEC}

# Patches, a norm read by three layers, one of them too small; a residual; an activation whose mean
# is not zero; a head. The tests use these node and value names.
_TRANSFORMER = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[batch,3,16,16] rgb) => (float[batch,2] logits)
<
  int64[6] split = {-1, 3, 4, 4, 4, 4}, int64[2] rows = {-1, 48}, int64[3] tokens = {-1, 16, 32}
>
{
  [cut] squares = Reshape (rgb, split)
  [turn] turned = Transpose <perm = [0, 2, 4, 1, 3, 5]> (squares)
  [lay] patches = Reshape (turned, rows)
  [embed] squared = MatMul (patches, embed_w)
  [place] embedded = Add (squared, position)
  [norm] normed = LayerNormalization <axis = -1, epsilon = 1e-5> (embedded, norm_w, norm_b)
  [expand] wide = Gemm (normed, expand_w, expand_b)
  [value] valued = MatMul (normed, value_w)
  [narrow] few = MatMul (normed, narrow_w)
  [gate] gated = Sigmoid (wide)
  [act] acted = Mul (wide, gated)
  [contract] contracted = Gemm (acted, contract_w, embedded)
  [add] summed = Add (contracted, valued)
  [widen] again = MatMul (few, widen_w)
  [both] hidden = Add (summed, again)
  [fold] by_capture = Reshape (hidden, tokens)
  [pool] pooled = ReduceMean <keepdims = 0, axes = [1]> (by_capture)
  [head] logits = Gemm <transB = 1> (pooled, head_w, head_b)
}
"""
_CONVOLUTIONS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[batch,3,16,16] rgb) => (float[batch,2] logits)
<int64[2] flat = {-1, 24}>
{
  [first] a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (rgb, c1, b1)
  [bend] b = Relu (a)
  [second] c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, c2, b2)
  [third] d = Conv <kernel_shape = [3, 3], group = 12, pads = [1, 1, 1, 1]> (c, c3, b3)
  [fourth] e = Conv <kernel_shape = [1, 1]> (d, c4)
  [average] f = GlobalAveragePool (e)
  [flatten] g = Reshape (f, flat)
  [head] logits = Gemm (g, head_w, head_b)
}
"""
_SHAPES = {
    "transformer": {
        "embed_w": (48, 32),
        "position": (32,),
        "norm_w": (32,),
        "norm_b": (32,),
        "expand_w": (32, 64),
        "expand_b": (64,),
        "value_w": (32, 32),
        "narrow_w": (32, 8),
        "contract_w": (64, 32),
        "widen_w": (8, 32),
        "head_w": (2, 32),
        "head_b": (2,),
    },
    "convolutions": {
        "c1": (24, 3, 3, 3),
        "b1": (24,),
        "c2": (24, 24, 3, 3),
        "b2": (24,),
        "c3": (24, 2, 3, 3),
        "b3": (24,),
        "c4": (24, 24, 1, 1),
        "head_w": (24, 2),
        "head_b": (2,),
    },
}
_TEXT = {"transformer": _TRANSFORMER, "convolutions": _CONVOLUTIONS}


def network(name: str, seed: int = 0) -> onnx.ModelProto:
    """Return a network with seeded weights, its channels of very different sizes."""
    model = onnx.parser.parse_model(_TEXT[name])
    rng = np.random.default_rng(seed)
    for weight, shape in _SHAPES[name].items():
        fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
        value = rng.normal(0.0, 1.0 / np.sqrt(fan_in), shape)
        if weight == "norm_w":
            value = rng.lognormal(0.0, 1.0, shape)
        if weight in ("norm_b", "position"):
            value = rng.normal(0.0, 2.0, shape)
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(value.astype(np.float32), weight)
        )
    onnx.checker.check_model(model)
    return model


def graph(name: str, seed: int = 0) -> bytes:
    """Return the same as a file."""
    return bytes(network(name, seed).SerializeToString())


def captures(count: int, seed: int = 0) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return smooth images as the preprocessing makes them; the last has no RGB."""
    rng = np.random.default_rng([7, seed])
    coarse = rng.uniform(0, 255, (count, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
    levels = np.clip(coarse + rng.normal(0, 12, (count, 3, 16, 16)), 0, 255).astype(np.uint8)
    rgb = np.stack([np.take(SPEC.table[c], levels[:, c]) for c in range(3)], axis=1)
    rgb[-1] = SPEC.missing_value
    return {"rgb": rgb.astype(np.float32)}


def run(data: bytes, batch: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the logits of a float32 graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, np.dtype[np.float32]] = session.run(["logits"], batch)[0]
    return found


def decibels(exact: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    """Return how far the error lies below the variance of what is exact."""
    error = np.mean((found.astype(np.float64) - exact) ** 2) + 1e-30
    return float(10 * np.log10(np.var(exact.astype(np.float64), axis=0).mean() / error))


def prepare(name: str, precision: Precision = Precision.INT8, **options: object) -> Quantizer:
    """Calibrate a network on 48 captures."""
    return Quantizer.prepare(
        graph(name),
        [captures(48)],
        SPECS,
        precision=precision,
        **options,  # type: ignore[arg-type]
    )
