"""Small ONNX files with a description, damaged in ways that keep them readable as ONNX."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from fasdk.errors import FasdkError
from fasdk_engines.onnx_import.description import read_description
from fasdk_engines.onnx_import.import_graph import import_graph, with_sizes
from fasdk_engines.onnx_import.onnx_file import read_onnx_file

from support.onnx_builder import Builder, value_info

SIZE = 16
DESCRIPTION = f"""
name = "small"
published_in = "a test"
modalities = ["rgb"]
labels = ["attack", "live"]
live_index = 1

[inputs.rgb]
graph_input = "image"
width = {SIZE}
height = {SIZE}
crop = "face"
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]

[output]
name = "scores"
kind = "logits"
"""
_EXTENTS = (
    *(-(2**63), -(2**31), -100, -2, -1, 0, 1, 2, 3, 5, 7, 15, 17, 64, 1000, 65537),
    *(2**20, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1),
)
_WORDS = ("", "image", "scores", "nonsense", "SAME_UPPER", "reflect", "\u202e", "a" * 300)
_OPERATORS = (
    *("Add", "Cast", "Concat", "ConstantOfShape", "Conv", "ConvTranspose", "Expand", "Flatten"),
    *("Gather", "Gemm", "GlobalAveragePool", "Identity", "If", "Loop", "MatMul", "MaxPool", "Pad"),
    *("Range", "Relu", "Reshape", "Resize", "Scan", "Shape", "Slice", "Softmax", "Split"),
    *("Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze", "Where", "NoSuchOperator", "OneHot"),
)


def small_model(kind: int) -> onnx.ModelProto:
    """Return a small network: 0 convolutional, 1 with shape arithmetic, 2 with resizing."""
    b = Builder(17 if kind else 13, kind)
    x = b.op("Relu", b.batch_norm(b.conv("image", 3, 4, 3, stride=2), 4))
    if kind == 1:
        x = b.slice(x, [0, 0], [8, 8], [2, 3])
        x = b.op("Pad", x, b.ints([0, 0, 1, 1, 0, 0, 1, 1]))
        shape = b.op("Shape", x)
        grown = b.op("Concat", b.op("Gather", shape, b.ints([0])), b.ints([4, -1]), axis=0)
        x = b.unsqueeze(b.op("Reshape", x, grown), [3])
    if kind == 2:
        x = b.resize(x, 4, 8, 16, None)
        x = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        filled = b.op("ConstantOfShape", b.ints([1, 4, 1, 1]))
        x = b.op("Add", x, b.op("Expand", filled, b.ints([1, 4, 8, 8])))
    x = b.op("Flatten", b.op("GlobalAveragePool", x))
    x = b.gemm(x, 4, 2)
    b.nodes[-1].output[0] = "scores"
    return b.model(
        [value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [value_info("scores", TensorProto.FLOAT, ["N", 2])],
        8,
    )


def damaged(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Return a copy of a model with one to four changes of any kind."""
    rng = random.Random(seed)  # noqa: S311 - damage, not secrets
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_CHANGES)(copy, rng)
    return copy


def damaged_description(seed: int) -> str:
    """Return the description, half of the time with one number or word changed."""
    rng = random.Random(seed)  # noqa: S311 - damage, not secrets
    if rng.random() < 0.5:
        return DESCRIPTION
    key, value = rng.choice(
        [
            (f"width = {SIZE}", f"width = {rng.choice((1, 2, 8, 20, 4096))}"),
            (f"height = {SIZE}", f"height = {rng.choice((1, 2, 8, 20, 4096))}"),
            ('kind = "logits"', f'kind = "{rng.choice(("probabilities", "logit"))}"'),
            ('crop = "face"', 'crop = "frame"\nlayout = "nhwc"'),
        ]
    )
    return DESCRIPTION.replace(key, value)


def imported(folder: Path, model: onnx.ModelProto, description: str = DESCRIPTION) -> str:
    """Import a file as `fasdk build-engine` does and return "ok" or the refusal.

    Raises:
        Exception: Anything but a FasdkError, which is a bug.
    """
    (folder / "small.onnx").write_bytes(model.SerializeToString())
    (folder / "small.toml").write_text(description, encoding="utf-8")
    try:
        file = read_onnx_file(folder / "small.onnx")
        described = read_description(folder / "small.toml")
        import_graph(file, with_sizes(file, described))
    except FasdkError as error:
        return str(error)
    return "ok"


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto | None:
    return rng.choice(model.graph.node) if model.graph.node else None


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is None or not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_EXTENTS)
    elif attribute.HasField("t"):
        _damage(attribute.t, rng)
    elif attribute.HasField("s"):
        attribute.s = rng.choice([*(w.encode() for w in _WORDS), b"\xff\xfe"])
    else:
        attribute.i = rng.choice(_EXTENTS)


def _attribute_type(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is not None and node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.type = rng.randint(0, 14)
        if rng.random() < 0.3:
            attribute.name = rng.choice(["value", "axis", "to", "kernel_shape", *_WORDS])


def _drop_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is not None and node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]


def _more_values(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    lists = [a for a in node.attribute if a.ints] if node is not None else []
    if lists:
        chosen = rng.choice(lists)
        chosen.ints.extend(rng.choice(_EXTENTS) for _ in range(rng.randint(1, 3)))


def _operand(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is None:
        return
    names = [n for one in model.graph.node for n in (*one.input, *one.output)] + [*_WORDS]
    side = node.input if rng.random() < 0.6 else node.output
    if side and rng.random() < 0.7:
        side[rng.randrange(len(side))] = rng.choice(names)
    elif side and rng.random() < 0.5:
        del side[rng.randrange(len(side))]
    else:
        side.append(rng.choice(names))


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is not None:
        node.op_type = rng.choice(_OPERATORS)
        if rng.random() < 0.1:
            node.domain = rng.choice(["com.microsoft", "ai.onnx", "x"])


def _drop_node(model: onnx.ModelProto, rng: random.Random) -> None:
    if model.graph.node:
        del model.graph.node[rng.randrange(len(model.graph.node))]


def _swap_nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _weight(model: onnx.ModelProto, rng: random.Random) -> None:
    if model.graph.initializer:
        _damage(rng.choice(model.graph.initializer), rng)


def _damage(tensor: TensorProto, rng: random.Random) -> None:
    way = rng.randrange(5)
    if way == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_EXTENTS)
    elif way == 1:  # extents that fit, of another shape
        size = int(np.prod(tensor.dims, dtype=np.int64))
        del tensor.dims[:]
        tensor.dims.extend([size] if rng.random() < 0.5 else [1, size, 1])
    elif way == 2:
        tensor.data_type = rng.randint(0, 30)
    elif way == 3 and tensor.data_type == TensorProto.INT64 and tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, np.int64).copy()
        if values.size:
            values[rng.randrange(values.size)] = rng.choice(_EXTENTS)
        tensor.raw_data = values.tobytes()
    elif tensor.raw_data:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data))]


def _border(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    value = rng.choice(values)
    dims = value.type.tensor_type.shape.dim
    if dims and rng.random() < 0.7:
        rng.choice(dims).dim_value = rng.choice(_EXTENTS)
    elif rng.random() < 0.5:
        value.type.tensor_type.elem_type = rng.randint(0, 30)
    elif rng.random() < 0.5:
        value.name = rng.choice(_WORDS)
    else:
        value.type.Clear()


def _header(model: onnx.ModelProto, rng: random.Random) -> None:
    way = rng.randrange(5)
    if way == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice([0, 1, 6, 9, 10, 12, 18, 21, 24, 99, -1])
    elif way == 1:
        model.ir_version = rng.choice([0, 1, 3, 4, 7, 11, 99, -1, 2**40])
    elif way == 2:
        del model.opset_import[:]
    elif way == 3:
        function = model.functions.add(name="f", domain="x")
        function.node.add(op_type="f", domain="x", output=["y"])
    else:
        model.graph.name = ""


def _subgraph(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node is not None:
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        attribute.g.node.add(op_type="Identity", input=["image"], output=["inner"])
        if rng.random() < 0.5:
            attribute.g.output.add(name="inner")


def _sparse(model: onnx.ModelProto, rng: random.Random) -> None:
    sparse = model.graph.sparse_initializer.add(dims=[rng.choice(_EXTENTS) for _ in range(2)])
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    indices = np.full((1, 2), rng.choice((-1, 0, 3, 2**40)), np.int64)
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(indices, "at"))
    node = _node(model, rng)
    if node is not None and node.input:
        node.input[0] = "sparse"


_CHANGES: Sequence[Callable[[onnx.ModelProto, random.Random], None]] = (
    _attribute,
    _attribute,
    _attribute_type,
    _border,
    _drop_attribute,
    _drop_node,
    _header,
    _more_values,
    _operand,
    _operator,
    _sparse,
    _subgraph,
    _swap_nodes,
    _weight,
    _weight,
)
