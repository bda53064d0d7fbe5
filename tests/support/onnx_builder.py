"""Small ONNX graphs in any opset, one method an operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Nodes and weights of a graph under construction.

    Args:
        opset: Opset version of every node.
        seed: Seed of the weights.
        dtype: Element type of the weights.
    """

    def __init__(self, opset: int, seed: int, dtype: type[np.floating] = np.float32) -> None:
        self.opset = opset
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)
        self._count = 0

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def weight(self, *shape: int, scale: float = 1.0, offset: float = 0.0) -> str:
        return self.constant(scale * self.rng.standard_normal(shape) + offset)

    def constant(self, values: object, dtype: type[np.generic] | None = None) -> str:
        own = self.name("w")
        array = np.array(values).astype(dtype or self.dtype)
        self.weights.append(numpy_helper.from_array(array, own))
        return own

    def ints(self, values: Sequence[int] | int) -> str:
        """An int64 constant, as a Constant node, where exporters write shapes and axes."""
        own = self.name("c")
        tensor = numpy_helper.from_array(np.array(values, np.int64), own)
        self.nodes.append(helper.make_node("Constant", [], [own], value=tensor))
        return own

    def op(self, operator: str, *inputs: str, **attributes: object) -> str:
        own = self.name(operator.lower())
        self.nodes.append(helper.make_node(operator, inputs, [own], own, **attributes))
        return own

    def conv(
        self, x: str, inside: int, outside: int, kernel: int, *, stride: int = 1, group: int = 1
    ) -> str:
        fan = inside // group * kernel * kernel
        w = self.weight(outside, inside // group, kernel, kernel, scale=(2.0 / fan) ** 0.5)
        b = self.weight(outside, scale=0.1)
        pad = kernel // 2
        return self.op(
            "Conv", x, w, b, kernel_shape=[kernel, kernel], strides=[stride, stride],
            pads=[pad] * 4, group=group,
        )  # fmt: skip

    def batch_norm(self, x: str, channels: int) -> str:
        scale = self.weight(channels, scale=0.1, offset=1.0)
        bias, mean = self.weight(channels, scale=0.1), self.weight(channels, scale=0.1)
        var = self.constant(0.5 + self.rng.random(channels))
        return self.op("BatchNormalization", x, scale, bias, mean, var, epsilon=1e-5)

    def linear(self, x: str, inside: int, outside: int) -> str:
        w = self.weight(inside, outside, scale=inside**-0.5)
        return self.op("Add", self.op("MatMul", x, w), self.weight(outside, scale=0.1))

    def gemm(self, x: str, inside: int, outside: int) -> str:
        w = self.weight(outside, inside, scale=2.0 * inside**-0.5)
        return self.op("Gemm", x, w, self.weight(outside, scale=0.5), transB=1)

    def reduce(self, operator: str, x: str, axes: Sequence[int], keepdims: int = 1) -> str:
        by_input = self.opset >= (13 if operator == "ReduceSum" else 18)
        if by_input:
            return self.op(operator, x, self.ints(axes), keepdims=keepdims)
        return self.op(operator, x, keepdims=keepdims, axes=list(axes))

    def squeeze(self, x: str, axes: Sequence[int] | None) -> str:
        if axes is None:
            return self.op("Squeeze", x)
        if self.opset >= 13:
            return self.op("Squeeze", x, self.ints(axes))
        return self.op("Squeeze", x, axes=list(axes))

    def unsqueeze(self, x: str, axes: Sequence[int]) -> str:
        if self.opset >= 13:
            return self.op("Unsqueeze", x, self.ints(axes))
        return self.op("Unsqueeze", x, axes=list(axes))

    def slice(self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]) -> str:
        if self.opset >= 10:
            return self.op("Slice", x, self.ints(starts), self.ints(ends), self.ints(axes))
        return self.op("Slice", x, starts=list(starts), ends=list(ends), axes=list(axes))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.op("Reshape", x, self.ints(shape))

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset >= 11:
            return self.op("Clip", x, self.constant(low), self.constant(high))
        return self.op("Clip", x, min=low, max=high)

    def dropout(self, x: str) -> str:
        if self.opset >= 12 and self.rng.random() < 0.5:
            return self.op("Dropout", x, self.constant(0.5), self.constant(False, np.bool_))
        return self.op("Dropout", x) if self.opset >= 12 else self.op("Dropout", x, ratio=0.5)

    def resize(self, x: str, channels: int, size: int, target: int, batch: int | None) -> str:
        """Nearest enlargement by two; by sizes, batch included, where the batch is fixed."""
        scales = self.constant([1.0, 1.0, target / size, target / size], np.float32)
        if self.opset == 9:
            return self.op("Upsample", x, scales, mode="nearest")
        if self.opset == 10:
            return self.op("Resize", x, scales, mode="nearest")
        mode = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        roi = self.constant(np.zeros(0), np.float32)
        if batch is None:
            return self.op("Resize", x, roi, scales, **mode)
        sizes = self.ints([batch, channels, target, target])
        empty = self.constant(np.zeros(0), np.float32) if self.opset < 13 else ""
        return self.op("Resize", x, roi, empty, sizes, **mode)

    def erf_gelu(self, x: str) -> str:
        half = self.op("Mul", x, self.constant(0.5))
        erf = self.op("Erf", self.op("Div", x, self.constant(2.0**0.5)))
        return self.op("Mul", half, self.op("Add", erf, self.constant(1.0)))

    def gelu(self, x: str) -> str:
        return self.op("Gelu", x) if self.opset >= 20 else self.erf_gelu(x)

    def layer_norm(self, x: str, width: int, *, fused: bool) -> str:
        scale, bias = self.weight(width, scale=0.1, offset=1.0), self.weight(width, scale=0.1)
        if fused and self.opset >= 17:
            return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
        centered = self.op("Sub", x, self.reduce("ReduceMean", x, [-1]))
        squared = self.op("Pow", centered, self.constant(2.0))
        variance = self.reduce("ReduceMean", squared, [-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(1e-5)))
        normal = self.op("Div", centered, deviation)
        return self.op("Add", self.op("Mul", normal, scale), bias)

    def group_norm(self, x: str, channels: int, groups: int, batch: int | None) -> str:
        """GroupNormalization where the opset has it, else by InstanceNormalization."""
        if self.opset >= 18 and self.rng.random() < 0.7:
            count = channels if self.opset >= 21 else groups
            scale, bias = self.weight(count, scale=0.1, offset=1.0), self.weight(count, scale=0.1)
            return self.op("GroupNormalization", x, scale, bias, num_groups=groups)
        shape = [batch if batch is not None else 0, groups, -1]
        ones, zeros = self.constant(np.ones(groups)), self.constant(np.zeros(groups))
        flat = self.op("InstanceNormalization", self.reshape(x, shape), ones, zeros)
        back = self.op("Reshape", flat, self.op("Shape", x))
        return self.op(
            "Add",
            self.op("Mul", back, self.weight(channels, 1, 1, scale=0.1, offset=1.0)),
            self.weight(channels, 1, 1, scale=0.1),
        )

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        ir_version: int,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir_version
        )


ELEMENTS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
}


def value_info(
    name: str, element: int, shape: Sequence[int | str | None] | None
) -> onnx.ValueInfoProto:
    """Like ONNX's own helper, with 0, -1 and missing extents as they are."""
    info = helper.make_tensor_value_info(name, element, None)
    if shape is not None:
        info.type.tensor_type.shape.SetInParent()
        for extent in shape:
            dim = info.type.tensor_type.shape.dim.add()
            if isinstance(extent, int):
                dim.dim_value = extent
            elif extent is not None:
                dim.dim_param = extent
    return info


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    grown = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))
