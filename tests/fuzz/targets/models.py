"""Targets of what a workstation reads: checkpoints, descriptions, ONNX graphs."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np

from fuzz.bytes_mutation import mutate_bytes, word_mutator
from fuzz.fork_server import ForkServer
from fuzz.json_mutation import changed_document
from fuzz.scratch import scratch_folder
from fuzz.target import Target, mixed, on_file
from fuzz.zip_files import write_zip, zip_members

if TYPE_CHECKING:
    import onnx

    from fasdk.errors import FasdkError

_DESCRIPTION = """
name = "net"
published_in = "A paper"
modalities = ["rgb"]
labels = ["attack", "live"]
live_index = 1

[inputs.rgb]
graph_input = "x"
width = 8
height = 8
crop = "frame"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]

[output]
name = "score"
kind = "logits"
"""
_TOML_WORDS = (b"=", b"[", b"]", b'"', b"'", b"\n", b"?", b"-1", b"0", b"nan", b"inf", b"1e999")
_TOML_WORDS += (b"rgb", b"depth", b"ir", b"logits", b"probability", b"width", b"height", b"mean")
_TOML_WORDS += (b"2026-01-01", b"true", b"[[", b"]]", b"{", b"}", b".", b"99999999999", b"\\u0000")
_TOML_WORDS += (b"[inputs.ir]", b"layout", b"name", b"=[" + b"[" * 900, b"\xff", b'"""', b"#")


def _checkpoint(suffix: str) -> Callable[[], Callable[[bytes], None]]:
    def prepare() -> Callable[[bytes], None]:
        from fasdk_engines.models.checkpoint import load_checkpoint

        return on_file(load_checkpoint, suffix)

    return prepare


def _safetensors() -> list[bytes]:
    import safetensors.numpy

    tensors = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(2, np.float16)}
    return [safetensors.numpy.save(tensors, {"format": "pt"}), safetensors.numpy.save(tensors)]


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with its header changed and its length field right."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
    except (struct.error, ValueError, RecursionError, OverflowError):
        return mutate_bytes(data, rng)
    text = json.dumps(changed_document(header, rng)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _torch_files() -> list[bytes]:
    import torch

    state = {
        "state_dict": {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(2).half()},
        "epoch": 3,
    }
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(state, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return [new.getvalue(), old.getvalue()]


_PICKLE_WORDS = (b"ctorch\n", b"_utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n", b"q\x00", b"K\x05")
_PICKLE_WORDS += (
    b"X\x03\x00\x00\x00cpu",
    b"X\x03\x00\x00\x00\xff\xfe\xfd",
    b"\x8a\x09" + b"\x7f" * 9,
)
_PICKLE_WORDS += (
    b"Q",
    b"t",
    b"R",
    b"}",
    b")",
    b"(",
    b".",
    b"u",
    b"s",
    b"b",
    b"\x93",
    b"FloatStorage",
)
_PICKLE_WORDS += (b"ccollections\nOrderedDict\n", b"_rebuild_parameter", b"QInt8Storage", b"\x88")


def mutate_torch(data: bytes, rng: random.Random) -> bytes:
    """Return a torch archive with its pickle or a record changed, checksums right."""
    changed = word_mutator(_PICKLE_WORDS)
    members = dict(zip_members(data))
    if not members:
        return changed(data, rng)
    pickles = [name for name in members if name.endswith(".pkl")] or list(members)
    name = rng.choice(pickles if rng.random() < 0.8 else list(members))
    members[name] = changed(members[name], rng)
    return write_zip(members)


def _description() -> Callable[[bytes], None]:
    from fasdk_engines.onnx_import.description import read_description

    return on_file(read_description, ".toml")


@cache
def _models() -> tuple[bytes, ...]:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "head": rng.standard_normal((4, 2)).astype(np.float32),
        "starts": np.array([0], np.int64),
        "ends": np.array([4], np.int64),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Slice", ["f", "starts", "ends", "axes"], ["s"]),
        helper.make_node("MatMul", ["s", "head"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return (bytes(model.SerializeToString()),)


_NUMBERS = (0, 1, -1, -2, 2, 3, 7, 64, 2**31, -(2**31), 2**40, 2**62, -(2**63))
# Enough for every order of a batch that is tried; more would run the same code on other numbers.
_PROOF_CAPTURES = 3
_EXTREMES = (1024.0,)
_OPERATORS = ("Conv", "Slice", "Reshape", "Gather", "Resize", "Loop", "If", "Tile", "Expand", "Pad")
_OPERATORS += ("ConstantOfShape", "Concat", "Identity", "Gemm", "Cast", "Range", "Split", "Einsum")


def mutate_onnx(data: bytes, rng: random.Random) -> bytes:
    """Return an ONNX file with extents, types, names, attributes or operators changed."""
    import onnx
    from google.protobuf.message import DecodeError

    if rng.random() < 0.15:
        return mutate_bytes(data, rng)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError):
        return mutate_bytes(data, rng)
    for _ in range(rng.randint(1, 3)):
        rng.choice(_CHANGES)(model, rng)
    try:
        return bytes(model.SerializeToString())
    except ValueError:
        return data


def _change_initializer(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(6):
        case 0:
            tensor.data_type = rng.randrange(25)
        case 1:
            tensor.raw_data = mutate_bytes(tensor.raw_data, rng)
        case 2:
            tensor.name = rng.choice(("", "x", "score", "\0", "kernel"))
        case 3:
            tensor.data_location = 1
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", rng.choice(("/etc/passwd", "w.bin", "", "\0"))
        case _:
            _change_numbers(tensor.dims, rng)


def _change_value(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    value = rng.choice(values)
    kind = value.type.tensor_type
    match rng.randrange(5):
        case 0:
            kind.elem_type = rng.randrange(25)
        case 1:
            value.name = rng.choice(("", "y", "score", "x", "a.b"))
        case 2:
            kind.shape.dim.add().dim_value = rng.choice(_NUMBERS)
        case _:
            if kind.shape.dim:
                extent = rng.choice(kind.shape.dim)
                if rng.random() < 0.8:
                    extent.dim_value = rng.choice(_NUMBERS)
                else:
                    extent.dim_param = rng.choice(("", "batch", "h", "\0"))


def _change_node(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.node:
        return
    node = rng.choice(model.graph.node)
    match rng.randrange(7):
        case 0:
            node.op_type = rng.choice(_OPERATORS)
        case 1:
            names = [name for each in model.graph.node for name in each.output] + [
                "x",
                "",
                "kernel",
            ]
            if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 2:
            node.domain = rng.choice(("", "ai.onnx.ml", "com.microsoft", "x"))
        case 3:
            model.graph.node.remove(node)
        case 4:
            model.graph.node.add().CopyFrom(node)
        case _:
            for attribute in node.attribute:
                _change_numbers(attribute.ints, rng)
                attribute.type = attribute.type if rng.random() < 0.9 else rng.randrange(15)


def _change_model(model: onnx.ModelProto, rng: random.Random) -> None:
    match rng.randrange(4):
        case 0:
            model.ir_version = rng.choice(_NUMBERS)
        case 1:
            for opset in model.opset_import:
                opset.version = rng.choice((*_NUMBERS, 9, 11, 13, 18, 21))
        case 2:
            model.opset_import.add().domain = "x"
        case _:
            entry = model.metadata_props.add()
            entry.key, entry.value = "fasdk.max_batch", rng.choice(("1", "-1", "x", "9" * 99))


def _change_numbers(values: Any, rng: random.Random) -> None:
    if values and rng.random() < 0.8:
        values[rng.randrange(len(values))] = rng.choice(_NUMBERS)
    else:
        values.append(rng.choice(_NUMBERS))


_CHANGES = (_change_initializer, _change_initializer, _change_value, _change_node, _change_model)


def _import() -> Callable[[bytes], None]:
    """Return the import of a graph, whose guarded part runs in one child for many inputs.

    An input that the child dies of is imported again as shipped, with a child of its own.
    """
    from fasdk_engines.onnx_import import equivalence
    from fasdk_engines.onnx_import import import_graph as module
    from fasdk_engines.onnx_import.description import read_description
    from fasdk_engines.onnx_import.guard import answer_of
    from fasdk_engines.onnx_import.onnx_file import read_onnx_file

    folder = scratch_folder()
    (folder / "net.toml").write_text(_DESCRIPTION)
    description = read_description(folder / "net.toml")

    def read(path: Path) -> None:
        file = read_onnx_file(path)
        module.import_graph(file, module.with_sizes(file, description))

    def in_place(work: Callable[[], object], name: str, _model_bytes: int) -> object:
        succeeded, result = answer_of(work, name)
        if not succeeded:
            raise cast("FasdkError", result)
        return result

    def read_in_place(path: Path) -> None:
        with (
            mock.patch.object(module, "run_guarded", in_place),
            mock.patch.object(module, "PROOF_CAPTURES", _PROOF_CAPTURES),
            mock.patch.object(equivalence, "_EXTREMES", _EXTREMES),
        ):
            read(path)

    return ForkServer(on_file(read_in_place, ".onnx"), on_file(read, ".onnx")).run


def _draft() -> Callable[[bytes], None]:
    from fasdk_engines.onnx_import.draft import draft_description
    from fasdk_engines.onnx_import.onnx_file import read_onnx_file

    return on_file(lambda path: draft_description(read_onnx_file(path)), ".onnx")


def _session() -> Callable[[bytes], None]:
    from fasdk.backends.onnxruntime import OnnxRuntimeEngine

    def run(data: bytes) -> None:
        engine = OnnxRuntimeEngine(data, threads=1)
        lane = engine.open_lane(2)
        lane.run(1)
        lane.close()
        engine.close()

    return run


def _graphs() -> Iterator[bytes]:
    from support import tiny_bundle

    yield from _models()
    yield tiny_bundle.graph_bytes()


TARGETS = (
    Target(
        "safetensors",
        _checkpoint(".safetensors"),
        _safetensors,
        mixed(mutate_safetensors, mutate_bytes),
    ),
    Target("torch", _checkpoint(".pth"), _torch_files, mutate_torch),
    Target("description", _description, lambda: [_DESCRIPTION.encode()], word_mutator(_TOML_WORDS)),
    Target("onnx-draft", _draft, lambda: list(_models()), mutate_onnx),
    Target("onnx-import", _import, lambda: list(_models()), mutate_onnx),
    Target("onnx-session", _session, lambda: list(_graphs()), mutate_onnx),
)
