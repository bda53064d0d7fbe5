"""Published networks as ONNX graphs without weights' values, to be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

INPUT = "image"
SIDE = 224


class _Net:
    """A graph under construction, its weights of shape alone."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int) -> str:
        """Add a float32 weight without values and return its name."""
        from onnx import TensorProto

        name = f"w{len(self._weights)}"
        self._weights.append(TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT))
        return name

    def shape(self, *extents: int) -> str:
        """Add a list of extents and return its name."""
        from onnx import TensorProto, helper

        name = f"w{len(self._weights)}"
        self._weights.append(helper.make_tensor(name, TensorProto.INT64, [len(extents)], extents))
        return name

    def conv(
        self,
        x: str,
        inside: int,
        outside: int,
        kernel: int,
        *,
        stride: int = 1,
        group: int = 1,
        padded: bool = True,
    ) -> str:
        """Add a convolution with its bias, batch norm folded."""
        weights = (self.weight(outside, inside // group, kernel, kernel), self.weight(outside))
        pads = [kernel // 2 if padded else 0] * 4
        return self.op("Conv", x, *weights, strides=[stride] * 2, pads=pads, group=group)

    def linear(self, x: str, inside: int, outside: int) -> str:
        """Add a matrix product with its bias."""
        return self.op(
            "Add", self.op("MatMul", x, self.weight(inside, outside)), self.weight(outside)
        )

    def model(self, output: str, classes: int = 1000) -> onnx.ModelProto:
        """Return the model."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", classes])],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def head(self, x: str, channels: int) -> onnx.ModelProto:
        """Return the model that ends in an average pool and a linear layer."""
        pooled = self.op("Flatten", self.op("GlobalAveragePool", x))
        return self.model(self.linear(pooled, channels, 1000))


def resnet18() -> onnx.ModelProto:
    """Return ResNet-18 (He et al., CVPR 2016, table 1)."""
    net = _Net()
    x, inside = _resnet_stem(net), 64
    for stage, outside in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            short = x if stride == 1 else net.conv(x, inside, outside, 1, stride=stride)
            y = net.op("Relu", net.conv(x, inside, outside, 3, stride=stride))
            x = net.op("Relu", net.op("Add", net.conv(y, outside, outside, 3), short))
            inside = outside
    return net.head(x, 512)


def resnet50() -> onnx.ModelProto:
    """Return ResNet-50 v1.5 (He et al., CVPR 2016, table 1; stride in the 3x3, as MLPerf's)."""
    net = _Net()
    x, inside = _resnet_stem(net), 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        outside = 4 * width
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            short = x if block else net.conv(x, inside, outside, 1, stride=stride)
            y = net.op("Relu", net.conv(x, inside, width, 1))
            y = net.op("Relu", net.conv(y, width, width, 3, stride=stride))
            x = net.op("Relu", net.op("Add", net.conv(y, width, outside, 1), short))
            inside = outside
    return net.head(x, 2048)


def mobilenet_v2() -> onnx.ModelProto:
    """Return MobileNetV2 (Sandler et al., CVPR 2018, table 2)."""
    net = _Net()
    x, inside = net.op("Clip", net.conv(INPUT, 3, 32, 3, stride=2)), 32
    rows = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, outside, blocks, first_stride in rows:
        for block in range(blocks):
            stride = 1 if block else first_stride
            width, y = expansion * inside, x
            if expansion > 1:
                y = net.op("Clip", net.conv(y, inside, width, 1))
            y = net.op("Clip", net.conv(y, width, width, 3, stride=stride, group=width))
            y = net.conv(y, width, outside, 1)
            x = net.op("Add", y, x) if block else y
            inside = outside
    return net.head(net.op("Clip", net.conv(x, 320, 1280, 1)), 1280)


def vit_b_16() -> onnx.ModelProto:
    """Return ViT-B/16 (Dosovitskiy et al., ICLR 2021, table 1), batch 1."""
    net = _Net()
    patches = net.op(
        "Reshape", net.conv(INPUT, 3, 768, 16, stride=16, padded=False), net.shape(1, 768, 196)
    )
    x = net.op(
        "Concat", net.weight(1, 1, 768), net.op("Transpose", patches, perm=[0, 2, 1]), axis=1
    )
    x = net.op("Add", x, net.weight(1, 197, 768))
    for _ in range(12):
        y = _normalized(net, x)
        heads = [
            net.op(
                "Transpose",
                net.op("Reshape", net.linear(y, 768, 768), net.shape(1, 197, 12, 64)),
                perm=order,
            )
            for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        ]
        scores = net.op("Softmax", net.op("Mul", net.op("MatMul", *heads[:2]), net.weight(1)))
        mixed = net.op("Transpose", net.op("MatMul", scores, heads[2]), perm=[0, 2, 1, 3])
        mixed = net.op("Reshape", mixed, net.shape(1, 197, 768))
        x = net.op("Add", x, net.linear(mixed, 768, 768))
        y = net.linear(_normalized(net, x), 768, 3072)
        half = net.op("Mul", net.op("Add", net.op("Erf", y), net.weight(1)), y)
        x = net.op("Add", x, net.linear(half, 3072, 768))
    token = net.op("Gather", _normalized(net, x), net.shape(0), axis=1)
    return net.model(net.linear(net.op("Reshape", token, net.shape(1, 768)), 768, 1000))


def _resnet_stem(net: _Net) -> str:
    x = net.op("Relu", net.conv(INPUT, 3, 64, 7, stride=2))
    return net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)


def _normalized(net: _Net, x: str) -> str:
    return net.op("LayerNormalization", x, net.weight(768), net.weight(768), axis=-1)


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "ResNet-18": resnet18,
    "ResNet-50": resnet50,
    "MobileNetV2": mobilenet_v2,
    "ViT-B/16": vit_b_16,
}
