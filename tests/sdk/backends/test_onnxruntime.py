"""ONNX Runtime backend on the verified bytes, and the backend factory."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.backends.onnxruntime import OnnxRuntimeEngine, Optimization, open_session
from fasdk.backends.registry import installed_backends, open_engine, parse_backend
from fasdk.errors import BackendError, UsageError

from support import tiny_bundle

ROOT = Path(__file__).parents[3]


def inputs(batch=2, size=tiny_bundle.SIZE):
    rng = np.random.default_rng(0)
    return {
        m.value: rng.standard_normal((batch, 3, size, size)).astype(np.float32)
        for m in tiny_bundle.ALL
    }


def test_outputs_are_float32_by_name():
    engine = OnnxRuntimeEngine(tiny_bundle.graph_bytes(), threads=1)
    given = inputs(3)
    outputs = engine.run(given)
    outputs.require(3, {"logits": (2,), "reliability": (3,)})
    means = {name: tensor.mean((1, 2, 3)) for name, tensor in given.items()}
    expected = 4 * means["rgb"] + means["depth"] + means["ir"]
    np.testing.assert_allclose(outputs.logits[:, 1], expected, atol=1e-5)
    assert (
        OnnxRuntimeEngine(tiny_bundle.graph_bytes(reliability=False)).run(given).reliability is None
    )


def test_a_graph_may_come_as_a_view_of_the_bundle(bundle):
    assert isinstance(open_engine(bundle, Backend.ONNXRUNTIME, threads=1), OnnxRuntimeEngine)


@pytest.mark.parametrize("graph", [b"", b"not a graph", tiny_bundle.graph_bytes()[:-50]])
def test_a_graph_it_cannot_load_is_refused(graph):
    with pytest.raises(BackendError, match="refuses the graph"):
        OnnxRuntimeEngine(graph)


def test_a_number_of_threads_that_is_none_is_refused():
    with pytest.raises(BackendError, match="refuses the graph"):
        OnnxRuntimeEngine(tiny_bundle.graph_bytes(), threads="two")


@pytest.mark.parametrize("place", ["weight.bin", "../weights/weight.bin", "{folder}/weight.bin"])
def test_weights_outside_the_verified_bytes_are_refused(tmp_path, monkeypatch, place):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.chdir(folder)
    model = onnx.load_from_string(tiny_bundle.graph_bytes())
    weight = model.graph.initializer[0]
    (folder / "weight.bin").write_bytes(weight.raw_data)
    entry = weight.external_data.add()
    entry.key, entry.value = "location", place.format(folder=folder)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    with pytest.raises(BackendError, match="refuses the graph"):
        OnnxRuntimeEngine(model.SerializeToString())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"rgb": inputs()["rgb"]},
        inputs(size=8) | {"rgb": np.zeros((2, 3), np.float32)},
        inputs() | {"rgb": inputs()["rgb"].astype(np.float64)},
        inputs() | {"thermal": inputs()["rgb"]},
        inputs() | {"rgb": inputs(3)["rgb"]},
        inputs() | {"rgb": None},
    ],
)
def test_inputs_of_another_shape_or_name_fail(given):
    engine = OnnxRuntimeEngine(tiny_bundle.graph_bytes(), threads=1)
    with pytest.raises(BackendError, match="ONNX Runtime failed"):
        engine.run(given)


def test_a_closed_engine_does_not_run():
    engine = OnnxRuntimeEngine(tiny_bundle.graph_bytes(), threads=1)
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="closed"):
        engine.run(inputs())


def test_a_graph_without_logits_is_at_fault():
    graph = helper.make_graph(
        [helper.make_node("Identity", ["rgb"], ["score"])],
        "other",
        [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    engine = OnnxRuntimeEngine(model.SerializeToString())
    with pytest.raises(BackendError, match="outputs score, expected logits"):
        engine.run({"rgb": np.zeros(1, np.float32)})


@pytest.mark.parametrize("values", [[[1, 2]], [["a", "b"]], [[True, False]], [[1j, 2]], None])
def test_outputs_that_are_not_floating_point_are_at_fault(values):
    with pytest.raises(BackendError, match="expected floating point"):
        EngineOutputs.from_named({"logits": np.array(values)})


def test_half_precision_outputs_become_float32():
    outputs = EngineOutputs.from_named({"logits": np.float16([[1, 2]])})
    outputs.require(1, {"logits": (2,)})


def test_backends_are_called_by_name():
    assert parse_backend("auto") is None
    assert [parse_backend(b.value) for b in Backend] == list(Backend)
    with pytest.raises(UsageError, match="'cuda': choose one of auto, onnxruntime, tensorrt"):
        parse_backend("cuda")


def test_finding_backends_imports_none(monkeypatch):
    before = set(sys.modules)
    assert Backend.ONNXRUNTIME in installed_backends()
    assert not {"tensorrt", "tensorrt_rtx"} & (set(sys.modules) - before)


def pretend_installed(monkeypatch, *names):
    def found(name):
        return ModuleSpec(name, None, origin=f"/lib/{name}.py") if name in names else None

    monkeypatch.setattr("importlib.util.find_spec", found)


def test_a_folder_called_tensorrt_is_not_tensorrt(tmp_path, monkeypatch):
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    if find_spec("tensorrt").origin is not None:
        pytest.skip("TensorRT is installed here")
    assert Backend.TENSORRT not in installed_backends()


def test_nothing_is_chosen_where_nothing_is_installed(bundle, monkeypatch):
    pretend_installed(monkeypatch)
    with pytest.raises(BackendError, match="no backend is installed"):
        open_engine(bundle)
    with pytest.raises(BackendError, match="onnxruntime is not installed; installed here: none"):
        open_engine(bundle, Backend.ONNXRUNTIME)
    pretend_installed(monkeypatch, "tensorrt_rtx")
    with pytest.raises(BackendError, match="no backend is installed"):
        open_engine(bundle)


def test_missing_backend_is_never_replaced_by_another(bundle, monkeypatch):
    pretend_installed(monkeypatch, "onnxruntime")
    with pytest.raises(BackendError, match="tensorrt is not installed; installed here: onnxrun"):
        open_engine(bundle, Backend.TENSORRT)
    assert open_engine(bundle).backend is Backend.ONNXRUNTIME


def test_tensorrt_is_preferred_and_its_failure_is_final(bundle, monkeypatch):
    pretend_installed(monkeypatch, "tensorrt", "tensorrt_rtx", "onnxruntime")
    asked = []

    def fail(_bundle, backend, *, progress, **_settings):
        asked.append((backend, progress))
        raise BackendError("no GPU")

    opening = pytest.importorskip("fasdk.backends.tensorrt.opening")
    monkeypatch.setattr(opening, "open_tensorrt_engine", fail)
    with pytest.raises(BackendError, match="no GPU"):
        open_engine(bundle, progress="bar")
    assert asked == [(Backend.TENSORRT, "bar")]
    assert installed_backends()[0] is Backend.TENSORRT


def test_sessions_are_opened_in_one_place():
    components = [ROOT / name for name in ("sdk", "engines", "calibration", "tools/fasdk_tools")]
    found = [
        str(path.relative_to(ROOT))
        for folder in components
        for path in folder.rglob("*.py")
        if "InferenceSession(" in path.read_text() or "SessionOptions(" in path.read_text()
    ]
    assert found == ["sdk/fasdk/backends/onnxruntime.py"]


def test_a_session_says_what_it_refuses():
    with pytest.raises(BackendError, match=r"ONNX Runtime \S+ refuses the rounded graph: "):
        open_session(b"not a graph", name="the rounded graph")


def test_an_optimization_level_is_taken():
    graph = tiny_bundle.graph_bytes()
    session = open_session(graph, threads=1, optimization=Optimization.NONE, prepack=False)
    options = session.get_session_options()
    assert options.graph_optimization_level == Optimization.NONE.value
    assert options.get_session_config_entry("session.disable_prepacking") == "1"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
