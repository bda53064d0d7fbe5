"""A graph that is not the one its signed manifest describes.

The attacker has a bundle signed whose graph has other inputs, outputs, shapes, types or batch than
the manifest says, or extents that its weights do not fill, so that a session answers nonsense,
fails for ever or takes all memory. Answer: the bundle is not opened, with one line that names both
sides.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fasdk.backends.engine import EngineOutputs, new_rows
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.graph import MAX_BATCH_KEY, require_fits_manifest
from fasdk.bundle.manifest import parse_manifest
from fasdk.errors import BackendError, BundleError, UsageError

from support import hostile_bundle, tiny_bundle


def set_dim(value: onnx.ValueInfoProto, axis: int, extent: int | str | None) -> None:
    dim = value.type.tensor_type.shape.dim[axis]
    dim.Clear()
    if isinstance(extent, int):
        dim.dim_value = extent
    elif extent is not None:
        dim.dim_param = extent


def rename_input(model):
    model.graph.input[0].name = "color"


def drop_input(model):
    del model.graph.input[2]


def add_input(model):
    model.graph.input.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, ["batch"]))


def drop_output(model):
    del model.graph.output[1]


def add_output(model):
    model.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, ["b", 9]))


def set_shape(where, index, axis, extent):
    return lambda model: set_dim(getattr(model.graph, where)[index], axis, extent)


def set_type(where, index, element):
    def change(model):
        getattr(model.graph, where)[index].type.tensor_type.elem_type = element

    return change


def drop_shape(model):
    model.graph.input[0].type.tensor_type.ClearField("shape")


def no_tensor(model):
    model.graph.input[0].type.Clear()
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def one_at_a_time(model):
    model.metadata_props.add(key=MAX_BATCH_KEY, value="1")


CONTRADICTIONS = {
    "another input": rename_input,
    "an input less": drop_input,
    "an input more": add_input,
    "an output less": drop_output,
    "an output more": add_output,
    "another height": set_shape("input", 0, 2, 17),
    "another channel": set_shape("input", 0, 1, 1),
    "a symbolic height": set_shape("input", 0, 2, "height"),
    "no height": set_shape("input", 0, 2, None),
    "a negative height": set_shape("input", 0, 2, -16),
    "a fixed batch": set_shape("input", 0, 0, 1),
    "a fixed batch of answers": set_shape("output", 0, 0, 4),
    "another number of classes": set_shape("output", 0, 1, 3),
    "another number of reliabilities": set_shape("output", 1, 1, 2),
    "half precision at an end": set_type("input", 0, TensorProto.FLOAT16),
    "integers as answer": set_type("output", 0, TensorProto.INT64),
    "no shape": drop_shape,
    "a sequence": no_tensor,
    "one capture at a time": one_at_a_time,
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_graph_that_contradicts_its_manifest_is_refused(change):
    model = hostile_bundle.model()
    change(model)
    with pytest.raises(BundleError, match=r"x\.fasb: model\.onnx contradicts manifest\.json"):
        require_fits_manifest(
            memoryview(model.SerializeToString()), tiny_bundle.manifest(), "x.fasb"
        )


def test_such_a_bundle_does_not_open(tmp_path):
    model = hostile_bundle.model()
    set_dim(model.graph.input[0], 2, "height")
    path = hostile_bundle.with_graph(tmp_path / "a.fasb", model)
    with pytest.raises(BundleError, match=r"'rgb' float32 \[batch, 3, height, 16\], expected"):
        open_bundle(path)


def test_weights_that_older_files_list_as_inputs_are_no_inputs():
    model = hostile_bundle.model()
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [9, 2]))
    require_fits_manifest(memoryview(model.SerializeToString()), tiny_bundle.manifest(), "x.fasb")


def weight(**fields: object) -> TensorProto:
    return TensorProto(name="weight", data_type=TensorProto.FLOAT, **fields)


BAD_TENSORS = {
    "too few bytes": weight(dims=[9, 2], raw_data=bytes(8)),
    "too many bytes": weight(dims=[9, 2], raw_data=bytes(80)),
    "none at all": weight(dims=[9, 2]),
    "a negative extent": weight(dims=[-2, 3, 3, 3], raw_data=bytes(72)),
    "two negative extents": weight(dims=[-9, -2], raw_data=bytes(72)),
    "2^31 elements of 8 bytes": TensorProto(
        name="weight", data_type=TensorProto.INT64, dims=[2**31], raw_data=bytes(8)
    ),
    "no element beside extents of 2^33": weight(dims=[2**33, 0, 2**40], raw_data=b""),
    "extents whose product wraps to 18": weight(dims=[2**62, 4, 18], raw_data=bytes(72)),
    "bytes and numbers": weight(dims=[9, 2], raw_data=bytes(72), float_data=[0.0] * 18),
    "too few numbers": weight(dims=[9, 2], float_data=[0.0] * 17),
    "numbers of two kinds": weight(dims=[9, 2], float_data=[0.0] * 9, int64_data=[0] * 9),
    "no type": TensorProto(name="weight", dims=[9, 2], raw_data=bytes(72)),
    "an unknown type": TensorProto(name="weight", data_type=99, dims=[1], raw_data=b"x"),
    "a hundred extents": weight(dims=[1] * 100, raw_data=bytes(4)),
    "strings as bytes": TensorProto(
        name="weight", data_type=TensorProto.STRING, dims=[1], raw_data=b"abc"
    ),
}


@pytest.mark.parametrize("tensor", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_a_tensor_whose_bytes_do_not_fill_its_extents_is_refused(tensor):
    model = hostile_bundle.model()
    model.graph.initializer[0].CopyFrom(tensor)
    with pytest.raises(BundleError, match="tensor 'weight' has "):
        require_fits_manifest(
            memoryview(model.SerializeToString()), tiny_bundle.manifest(), "x.fasb"
        )


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3), np.float16),
        np.zeros((2, 3), np.int64),
        np.zeros((2, 3), np.bool_),
        np.zeros((2, 0), np.float32),
        np.float64(1.0),
        np.zeros((2, 3), np.complex64),
        np.array(["a", "b"], object),
    ],
    ids=str,
)
@pytest.mark.parametrize("typed", [False, True])
def test_a_sound_tensor_of_any_type_passes(values, typed):
    tensor = numpy_helper.from_array(np.asarray(values), "unread")
    if typed and tensor.raw_data:
        plain = np.asarray(values).ravel()
        if plain.dtype == np.float16:
            plain = plain.view(np.uint16)
        tensor = helper.make_tensor("unread", tensor.data_type, values.shape, plain.tolist())
    model = hostile_bundle.model()
    model.graph.initializer.append(tensor)
    require_fits_manifest(memoryview(model.SerializeToString()), tiny_bundle.manifest(), "x.fasb")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_sound_tensor_of_four_bits_passes(count):
    tensor = helper.make_tensor("unread", TensorProto.INT4, [count], [1] * count)
    model = hostile_bundle.model()
    model.graph.initializer.append(tensor)
    require_fits_manifest(memoryview(model.SerializeToString()), tiny_bundle.manifest(), "x.fasb")


def test_what_no_bundle_holds_is_refused():
    def loop(model):
        body = helper.make_graph([], "b", [], [])
        model.graph.node.append(helper.make_node("Loop", ["", "c"], ["y"], body=body))

    def other_domain(model):
        model.graph.node.append(helper.make_node("Reader", [], ["y"], domain="com.example"))

    changes = {
        "control flow": loop,
        "an operator of domain 'com.example'": other_domain,
        "a local function": lambda model: model.functions.add(name="f", domain="d"),
        "a graph for training": lambda model: model.training_info.add(),
        "sparse weights": lambda model: model.graph.sparse_initializer.add(),
    }
    for words, change in changes.items():
        model = hostile_bundle.model()
        change(model)
        with pytest.raises(BundleError, match=f"it holds {words}, which no bundle does"):
            require_fits_manifest(
                memoryview(model.SerializeToString()), tiny_bundle.manifest(), "x.fasb"
            )


@pytest.mark.parametrize("batch", [0, -1, 1025, 10**9])
def test_a_batch_that_no_lane_can_hold_is_no_manifest(batch):
    raw = json.loads(tiny_bundle.manifest().to_bytes()) | {"max_batch": batch}
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    with pytest.raises(BundleError, match=r"manifest\.json: max_batch: Input should be "):
        parse_manifest(canonical.encode(), "x.fasb")


def test_a_build_with_such_a_batch_is_refused_first():
    from fasdk_engines.build.request import BuildRequest

    with pytest.raises(UsageError, match="--max-batch is 1000000000: it must be 1 to 1024"):
        BuildRequest(Path("x.pth"), Path("x.fasb"), "mmdg", max_batch=10**9).require_consistent()


@pytest.mark.parametrize("shape", [(3, None, 16), (3, "height", 16), (3, -1, 16), (0,)])
def test_a_lane_of_open_extents_is_a_fault_of_the_backend(shape):
    with pytest.raises(BackendError, match="expected fixed extents after the batch"):
        new_rows({"rgb": shape}, 1)


def test_a_lane_beyond_memory_is_a_fault_of_the_backend():
    with pytest.raises(BackendError, match="no memory for a lane of batches of 1000000000"):
        new_rows({"rgb": (3, 4096, 4096)}, 10**9)
    engine = OnnxRuntimeEngine(tiny_bundle.graph_bytes(), threads=1)
    with pytest.raises(BackendError, match="no memory for a lane"):
        engine.open_lane(10**15)


@pytest.mark.parametrize("answer", [[{1: 0.5}], [[1.0], [1.0, 2.0]], ["a"], None, 3, b"x"])
def test_an_answer_that_is_no_tensor_is_a_fault_of_the_backend(answer):
    with pytest.raises(BackendError):
        EngineOutputs.from_named({"logits": answer}).require(1, {"logits": (2,)})
