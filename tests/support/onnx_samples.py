"""Generator of ONNX files as people bring them, each with its description and its right answer."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from fasdk.errors import FasdkError
from fasdk_engines.onnx_import.description import read_description
from fasdk_engines.onnx_import.equivalence import without_batch_extents
from fasdk_engines.onnx_import.import_graph import ImportedGraph, import_graph
from fasdk_engines.onnx_import.onnx_file import read_onnx_file

from support.onnx_builder import ELEMENTS, Builder, softmax, value_info

SIZE = 16
ARCHITECTURES = ("mobile", "resnet", "cdc", "vit", "clip", "map")
NEWEST = onnx.defs.onnx_opset_version()
BATCHES = ("symbolic", "one", "four", "minus-one", "zero", "missing", "inside", "none")
LAYOUTS = ("nchw", "nhwc")
# Modalities of each input of the file, each with its planes.
CHANNELS: dict[str, tuple[tuple[tuple[str, int], ...], ...]] = {
    "rgb": ((("rgb", 3),),),
    "gray": ((("rgb", 1),),),
    "ir": ((("ir", 1),),),
    "depth": ((("depth", 1),),),
    "rgb+depth": ((("rgb", 3), ("depth", 1)),),
    "ir+depth": ((("ir", 1), ("depth", 1)),),
    "rgb+ir+depth": ((("rgb", 3), ("ir", 1), ("depth", 1)),),
    "six": ((("rgb", 3), ("ir", 3)),),
    "nine": ((("rgb", 3), ("depth", 3), ("ir", 3)),),
    "two inputs": ((("rgb", 3),), (("ir", 1),)),
}
ENDS = ("float32", "uint8", "half ends", "half", "double ends")
HEADS = (
    "logits",
    "three logits",
    "softmax",
    "written-out softmax",
    "log-softmax",
    "logit",
    "probability",
    "written-out probability",
    "flat logits",
    "two heads",
)
NORMS = ("fused", "decomposed")
EXTRAS = ("", "length", "dynamic size", "dropout", "new IR", "function", "branch", "squeeze")


@dataclass(frozen=True)
class Recipe:
    """What one file is made of.

    Attributes:
        architecture: One of `ARCHITECTURES`.
        opset: Opset version.
        batch: How the batch is written, one of `BATCHES`.
        layout: Order of the image axes.
        channels: Key of `CHANNELS`.
        ends: Element types, one of `ENDS`.
        head: What the network ends in, one of `HEADS`.
        norm: Form of layer normalization.
        extra: One of `EXTRAS`.
        short: Whether the description leaves out what the file may be asked for.
        seed: Seed of weights and choices.
    """

    architecture: str = "mobile"
    opset: int = 17
    batch: str = "symbolic"
    layout: str = "nchw"
    channels: str = "rgb"
    ends: str = "float32"
    head: str = "logits"
    norm: str = "decomposed"
    extra: str = ""
    short: bool = False
    seed: int = 0

    @property
    def declared_batch(self) -> int | str | None:
        """Batch as the inputs declare it."""
        return {"one": 1, "four": 4, "minus-one": -1, "zero": 0, "missing": None}.get(
            self.batch, "N"
        )

    @property
    def inner_batch(self) -> int | None:
        """Batch that the file's reshapes are written for, or None."""
        return {"one": 1, "inside": 1, "four": 4, "none": 1}.get(self.batch)


@dataclass(frozen=True, eq=False)
class Sample:
    """One file.

    Attributes:
        recipe: What it is made of.
        model: The model.
        answer: Name of the output that holds the scores.
    """

    recipe: Recipe
    model: onnx.ModelProto
    answer: str

    def feeds(self, captures: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
        """Return the file's inputs for one capture, each [1, 3, H, W] by modality."""
        fed: dict[str, NDArray[np.generic]] = {}
        for index, group in enumerate(CHANNELS[self.recipe.channels]):
            planes = []
            for modality, count in group:
                pixels = captures[modality][0]
                if count == 1 and modality == "rgb":
                    luma = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
                    planes.append(
                        np.rint(luma)[None] if self.recipe.ends == "uint8" else luma[None]
                    )
                else:
                    planes.append(pixels[:count])
            image = np.concatenate(planes)
            if self.recipe.layout == "nhwc":
                image = np.moveaxis(image, 0, -1)
            if self.recipe.batch != "none":
                image = np.stack([image] * (self.recipe.inner_batch or 1))
            element = {"half": "float16", "half ends": "float16", "double ends": "float64"}
            kind = element.get(self.recipe.ends, self.recipe.ends)
            fed[f"image_{index}"] = np.ascontiguousarray(image.astype(kind))
        if self.recipe.extra == "length":
            fed["length"] = np.array([SIZE], np.int64)
        return fed

    def score(self, answer: NDArray[np.generic]) -> float:
        """Return the probability of the second label that the network's author reads."""
        head = self.recipe.head
        value = answer.astype(np.float64)
        if self.recipe.batch == "four" and value.shape[:1] == (4,):
            value = value[0]
        if self.recipe.architecture == "map":
            value = (
                value.mean(axis=(-2, -1))
                if self.recipe.layout != "nhwc"
                else value.mean(axis=(-3, -2))
            )
        value = value.reshape(-1)
        if head in ("softmax", "written-out softmax", "probability", "written-out probability"):
            return float(value[1] if value.size > 1 else value[0])
        if value.size == 1:
            return float(1.0 / (1.0 + np.exp(-value[0])))
        return float(softmax(value[None])[0, 1])


@dataclass
class _Net:
    """A network under construction, with the extents it is written for."""

    recipe: Recipe
    builder: Builder

    def rows(self) -> int:
        """What a reshape writes for the batch."""
        return self.recipe.inner_batch or 0


def make(recipe: Recipe) -> Sample:
    """Return the file of a recipe."""
    dtype = np.float16 if recipe.ends == "half" else np.float32
    builder = Builder(recipe.opset, recipe.seed, dtype)
    inputs, images, channels = _inputs(recipe, builder)
    x = images[0] if len(images) == 1 else builder.op("Concat", *images, axis=1)
    net = _Net(recipe, builder)
    if recipe.extra == "length":
        cast = builder.op(
            "Cast", "length", to=ELEMENTS["float16" if recipe.ends == "half" else "float32"]
        )
        share = builder.op("Div", cast, builder.constant([float(SIZE)]))
        x = builder.op("Mul", x, share)
    if recipe.extra == "dropout":
        x = builder.dropout(x)
    if recipe.extra == "branch":
        x = _branch(builder, x, channels)
    architecture = {
        "mobile": _mobile,
        "resnet": _resnet,
        "cdc": _cdc,
        "vit": _vit,
        "clip": _clip,
        "map": _map,
    }[recipe.architecture]
    outputs = architecture(net, x, channels)
    declared, answer = _outputs(recipe, builder, outputs)
    model = builder.model(inputs, declared, 13 if recipe.extra == "new IR" else 8)
    if recipe.extra == "function":
        _wrap_relu(model)
    return Sample(recipe, model, answer)


def _inputs(recipe: Recipe, b: Builder) -> tuple[list[onnx.ValueInfoProto], list[str], int]:
    inputs, images, total = [], [], 0
    element = {"half": "float16", "half ends": "float16", "double ends": "float64"}.get(
        recipe.ends, recipe.ends
    )
    for index, group in enumerate(CHANNELS[recipe.channels]):
        channels = sum(planes for _, planes in group)
        total += channels
        size: int | str = "S" if recipe.extra == "dynamic size" else SIZE
        shape: list[int | str | None] = [recipe.declared_batch]
        shape += [channels, size, size] if recipe.layout == "nchw" else [size, size, channels]
        if recipe.batch == "none":
            shape = shape[1:]
        name = f"image_{index}"
        inputs.append(value_info(name, ELEMENTS[element], shape))
        x = name
        if recipe.batch == "none":
            x = b.unsqueeze(x, [0])
        if recipe.layout == "nhwc":
            x = b.op("Transpose", x, perm=[0, 3, 1, 2])
        if recipe.ends in ("uint8", "half ends", "double ends"):
            x = b.op("Cast", x, to=TensorProto.FLOAT)
        if recipe.ends == "uint8":
            x = b.op("Sub", x, b.constant(127.5))
            x = b.op("Div", x, b.constant(128.0))
        images.append(x)
    if recipe.extra == "length":
        inputs.append(value_info("length", TensorProto.INT64, [1]))
    return inputs, images, total


def _branch(b: Builder, x: str, channels: int) -> str:
    """Write a branch on the number of channels, as a traced squeeze has it."""
    shape = b.op("Shape", x)
    extent = b.op("Gather", shape, b.ints(1), axis=0)
    condition = b.op("Equal", extent, b.ints(channels))
    element = TensorProto.FLOAT16 if b.dtype is np.float16 else TensorProto.FLOAT
    outcomes = []
    for name, operator in (("then", "Identity"), ("else", "Neg")):
        value = f"{name}_value"
        graph = helper.make_graph(
            [helper.make_node(operator, [x], [value])],
            name,
            [],
            [helper.make_tensor_value_info(value, element, None)],
        )
        outcomes.append(graph)
    return b.op("If", condition, then_branch=outcomes[0], else_branch=outcomes[1])


def _wrap_relu(model: onnx.ModelProto) -> None:
    """Make every Relu a call of a local function."""
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opset = model.opset_import[0].version
    function = helper.make_function(
        "local", "Activation", ["x"], ["y"], body, [helper.make_opsetid("", opset)]
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "Activation", "local"


def _pool_and_classify(net: _Net, x: str, width: int, columns: int) -> str:
    b, form = net.builder, net.recipe.seed % 4
    if form == 0 and net.recipe.opset >= 13:
        pooled = b.reduce("ReduceMean", x, [2, 3], keepdims=0)
    else:
        pooled = b.op("GlobalAveragePool", x)
        rows = net.recipe.inner_batch
        if rows is not None:
            pooled = b.reshape(pooled, [rows, -1 if form == 1 else width])
        elif form == 1:
            pooled = b.op("Flatten", pooled, axis=1)
        elif form == 2:
            pooled = b.reshape(pooled, [-1, width])
        else:
            shape = b.op("Gather", b.op("Shape", pooled), b.ints(0), axis=0)
            rest = b.op("Concat", b.unsqueeze(shape, [0]), b.ints([-1]), axis=0)
            pooled = b.op("Reshape", pooled, rest)
    return b.gemm(pooled, width, columns)


def _columns(recipe: Recipe) -> int:
    if recipe.head in ("logit", "probability", "written-out probability"):
        return 1
    return 3 if recipe.head == "three logits" else 2


def _mobile(net: _Net, x: str, channels: int) -> list[str]:
    b = net.builder
    x = b.batch_norm(b.conv(x, channels, 8, 3, stride=2), 8)
    x = b.clip(x, 0.0, 6.0) if net.recipe.seed % 2 else _hard_swish(b, x)
    y = b.op("Relu", b.batch_norm(b.conv(x, 8, 8, 3, group=8), 8))
    squeezed = b.op("GlobalAveragePool", y)
    squeezed = b.op("Relu", b.conv(squeezed, 8, 4, 1))
    gate = b.op("HardSigmoid", b.conv(squeezed, 4, 8, 1), alpha=0.1666667, beta=0.5)
    x = b.op("Add", x, b.op("Mul", y, gate))
    x = b.op("PRelu", b.conv(x, 8, 16, 1), b.weight(16, 1, 1, scale=0.1, offset=0.2))
    return [_pool_and_classify(net, x, 16, _columns(net.recipe))]


def _hard_swish(b: Builder, x: str) -> str:
    if b.opset >= 14 and b.rng.random() < 0.5:
        return b.op("HardSwish", x)
    shifted = b.clip(b.op("Add", x, b.constant(3.0)), 0.0, 6.0)
    return b.op("Div", b.op("Mul", x, shifted), b.constant(6.0))


def _resnet(net: _Net, x: str, channels: int) -> list[str]:
    b = net.builder
    x = b.op("Relu", b.batch_norm(b.conv(x, channels, 8, 3), 8))
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = b.op("Relu", b.group_norm(b.conv(x, 8, 8, 3), 8, 2, net.recipe.inner_batch))
    x = b.op("Relu", b.op("Add", x, b.batch_norm(b.conv(y, 8, 8, 3), 8)))
    return [_pool_and_classify(net, x, 8, _columns(net.recipe))]


def _central_difference(b: Builder, x: str, inside: int, outside: int) -> str:
    weights = b.rng.standard_normal((outside, inside, 3, 3)) * (2.0 / (9 * inside)) ** 0.5
    plain = b.op("Conv", x, b.constant(weights), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    summed = weights.sum(axis=(2, 3), keepdims=True)
    center = b.op("Conv", x, b.constant(summed), kernel_shape=[1, 1])
    return b.op("Sub", plain, b.op("Mul", center, b.constant(0.7)))


def _cdc(net: _Net, x: str, channels: int) -> list[str]:
    b = net.builder
    x = b.op("Relu", b.batch_norm(_central_difference(b, x, channels, 8), 8))
    low = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    low = b.op("Relu", _central_difference(b, low, 8, 8))
    high = b.resize(low, 8, SIZE // 2, SIZE, net.recipe.inner_batch)
    x = b.op("Relu", _central_difference(b, b.op("Concat", x, high, axis=1), 16, 8))
    return [_pool_and_classify(net, x, 8, _columns(net.recipe))]


def _map(net: _Net, x: str, channels: int) -> list[str]:
    b = net.builder
    x = b.op("Relu", b.batch_norm(_central_difference(b, x, channels, 8), 8))
    x = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    return [b.conv(x, 8, _columns(net.recipe), 3)]


def _tokens(net: _Net, x: str, channels: int, width: int) -> str:
    b = net.builder
    patches = b.op(
        "Conv", x, b.weight(width, channels, 4, 4, scale=(16 * channels) ** -0.5),
        b.weight(width, scale=0.1), kernel_shape=[4, 4], strides=[4, 4],
    )  # fmt: skip
    count = (SIZE // 4) ** 2
    x = b.reshape(patches, [net.rows(), width, -1 if net.recipe.seed % 2 else count])
    x = b.op("Transpose", x, perm=[0, 2, 1])
    rows = net.recipe.inner_batch
    if rows is not None:
        token = b.constant(np.repeat(b.rng.standard_normal((1, 1, width)), rows, axis=0))
    else:
        extent = b.slice(b.op("Shape", x), [0], [1], [0])
        target = b.op("Concat", extent, b.ints([1, width]), axis=0)
        token = b.op("Expand", b.weight(1, 1, width), target)
    x = b.op("Concat", token, x, axis=1)
    return b.op("Add", x, b.weight(1, count + 1, width, scale=0.2))


def _attention(net: _Net, x: str, width: int, heads: int, count: int) -> str:
    b, rows = net.builder, net.rows()
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        part = b.reshape(b.linear(x, width, width), [rows, count, heads, width // heads])
        parts.append(b.op("Transpose", part, perm=perm))
    q, k, v = parts
    if b.opset >= 23 and net.recipe.norm == "fused":
        k = b.op("Transpose", k, perm=[0, 1, 3, 2])
        y = b.op("Attention", q, k, v)
    elif net.recipe.seed % 3 == 0 and net.recipe.inner_batch is not None:
        # Heads and batch in one axis, as torch's own attention is traced.
        merged = heads * net.recipe.inner_batch
        size = width // heads
        q, v = b.reshape(q, [merged, count, size]), b.reshape(v, [merged, count, size])
        k = b.reshape(k, [merged, size, count])
        scaled = b.op("Mul", b.op("MatMul", q, k), b.constant(size**-0.5))
        y = b.op("MatMul", b.op("Softmax", scaled, axis=2), v)
        y = b.reshape(y, [net.recipe.inner_batch, heads, count, size])
    else:
        scaled = b.op("Mul", b.op("MatMul", q, k), b.constant((width // heads) ** -0.5))
        y = b.op("MatMul", b.op("Softmax", scaled, axis=3), v)
    y = b.reshape(b.op("Transpose", y, perm=[0, 2, 1, 3]), [rows, count, width])
    return b.linear(y, width, width)


def _blocks(net: _Net, x: str, width: int, count: int, *, quick: bool) -> str:
    b, fused = net.builder, net.recipe.norm == "fused"
    y = _attention(net, b.layer_norm(x, width, fused=fused), width, 2, count)
    x = b.op("Add", x, y)
    y = b.linear(b.layer_norm(x, width, fused=fused), width, 2 * width)
    if quick:
        y = b.op("Mul", y, b.op("Sigmoid", b.op("Mul", y, b.constant(1.702))))
    else:
        y = b.gelu(y) if fused else b.erf_gelu(y)
    x = b.op("Add", x, b.linear(y, 2 * width, width))
    x = b.layer_norm(x, width, fused=fused)
    if net.recipe.seed % 2:
        return b.op("Gather", x, b.ints(0), axis=1)
    return b.squeeze(b.slice(x, [0], [1], [1]), [1])


def _vit(net: _Net, x: str, channels: int) -> list[str]:
    width, count = 16, (SIZE // 4) ** 2 + 1
    x = _blocks(net, _tokens(net, x, channels, width), width, count, quick=False)
    return [net.builder.gemm(x, width, _columns(net.recipe))]


def _clip(net: _Net, x: str, channels: int) -> list[str]:
    b, width, count = net.builder, 16, (SIZE // 4) ** 2 + 1
    x = _blocks(net, _tokens(net, x, channels, width), width, count, quick=True)
    length = b.op("Sqrt", b.reduce("ReduceSum", b.op("Mul", x, x), [-1]))
    x = b.op("Div", x, length)
    texts = b.rng.standard_normal((width, _columns(net.recipe)))
    texts /= np.linalg.norm(texts, axis=0)
    return [b.op("Mul", b.op("MatMul", x, b.constant(texts)), b.constant(10.0))]


def _outputs(
    recipe: Recipe, b: Builder, outputs: list[str]
) -> tuple[list[onnx.ValueInfoProto], str]:
    x = outputs[0]
    # An untrained network's scores should vary: what is compared must not be 0 or 1.
    head, rank4 = recipe.head, recipe.architecture == "map"
    axis = 1 if rank4 else -1 if recipe.opset >= 13 else 1
    if head == "softmax":
        x = b.op("Softmax", x, axis=axis) if recipe.opset >= 13 or not rank4 else _exp_sum(b, x)
    elif head == "written-out softmax":
        x = _exp_sum(b, x)
    elif head == "log-softmax" and not rank4:
        x = b.op("LogSoftmax", x, axis=axis)
    elif head == "probability":
        x = b.op("Sigmoid", x)
    elif head == "written-out probability":
        grown = b.op("Exp", b.op("Neg", x))
        x = b.op("Div", b.constant(1.0), b.op("Add", b.constant(1.0), grown))
    element = TensorProto.FLOAT
    if rank4 and recipe.layout == "nhwc":
        x = b.op("Transpose", x, perm=[0, 2, 3, 1])
    if recipe.extra == "squeeze" and not rank4 and recipe.inner_batch == 1:
        x = b.squeeze(x, None if recipe.seed % 2 else [0])
    if head == "flat logits" and recipe.inner_batch == 1 and not rank4:
        x = b.reshape(x, [-1])
    if recipe.ends == "half":
        element = TensorProto.FLOAT16
    elif recipe.ends in ("half ends", "double ends"):
        element = ELEMENTS["float16" if recipe.ends == "half ends" else "float64"]
        x = b.op("Cast", x, to=element)
    declared = [value_info(x, element, None)]
    if head == "two heads":
        other = b.op("Neg", outputs[0])
        other_element = TensorProto.FLOAT16 if recipe.ends == "half" else TensorProto.FLOAT
        declared.insert(recipe.seed % 2, value_info(other, other_element, None))
    return declared, x


def _exp_sum(b: Builder, x: str) -> str:
    grown = b.op("Exp", x)
    return b.op("Div", grown, b.reduce("ReduceSum", grown, [1]))


KINDS = {
    "softmax": "probabilities",
    "written-out softmax": "probabilities",
    "logit": "logit",
    "probability": "probability",
    "written-out probability": "probability",
}


Description = dict[str, Any]


def _describe(recipe: Recipe, answer: str) -> Description:
    groups = CHANNELS[recipe.channels]
    raw = recipe.ends == "uint8" and not recipe.short
    inputs: Description = {}
    for index, group in enumerate(groups):
        for modality, planes in group:
            one: Description = {
                "graph_input": f"image_{index}",
                "crop": "face",
                "mean": [0.0 if raw else 127.5] * 3,
                "std": [1.0 if raw else 128.0] * 3,
            }
            if recipe.extra == "dynamic size" and not recipe.short:
                one |= {"width": SIZE, "height": SIZE}
            if not recipe.short:
                one |= {"layout": recipe.layout, "planes": planes}
            if modality == "depth":
                one["depth"] = {"near_mm": 300, "far_mm": 1200, "polarity": "near-bright"}
            inputs[modality] = one
    output: Description = {}
    if not recipe.short:
        output = {"name": answer, "kind": KINDS.get(recipe.head, "logits")}
        if recipe.architecture == "map":
            output["reduction"] = "mean"
    described: Description = {
        "name": f"{recipe.architecture}-net",
        "published_in": "none",
        "modalities": [modality for group in groups for modality, _ in group],
        "labels": ["attack", "live", "mask"][: 3 if recipe.head == "three logits" else 2],
        "live_index": 1,
        "inputs": inputs,
        "output": output,
    }
    if recipe.extra == "length" and not recipe.short:
        described["constants"] = {"length": SIZE}
    return described


def to_toml(description: Description, path: str = "") -> str:
    """Return a description as TOML."""
    lines = []
    for key, value in description.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {json.dumps(value)}")
        elif "near_mm" in value:
            pairs = ", ".join(f"{name} = {json.dumps(one)}" for name, one in value.items())
            lines.append(f"depth = {{ {pairs} }}")
    for key, value in description.items():
        if isinstance(value, dict) and "near_mm" not in value:
            lines += [f"[{path}{key}]", to_toml(value, f"{path}{key}.")]
    return "\n".join(lines)


_LINE = re.compile(r"(\w+) = (\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[\w.]+)( \(or)?")
_FIX = re.compile(r"write (.*)|as (name = .*)|remove (.*)")


def follow_fix(description: Description, message: str, truth: Description) -> Description | None:
    """Do what a refusal says; where it leaves a choice, choose as the network's author would.

    Args:
        description: Description that was refused.
        message: The refusal.
        truth: Description in full, for what the message leaves open.

    Returns:
        The changed description, or None where the message proposes nothing.
    """
    found = _FIX.search(message)
    if found is None:
        return None
    changed: Description = copy.deepcopy(description)
    advice = found.group(0)
    if "[constants]" in advice:
        changed["constants"] = truth["constants"]
        return changed
    sections = re.findall(r"\[([a-z.]+)\]", advice) or re.findall(r"\[([a-z.]+)\]", message)
    for section in sections or ["output"]:
        place, right = changed, truth
        for part in section.split("."):
            place, right = place.setdefault(part, {}), right.get(part, {})
        for key, value, choice in _LINE.findall(advice.split(" instead of ")[0]):
            if found.group(3):
                place.pop(key, None)
            elif choice or value == "PIXELS" or key == "name":
                place[key] = right[key]
            else:
                place[key] = json.loads(value.replace("'", '"'))
    return changed


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        recipe: What the file is made of.
        built: Whether it was imported, at once or after following the refusals' fixes.
        fixes: Refusals followed, in order.
        drift: Largest score difference to the file as given in ONNX Runtime, in [0, 1].
        complaint: Last refusal where it was not built, or an empty text.
        any_batch: Whether the imported graph takes any batch.
    """

    recipe: Recipe
    built: bool
    fixes: tuple[str, ...]
    drift: float
    complaint: str
    any_batch: bool = False

    @property
    def right(self) -> bool:
        """Whether it was built and answers as its author's network does."""
        return self.built and self.drift <= budget_of(self.recipe)


def budget_of(recipe: Recipe) -> float:
    """Return the score difference allowed; a file in half precision is itself no more precise."""
    return 2e-3 if recipe.ends in ("half", "half ends") else 1e-4


_MOST_FIXES = 6


def try_file(recipe: Recipe, folder: Path) -> Outcome:
    """Import the file of a recipe, following refusals, and compare it with ONNX Runtime."""
    sample = make(recipe)
    path = folder / "net.onnx"
    path.write_bytes(sample.model.SerializeToString())
    truth = _describe(replace(recipe, short=False), sample.answer)
    description = _describe(recipe, sample.answer)
    fixes: list[str] = []
    while True:
        (folder / "net.toml").write_text(to_toml(description), encoding="utf-8")
        try:
            file = read_onnx_file(path)
            imported = import_graph(file, read_description(folder / "net.toml"))
        except FasdkError as error:
            message = str(error)
            changed = follow_fix(description, message, truth)
            if changed is None or changed == description or len(fixes) == _MOST_FIXES:
                return Outcome(recipe, False, tuple(fixes), float("nan"), message)
            fixes.append(message)
            description = changed
        else:
            any_batch = imported.interpretation.max_batch is None
            drift = _drift(sample, imported)
            return Outcome(recipe, True, tuple(fixes), drift, "", any_batch)


def _drift(sample: Sample, imported: ImportedGraph) -> float:
    """Return the largest score difference on images that the import has not seen."""
    rng = np.random.default_rng(sample.recipe.seed + 1000)
    raw = sample.recipe.ends == "uint8"
    modalities = [modality for group in CHANNELS[sample.recipe.channels] for modality, _ in group]
    count = 3
    captures = {}
    for modality in modalities:
        planes = 3 if modality == "rgb" and sample.recipe.channels != "gray" else 1
        coarse = rng.integers(0, 256, (count, planes, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
        levels = np.broadcast_to(coarse, (count, 3, SIZE, SIZE)).astype(np.float32)
        captures[modality] = levels if raw else (levels - np.float32(127.5)) / np.float32(128.0)
    expected = [
        sample.score(_run(sample, {m: values[i : i + 1] for m, values in captures.items()}))
        for i in range(count)
    ]
    graph = ort.InferenceSession(imported.graph, providers=["CPUExecutionProvider"])
    single = imported.interpretation.max_batch == 1
    batches = [slice(i, i + 1) for i in range(count)] if single else [slice(0, count)]
    logits = np.concatenate(
        [
            graph.run(["logits"], {m: np.ascontiguousarray(v[rows]) for m, v in captures.items()})[
                0
            ]
            for rows in batches
        ]
    )
    return float(np.abs(softmax(logits.astype(np.float64))[:, 1] - expected).max())


def _run(sample: Sample, captures: dict[str, NDArray[np.float32]]) -> NDArray[np.generic]:
    data = without_batch_extents(sample.model).SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session: Any = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - a release of ONNX Runtime older than the file
        session = ReferenceEvaluator(sample.model)
    return np.asarray(session.run([sample.answer], sample.feeds(captures))[0])


def recipes(count: int) -> Iterator[Recipe]:
    """Yield so many recipes that go through every value of every property, and their pairs.

    Every recipe after the plain ones draws each property at random from a fixed seed.
    """
    rng = np.random.default_rng(20260101)
    choices: dict[str, tuple[Any, ...]] = {
        "architecture": ARCHITECTURES,
        "opset": tuple(range(9, NEWEST + 1)),
        "batch": BATCHES,
        "layout": LAYOUTS,
        "channels": tuple(CHANNELS),
        "ends": ENDS,
        "head": HEADS,
        "norm": NORMS,
        "extra": EXTRAS,
        "short": (False, True),
    }
    decks: dict[str, list[Any]] = {name: [] for name in choices}
    for seed in range(count):
        drawn = {}
        for name, values in choices.items():
            if not decks[name]:
                decks[name] = [values[i] for i in rng.permutation(len(values))]
            drawn[name] = decks[name].pop()
        yield Recipe(**drawn, seed=seed)


@dataclass(frozen=True)
class Tally:
    """Counts of many files.

    Attributes:
        files: Number of files.
        built: Number imported at once.
        fixed: Number refused first and imported once the refusals were followed.
        refused: Number that no fix helped.
        wrong: Number imported whose scores are not the author's.
        worst_drift: Largest score difference of the imported float32 files, in [0, 1].
        failures: Recipe and complaint of each that is not right.
    """

    files: int
    built: int
    fixed: int
    refused: int
    wrong: int
    worst_drift: float
    failures: tuple[str, ...]


def try_files(count: int, folder: Path) -> Tally:
    """Import the first so many recipes' files and count what became of them."""
    outcomes = [try_file(recipe, folder) for recipe in recipes(count)]
    right = [one for one in outcomes if one.right]
    exact = [one.drift for one in right if budget_of(one.recipe) <= 1e-4]
    return Tally(
        files=len(outcomes),
        built=sum(not one.fixes for one in right),
        fixed=sum(bool(one.fixes) for one in right),
        refused=sum(not one.built for one in outcomes),
        wrong=sum(one.built and not one.right for one in outcomes),
        worst_drift=max(exact, default=0.0),
        failures=tuple(
            f"{one.recipe}: {one.complaint or f'drift {one.drift:.3g}'}"
            for one in outcomes
            if not one.right
        ),
    )
