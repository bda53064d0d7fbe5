"""Small graphs with the operators of the published models, written by hand: no torch needed."""

from __future__ import annotations

import numpy as np
import onnx

_BLOCK = """
<ir_version: 8, opset_import: ["" : 18]>
block (float[batch,3,16,16] rgb) => (float[batch,2] logits, float[batch,1] reliability)
<
  int64[3] token_shape = {0, 8, 16}, int64[1] last = {-1}, int64[1] second = {1},
  float rate = {-1.5}, float[1] slope = {0.25}
>
{
  [embed] patches = Conv <kernel_shape = [4, 4], strides = [4, 4]> (rgb, patch_w, patch_b)
  [bend] bent = PRelu (patches, slope)
  [flatten] flat = Reshape (bent, token_shape)
  [order] tokens = Transpose <perm = [0, 2, 1]> (flat)
  [norm] normed = LayerNormalization <axis = -1, epsilon = 1e-6> (tokens, norm_w, norm_b)
  [ask] query = MatMul (normed, query_w)
  [turn] key = Transpose <perm = [0, 2, 1]> (normed)
  [score] scores = MatMul (query, key)
  [soften] weights = Softmax <axis = -1> (scores)
  [mix] mixed = MatMul (weights, normed)
  [join] hidden = Add (tokens, mixed)
  [size] magnitude = Abs (mixed)
  [scale] decay = Mul (magnitude, rate)
  [certain] certainty = Exp (decay)
  [mean] per_token = ReduceMean <keepdims = 0> (certainty, last)
  [rescale] rescaled = Mul (per_token, rate)
  [overall] per_capture = ReduceMean <keepdims = 1> (rescaled, second)
  [clip] reliability = Clip (per_capture, low, high)
  [pool] pooled = ReduceMean <keepdims = 0> (hidden, second)
  [head] logits = Gemm (pooled, head_w, head_b)
}
"""

_WEIGHTS = {
    "patch_w": (8, 3, 4, 4),
    "patch_b": (8,),
    "norm_w": (8,),
    "norm_b": (8,),
    "query_w": (8, 8),
    "head_w": (8, 2),
    "head_b": (2,),
}


def block() -> onnx.ModelProto:
    """Return a one-block vision transformer with MMDG's certainty branch; 16 by 16 pixels."""
    model = parse(_BLOCK)
    rng = np.random.default_rng(0)
    for name, shape in _WEIGHTS.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        add_weight(model, name, rng.standard_normal(shape) / np.sqrt(fan_in))
    add_weight(model, "low", np.float32(-2.0))
    add_weight(model, "high", np.float32(1.0))
    return model


def layer_norm(*, fused: bool) -> onnx.ModelProto:
    """Return a LayerNorm of 64 features and a head, as one operator or decomposed."""
    decomposed = """
      [mean] mean = ReduceMean (x, last)
      [center] centerd = Sub (x, mean)
      [square] squared = Pow (centerd, two)
      [variance] variance = ReduceMean (squared, last)
      [guard] guarded = Add (variance, epsilon)
      [root] deviation = Sqrt (guarded)
      [divide] normed = Div (centerd, deviation)
    """
    model = parse(
        f"""
        <ir_version: 8, opset_import: ["" : 18]>
        norm (float[batch,64] x) => (float[batch,2] logits)
        <int64[1] last = {{-1}}, float two = {{2.0}}, float epsilon = {{0.00001}}>
        {{
          {"[norm] normed = LayerNormalization (x, gain)" if fused else decomposed}
          [head] logits = MatMul (normed, head_w)
        }}
        """
    )
    rng = np.random.default_rng(1)
    add_weight(model, "gain", np.ones(64))
    add_weight(model, "head_w", rng.standard_normal((64, 2)) / 8.0)
    return model


def parse(text: str) -> onnx.ModelProto:
    """Parse ONNX's text form."""
    return onnx.parser.parse_model(text)


def add_weight(model: onnx.ModelProto, name: str, value: object) -> None:
    """Append a float32 initializer."""
    tensor = onnx.numpy_helper.from_array(np.asarray(value, np.float32), name)
    model.graph.initializer.append(tensor)


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """Return an initializer by name."""
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """Return a node by name."""
    return next(node for node in model.graph.node if node.name == name)


def images(batch: int, seed: int = 2) -> dict[str, np.ndarray]:
    """Return inputs for `block`, about [-1, 1]."""
    rng = np.random.default_rng(seed)
    return {"rgb": np.tanh(rng.standard_normal((batch, 3, 16, 16))).astype(np.float32)}


def run(graph: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph on ONNX Runtime and return its outputs by name."""
    import onnxruntime as ort

    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
