"""Share of a graph's Linear and Conv multiply-accumulates in INT8, for any quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operators allowed between a Q/DQ pair and the layer that reads it.
_PASSED = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_QUANTIZING = ("DequantizeLinear", "QuantizeLinear")


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one call.

    Attributes:
        total: Multiply-accumulates of all MatMul, Gemm and Conv nodes with a constant operand.
        int8: Multiply-accumulates of those nodes whose operands both come out of a
            DequantizeLinear.
    """

    total: int
    int8: int

    @property
    def share(self) -> float:
        """Share in INT8, in [0, 1]."""
        return self.int8 / max(1, self.total)


def count_macs(graph: bytes, inputs: Mapping[str, NDArray[np.float32]]) -> Macs:
    """Run a graph once and count.

    Args:
        graph: Path of the ONNX file.
        inputs: Graph inputs of one capture, by name.

    Returns:
        Products of two computed values, such as attention's, are no Linear and are not counted.
    """
    import onnx
    import onnxruntime as ort
    from onnx import helper

    model = onnx.load_model_from_string(graph)
    made = {name: node for node in model.graph.node for name in node.output}
    constant = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        traced = [_trace(name, made, constant) for name in node.input[:2]]
        if not any(operand.is_constant for operand in traced):
            continue
        layers.append((node, all(operand.is_dequantized for operand in traced)))
    shapes = [name for node, _ in layers for name in (*node.input[:2], node.output[0]) if name]
    for name in dict.fromkeys(shapes):
        model.graph.node.append(helper.make_node("Shape", [name], [f"{name}/shape"]))
        model.graph.output.append(onnx.ValueInfoProto(name=f"{name}/shape"))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    fed = {
        i.name: inputs[i.name].astype(np.float16 if "float16" in i.type else np.float32)
        for i in session.get_inputs()
    }
    wanted = [output.name for output in session.get_outputs() if output.name.endswith("/shape")]
    found = dict(zip(wanted, session.run(wanted, fed), strict=True))
    total = quantized = 0
    for node, in_int8 in layers:
        left, right, out = (found[f"{name}/shape"] for name in (*node.input[:2], node.output[0]))
        macs = int(out.prod()) * _inner(node, left, right)
        total += macs
        quantized += macs if in_int8 else 0
    return Macs(total, quantized)


@dataclass(frozen=True)
class _Operand:
    is_constant: bool
    is_dequantized: bool


def _trace(name: str, made: Mapping[str, Any], constant: Mapping[str, Any]) -> _Operand:
    """Return whether an operand is constant and whether it is dequantized."""
    dequantized = False
    while name in made and made[name].op_type in (*_PASSED, *_QUANTIZING):
        dequantized |= made[name].op_type == "DequantizeLinear"
        name = made[name].input[0]
    is_constant = name in constant or (name in made and made[name].op_type == "Constant")
    return _Operand(is_constant, dequantized)


def _inner(node: Any, left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    """Return how many products one output value sums."""
    if node.op_type == "Conv":
        return int(right[1:].prod())
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return int(left[-2] if transposed else left[-1])
