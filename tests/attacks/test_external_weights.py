"""A signed graph reads its weights from outside the bundle.

The attacker has a bundle signed whose graph names a file, an absolute path or a raw address for a
tensor's values, wherever a tensor can stand, and changes that file afterwards. Answer: the bundle
is not opened, before any backend sees the graph, and not written either.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.graph import require_self_contained
from fasdk.bundle.members import GRAPH
from fasdk.errors import BundleError

from support import hostile_bundle, tiny_bundle

LOCATIONS = ["weights.bin", "/etc/passwd", "../weights.bin", "*/_ORT_MEM_ADDR_/*", ""]


def outside(name="w", location="/etc/passwd", *, stated=True) -> TensorProto:
    """A tensor whose values lie elsewhere; without `stated`, its location alone says so."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[9, 2])
    if stated:
        tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "72")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def inner_graph(tensor: TensorProto) -> onnx.GraphProto:
    output = helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, None)
    return helper.make_graph([], "inner", [], [output], [tensor])


def sparse(tensor: TensorProto, *, indices: bool) -> onnx.SparseTensorProto:
    made = onnx.SparseTensorProto(dims=[9, 2])
    plain = numpy_helper.from_array(np.zeros(1, np.int64), "plain")
    made.values.CopyFrom(plain if indices else tensor)
    made.indices.CopyFrom(tensor if indices else plain)
    return made


def constant(model: onnx.ModelProto, **attribute: object) -> onnx.AttributeProto:
    node = model.graph.node.add(op_type="Constant", output=["unused"])
    return node.attribute.add(**attribute)


def in_function(model: onnx.ModelProto, tensor: TensorProto, *, default: bool) -> None:
    function = model.functions.add(name="f", domain="d")
    node = function.node.add(op_type="Constant", output=["y"])
    attribute = function.attribute_proto.add() if default else node.attribute.add()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    attribute.t.CopyFrom(tensor)


def in_branch(model: onnx.ModelProto, tensor: TensorProto, depth: int = 1) -> None:
    graph = inner_graph(tensor)
    for _ in range(depth - 1):
        around = inner_graph(numpy_helper.from_array(np.zeros(1, np.float32), "z"))
        around.node.append(helper.make_node("If", ["c"], ["o"], then_branch=graph))
        graph = around
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=graph))


PLACES = {
    "initializer": lambda m, t: m.graph.initializer.append(t),
    "sparse values": lambda m, t: m.graph.sparse_initializer.append(sparse(t, indices=False)),
    "sparse indices": lambda m, t: m.graph.sparse_initializer.append(sparse(t, indices=True)),
    "Constant": lambda m, t: constant(m, name="value", type=4, t=t),
    "list of tensors": lambda m, t: constant(m, name="tensors", type=9, tensors=[t]),
    "sparse attribute": lambda m, t: constant(
        m, name="sparse_value", type=11, sparse_tensor=sparse(t, indices=False)
    ),
    "list of sparse tensors": lambda m, t: constant(
        m, name="many", type=12, sparse_tensors=[sparse(t, indices=True)]
    ),
    "branch": in_branch,
    "branch in branches": lambda m, t: in_branch(m, t, 5),
    "list of graphs": lambda m, t: constant(m, name="gs", type=10, graphs=[inner_graph(t)]),
    "function": lambda m, t: in_function(m, t, default=False),
    "default of a function": lambda m, t: in_function(m, t, default=True),
    "training, initialization": lambda m, t: m.training_info.add().initialization.CopyFrom(
        inner_graph(t)
    ),
    "training, algorithm": lambda m, t: m.training_info.add().algorithm.CopyFrom(inner_graph(t)),
}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_weights_outside_the_bundle_are_refused_wherever_they_stand(tmp_path, place, stated):
    model = hostile_bundle.model()
    PLACES[place](model, outside(stated=stated))
    path = hostile_bundle.with_graph(tmp_path / "a.fasb", model)
    with pytest.raises(BundleError, match="reads weights from another file"):
        open_bundle(path)


@pytest.mark.parametrize("location", LOCATIONS)
def test_no_location_is_followed(tmp_path, location):
    model = hostile_bundle.model()
    model.graph.initializer[0].CopyFrom(outside("weight", location))
    path = hostile_bundle.with_graph(tmp_path / "a.fasb", model)
    with pytest.raises(BundleError, match="reads weights from another file"):
        open_bundle(path)


def test_a_location_without_entries_is_refused():
    model = hostile_bundle.model()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(BundleError, match="reads weights from another file"):
        require_self_contained(model.SerializeToString())


def test_it_is_not_written_either(tmp_path):
    model = hostile_bundle.model()
    model.graph.initializer[0].CopyFrom(outside("weight"))
    described = tiny_bundle.manifest(operating_points=())
    members = tiny_bundle.members(described) | {GRAPH: model.SerializeToString()}
    with pytest.raises(BundleError, match="reads weights from another file"):
        write_bundle(tmp_path / "a.fasb", described, members)
    assert not (tmp_path / "a.fasb").exists()


def key(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def varint(value: int, *, longer: int = 0) -> bytes:
    """An integer as protobuf writes it, or with so many needless bytes."""
    out = []
    while value > 0x7F or longer:
        if value <= 0x7F:
            longer -= 1
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return key(number, 2) + varint(len(content)) + content


def model_with(tensor: bytes) -> bytes:
    return key(1, 0) + varint(8) + field(7, field(5, tensor))


GOOD = field(8, b"w") + key(2, 0) + varint(1)  # a scalar name and type, no values
ENTRY = field(1, b"location") + field(2, b"/etc/passwd")
HOSTILE_WIRE = {
    "needless bytes in a key": varint(13 << 3 | 2, longer=3) + varint(len(ENTRY)) + ENTRY,
    "needless bytes in a value": varint(14 << 3) + varint(1, longer=5),
    "a key of 33 bits": varint((1 << 32) | (13 << 3 | 2)) + varint(len(ENTRY)) + ENTRY,
    "a value whose low bits are 0": varint(14 << 3) + varint(1 << 40),
    "a location of another wire type": field(14, b"\x01"),
    "a group": key(13, 3) + ENTRY + key(13, 4),
    "a length beyond the end": key(13, 2) + varint(1 << 40),
    "a length of 2^63": key(13, 2) + varint(1 << 63),
    "an endless integer": b"\xff" * 40,
    "field 0": key(0, 0) + b"\x00",
}


@pytest.mark.parametrize("wire", HOSTILE_WIRE.values(), ids=HOSTILE_WIRE)
def test_hostile_wire_data_is_refused(wire):
    with pytest.raises(BundleError):
        require_self_contained(model_with(GOOD + wire))


def test_a_second_graph_does_not_hide_in_the_first():
    good = field(7, b"")
    with pytest.raises(BundleError, match="occurs twice"):
        require_self_contained(key(1, 0) + b"\x08" + good + good)


@pytest.mark.parametrize("mark", [b"ORTM", b"TFL3"])
def test_a_file_that_is_of_another_format_to_a_backend_is_refused(mark):
    body = key(1, 0) + b"\x08" + key(2, 2) + varint(8) + mark + b"\0" * 4
    assert body[4:8] == mark
    with pytest.raises(BundleError, match="not an ONNX file: it is marked"):
        require_self_contained(body + field(7, b""))


def test_depth_and_work_are_bounded(monkeypatch):
    deep = b""
    for _ in range(120):
        deep = field(1, field(5, field(6, deep)))
    with pytest.raises(BundleError, match="nested deeper"):
        require_self_contained(key(1, 0) + b"\x08" + field(7, deep))
    monkeypatch.setattr("fasdk.bundle.wire._MAX_FIELDS", 1000)
    many = key(1, 0) + b"\x08" + field(7, field(16, b"") * 1001)
    with pytest.raises(BundleError, match="more than 1000 fields"):
        require_self_contained(many)


def test_random_damage_never_raises_anything_else():
    rng = np.random.default_rng(5)
    graph = tiny_bundle.graph_bytes()
    limit = sys.getrecursionlimit()
    for _ in range(150):
        data = bytearray(graph)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        try:
            require_self_contained(bytes(data))
        except BundleError:
            continue
    assert sys.getrecursionlimit() == limit
