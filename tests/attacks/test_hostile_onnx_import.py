"""An ONNX file that ends the build, takes its memory, or surprises it.

The attacker gives a workstation an ONNX file or a description: extents that the bytes do not fill,
negative or absurd sizes, kernels larger than their input, constants of terabytes, references in
circles. Answer: `fasdk build-engine` and `fasdk describe` say one line and exit with 2; the process
neither aborts nor outgrows its memory.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fasdk.errors import DatasetError, ExportError
from fasdk_engines.onnx_import import guard
from fasdk_engines.onnx_import.describe import describe_onnx
from fasdk_engines.onnx_import.guard import run_guarded
from fasdk_engines.onnx_import.onnx_file import read_onnx_file
from fasdk_tools.cli import main

from support.onnx_mutations import (
    DESCRIPTION,
    SIZE,
    damaged,
    damaged_description,
    imported,
    small_model,
)


def constant_of_shape(shape: list[int], *, folded: bool) -> onnx.ModelProto:
    """A network that adds the mean of an enormous constant, foldable or not."""
    model = small_model(0)
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "vast"))
    source = "vast"
    if not folded:
        nodes = [
            helper.make_node("Shape", ["image"], ["size"]),
            helper.make_node("Sub", ["size", "size"], ["none"]),
            helper.make_node("ReduceSum", ["none"], ["no"], keepdims=0),
            helper.make_node("Add", ["vast", "no"], ["vast_here"]),
        ]
        source = "vast_here"
    else:
        nodes = []
    nodes += [
        helper.make_node("ConstantOfShape", [source], ["filled"]),
        helper.make_node("ReduceMean", ["filled"], ["mean"], keepdims=0),
        helper.make_node("Add", ["raw", "mean"], ["scores"]),
    ]
    graph.node[-1].output[0] = "raw"
    graph.node.extend(nodes)
    return model


def conv(kernel: list[int], **attributes: object) -> onnx.ModelProto:
    """A network whose first kernel has these extents, and a Slice behind it."""
    model = small_model(1)
    weights = next(t for t in model.graph.initializer if len(t.dims) == 4)
    size = int(np.prod(np.abs(kernel)))
    weights.CopyFrom(numpy_helper.from_array(np.zeros(size, np.float32), weights.name))
    del weights.dims[:]
    weights.dims.extend(kernel)
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name in ("kernel_shape", *attributes):
            del node.attribute[index]
    node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return model


def oversized_sparse() -> onnx.ModelProto:
    model = small_model(0)
    sparse = model.graph.sparse_initializer.add(dims=[2**20, 2**20])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros((1, 2), np.int64), ""))
    return model


def int64_of_2_31() -> onnx.ModelProto:
    model = small_model(0)
    model.graph.initializer.append(
        TensorProto(name="w", data_type=TensorProto.INT64, dims=[2**31], raw_data=bytes(8))
    )
    return model


def circle() -> onnx.ModelProto:
    model = small_model(0)
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    return model


HOSTILE = {
    "a negative extent of a weight": conv([-2, 3, 3, 3]),
    "an int64 of 2^31 with 8 bytes": int64_of_2_31(),
    "a kernel larger than its input": conv([4, 3, 31, 31], pads=[0, 0, 0, 0]),
    "a negative kernel": conv([4, 3, 3, 3], kernel_shape=[-3, -3]),
    "strides of 0": conv([4, 3, 3, 3], strides=[0, 0]),
    "negative pads": conv([4, 3, 3, 3], pads=[-9, -9, -9, -9]),
    "a dilation of 2^62": conv([4, 3, 3, 3], dilations=[2**62, 2**62]),
    "2^62 groups": conv([4, 3, 3, 3], group=2**62),
    "sparse weights of a terabyte": oversized_sparse(),
    "a circle": circle(),
}


@pytest.mark.parametrize("model", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_one_line(tmp_path, model):
    answer = imported(tmp_path, model)
    assert answer.startswith(str(tmp_path))
    assert "\n" not in answer.strip()


@pytest.mark.parametrize(
    "name", ["a negative extent of a weight", "a negative kernel", "2^62 groups", "a circle"]
)
def test_the_comparison_of_layers_of_a_hostile_file_is_one_line(tmp_path, capfd, name):
    source = tmp_path / "given.onnx"
    source.write_bytes(HOSTILE[name].SerializeToString())
    assert main(["debug-parity", str(source), "--against", str(source)]) == 2
    (line,) = [each for each in capfd.readouterr().err.splitlines() if each.startswith("fasdk: ")]
    assert str(source) in line
    assert "unexpected" not in line


@pytest.mark.parametrize("folded", [True, False])
def test_a_constant_of_a_terabyte_takes_no_memory(tmp_path, folded):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    answer = imported(tmp_path, constant_of_shape([2**20, 2**18], folded=folded))
    assert answer != "ok"
    grown = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before
    assert grown < 4 * 2**20  # KiB


@pytest.mark.parametrize("height", [1, 2, 8])
def test_a_wrong_height_in_the_description_is_one_line(tmp_path, height):
    model = conv([4, 3, SIZE, SIZE], pads=[0, 0, 0, 0])
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[2].dim_param = "H"
    text = DESCRIPTION.replace(f"height = {SIZE}", f"height = {height}")
    assert imported(tmp_path, model, text) != "ok"


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_undamaged_files_are_imported(tmp_path, kind):
    assert imported(tmp_path, small_model(kind)) == "ok"


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_imported_or_refused(tmp_path, seed):
    imported(tmp_path, damaged(small_model(seed % 3), seed), damaged_description(seed))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1300, 50))
def test_many_damaged_files_are_imported_or_refused(tmp_path, start):
    for seed in range(start, start + 50):
        imported(tmp_path, damaged(small_model(seed % 3), seed), damaged_description(seed))


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_file_is_described_or_refused(tmp_path, seed):
    path = tmp_path / "small.onnx"
    path.write_bytes(damaged(small_model(seed % 3), 500 + seed).SerializeToString())
    try:
        described = describe_onnx(path)
    except ExportError as error:
        assert str(path) in str(error)
    else:
        assert described.draft.text()


@pytest.mark.parametrize(
    "location", ["w\0.bin", "w" * 5000, "loop", "..", "/dev/zero", "/etc/passwd", "small.onnx/x"]
)
def test_weights_in_places_that_are_no_files_are_one_line(tmp_path, location):
    (tmp_path / "loop").symlink_to("loop")
    model = small_model(0)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = tmp_path / "small.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=r"small\.onnx"):
        read_onnx_file(path)


def test_weights_outside_in_a_function_are_not_followed(tmp_path):
    model = small_model(0)
    function = model.functions.add(name="f", domain="x")
    attribute = function.node.add(op_type="Constant", output=["y"]).attribute.add(
        name="value", type=onnx.AttributeProto.TENSOR
    )
    attribute.t.data_location = TensorProto.EXTERNAL
    attribute.t.external_data.add(key="location", value="/etc/passwd")
    path = tmp_path / "small.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="lies outside its folder"):
        read_onnx_file(path)


def abort() -> None:
    os.abort()


def take_all_memory() -> int:
    held = [np.empty(2**28, np.uint8) for _ in range(100)]
    return len(held)


def recurse() -> None:
    recurse()


def refuse() -> None:
    raise DatasetError("no such list")


def fail() -> None:
    raise KeyError("x\ny")


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (abort, ExportError, r"x\.onnx: the libraries that read the graph stopped \(SIGABRT\)"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), ExportError, "SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGXCPU), ExportError, "took more than 1800 s"),
        (take_all_memory, ExportError, "needs more than 1 GiB of memory beside its weights"),
        (recurse, ExportError, "nested too deep"),
        (
            fail,
            ExportError,
            r"processed: .* \(KeyError at \S+guard:\d+\); check the file",
        ),
        (refuse, DatasetError, "^no such list$"),
        (lambda: sys.exit(3), ExportError, r"stopped \(status 1\)"),
        (lambda: lambda: 1, ExportError, r"stopped \(status 1\)"),  # no answer can be sent
    ],
)
def test_whatever_ends_the_child_is_an_error_of_the_file(monkeypatch, work, kind, words):
    monkeypatch.setattr(guard, "_MEMORY_BYTES", 2**30)
    with pytest.raises(kind, match=words):
        run_guarded(work, "x.onnx", 0)


def test_the_text_of_a_foreign_exception_is_not_passed_on():
    with pytest.raises(ExportError) as caught:
        run_guarded(fail, "net.onnx", 0)
    assert "x\\ny" not in str(caught.value)
    assert "check_model(PATH, full_check=True)" in str(caught.value)
    onnx.checker.check_model(small_model(0), full_check=True)


def test_a_guarded_answer_comes_back_whole():
    answer = run_guarded(lambda: (bytes(3_000_000), {"a": 1}), "x.onnx", 0)
    assert answer == (bytes(3_000_000), {"a": 1})


BUILD = ["build-engine", "small.onnx", "-o", "o.fasb"]
BUILD += ["--model", "onnx", "--preprocess", "small.toml"]


@pytest.mark.slow
def test_the_command_says_one_line_and_exits_2(tmp_path):
    model = HOSTILE["a kernel larger than its input"]
    (tmp_path / "small.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "small.toml").write_text(DESCRIPTION)
    done = subprocess.run(
        [sys.executable, "-c", "from fasdk_tools.cli import run; run()", *BUILD],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    *progress, said = done.stderr.strip().splitlines()
    assert said.startswith("fasdk: small.onnx: ")
    assert not [line for line in progress if "terminate" in line or "Traceback" in line]


@pytest.mark.slow
def test_a_child_that_stands_still_is_begun_again_and_then_given_up(tmp_path, monkeypatch):
    """A lock that another thread held when the child began is never released in it."""
    monkeypatch.setattr(guard, "_STALL_SECONDS", 1)
    seen = tmp_path / "seen"

    def stands_still_once():
        if not seen.exists():
            seen.touch()
            signal.pause()
        return 7

    assert run_guarded(stands_still_once, "net.onnx", 0) == 7
    with pytest.raises(ExportError, match=r"net\.onnx: .* stood still 3 times"):
        run_guarded(signal.pause, "net.onnx", 0)


def test_a_program_whose_torch_has_threads_is_answered():
    """OpenMP's threads are not in the child, which would wait for them for ever."""
    program = """
import torch
from fasdk_engines.onnx_import import guard
guard._STALL_SECONDS = 10
torch.set_num_threads(2)
images = torch.rand(8, 3, 16, 16)
def grow():
    return float(torch.nn.functional.interpolate(images, (256, 256), mode="bilinear").sum())
assert abs(grow() - guard.run_guarded(grow, "net.onnx", 0)) < 1.0
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
