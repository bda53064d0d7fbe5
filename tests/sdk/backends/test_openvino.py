"""OpenVINO backend on the verified bytes, without fusion of Q/DQ nodes."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("openvino", reason="openvino is not installed: pip install '.[openvino]'")

import fasdk
from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.backends.openvino import OpenVinoEngine
from fasdk.backends.registry import installed_backends, open_engine
from fasdk.bundle.manifest import Precision
from fasdk.errors import BackendError

from support import networks, tiny_bundle


def inputs(batch=2, size=tiny_bundle.SIZE):
    rng = np.random.default_rng(0)
    return {
        m.value: rng.standard_normal((batch, 3, size, size)).astype(np.float32)
        for m in tiny_bundle.ALL
    }


@pytest.fixture(scope="module")
def engine():
    return OpenVinoEngine(tiny_bundle.graph_bytes(), threads=1)


def model_of(*nodes, weights=None, shape=(3,), out=None) -> bytes:
    """Return a graph of `nodes` from x, float32 [batch, *shape], to logits."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", *(out or shape)])],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def test_openvino_answers_what_onnxruntime_answers(engine):
    for batch in (1, 3, 2):
        given = inputs(batch)
        found, expected = engine.run(given), OnnxRuntimeEngine(tiny_bundle.graph_bytes()).run(given)
        found.require(batch, {"logits": (2,), "reliability": (3,)})
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
        np.testing.assert_allclose(found.reliability, expected.reliability, atol=1e-6)


def test_a_session_on_it_reproduces_the_golden_captures(bundle_path):
    with fasdk.open(bundle_path, backend=Backend.OPENVINO, threads=1) as session:
        assert session.engine.backend is Backend.OPENVINO
        assert session.engine.version.count(".") == 2
        assert session.replay_golden() <= 1e-6
        decision = session.check(tiny_bundle.capture(200))
    assert decision.verdict is fasdk.Verdict.LIVE


def test_openvino_is_never_chosen_by_auto(bundle):
    assert Backend.OPENVINO in installed_backends()
    assert open_engine(bundle).backend is not Backend.OPENVINO


def test_importing_it_loads_no_telemetry_and_nothing_of_the_workstations():
    code = (
        "import sys, fasdk.backends.openvino\n"
        "found = {m.split('.')[0] for m, module in sys.modules.items() if module is not None}\n"
        "print(*sorted(found & {'openvino', 'openvino_telemetry', 'torch', 'onnx'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["openvino"]


@pytest.mark.parametrize("graph", [b"", b"not a graph", tiny_bundle.graph_bytes()[:-50]])
def test_a_graph_it_cannot_load_is_refused(graph):
    with pytest.raises(BackendError, match="refuses the graph"):
        OpenVinoEngine(graph)


def test_a_number_of_threads_that_is_none_is_refused():
    with pytest.raises(BackendError, match="refuses the graph"):
        OpenVinoEngine(tiny_bundle.graph_bytes(), threads="two")


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
    with pytest.raises(BackendError, match="refuses the graph: it reads weights from another file"):
        OpenVinoEngine(model.SerializeToString())


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
        inputs() | {"rgb": np.float32(0)},
    ],
)
def test_inputs_of_another_shape_or_name_fail(engine, given):
    with pytest.raises(BackendError, match="OpenVINO failed"):
        engine.run(given)


def test_a_graph_without_logits_is_at_fault():
    graph = model_of(helper.make_node("Identity", ["x"], ["logits"])).replace(b"logits", b"scores")
    with pytest.raises(BackendError, match="outputs scores, expected logits"):
        OpenVinoEngine(graph).run({"x": np.zeros((1, 3), np.float32)})


def test_a_closed_engine_does_not_run():
    engine = OpenVinoEngine(tiny_bundle.graph_bytes(), threads=1)
    lane = engine.open_lane(2)
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="closed"):
        engine.run(inputs())
    with pytest.raises(BackendError, match="closed"):
        engine.open_lane(1)
    lane.close()
    lane.close()
    with pytest.raises(BackendError, match="closed"):
        lane.run(1)


def test_a_lane_takes_no_batch_beyond_its_own(engine):
    lane = engine.open_lane(2)
    for batch in (0, 3):
        with pytest.raises(BackendError, match=f"a batch of {batch}, expected 1 to 2"):
            lane.run(batch)
    with pytest.raises(BackendError, match="batches of 0"):
        engine.open_lane(0)


def test_a_lanes_answer_outlives_its_next_call(engine):
    lane = engine.open_lane(2)
    lane.inputs["rgb"][:] = 1.0
    first = lane.run(1)
    kept = first.logits.copy()
    lane.inputs["rgb"][:] = -1.0
    second = lane.run(1)
    np.testing.assert_array_equal(first.logits, kept)
    assert second.logits[0, 1] < kept[0, 1]


def test_lanes_run_side_by_side(engine):
    lanes = [engine.open_lane(4) for _ in range(4)]
    found: dict[int, list[float]] = {n: [] for n in range(4)}

    def work(number: int) -> None:
        for array in lanes[number].inputs.values():
            array[:] = number
        for _ in range(25):
            found[number].append(float(lanes[number].run(1 + number).logits[number, 1]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answers in found.items():
        np.testing.assert_allclose(answers, 6 * number, atol=1e-4)
        assert len(answers) == 25


def test_a_score_that_is_not_finite_stays_so(engine):
    given = inputs(1)
    given["rgb"][0, 0, 0, 0] = np.nan
    assert not np.isfinite(engine.run(given).logits).all()


@pytest.mark.parametrize("integers", [np.int8, np.uint8])
@pytest.mark.parametrize("zero_point", [0, 7])
def test_8_bit_values_are_those_of_the_onnx_standard(integers, zero_point):
    scale = np.float32(0.0213)
    x = np.random.default_rng(3).normal(0, 2, (64, 3)).astype(np.float32)
    graph = model_of(
        # A difference before it is what OpenVINO's own form of it gets wrong.
        helper.make_node("Sub", ["x", "shift"], ["moved"]),
        helper.make_node("QuantizeLinear", ["moved", "scale", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["logits"]),
        weights={
            "shift": np.float32([1.4, 0.4, 0.3]),
            "scale": scale,
            "zero": integers(zero_point),
        },
    )
    info = np.iinfo(integers)
    moved = x - np.float32([1.4, 0.4, 0.3])
    levels = np.clip(np.rint(moved / scale) + zero_point, info.min, info.max)
    found = OpenVinoEngine(graph, threads=1).run({"x": x}).logits
    np.testing.assert_allclose(found, (levels - zero_point) * scale, atol=1e-6)


def test_a_range_that_is_computed_is_refused():
    graph = model_of(
        helper.make_node("ReduceMax", ["x"], ["scale"], keepdims=0),
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["logits"]),
        weights={"zero": np.int8(0)},
    )
    with pytest.raises(BackendError, match=r"range that is computed: use --backend onnxruntime"):
        OpenVinoEngine(graph)


def test_pairs_of_8_bit_products_do_not_saturate():
    """255 * 127 twice is 64,770, above what 16 bits hold."""
    graph = model_of(
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "one", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["weight", "one", "mid"], ["weights"]),
        helper.make_node("MatMul", ["values", "weights"], ["logits"]),
        weights={
            "one": np.float32(1),
            "zero": np.uint8(0),
            "mid": np.int8(0),
            "weight": np.full((64, 2), 127, np.int8),
        },
        shape=(64,),
        out=(2,),
    )
    found = OpenVinoEngine(graph, threads=1).run({"x": np.full((1, 64), 255, np.float32)}).logits
    np.testing.assert_array_equal(found, np.full((1, 2), 64 * 255 * 127, np.float32))


def test_a_float16_graph_is_computed_on_its_rounded_weights():
    weight = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    graph = model_of(
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "weight"], ["product"]),
        helper.make_node("Cast", ["product"], ["logits"], to=TensorProto.FLOAT),
        weights={"weight": weight.astype(np.float16)},
        out=(2,),
    )
    x = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float16).astype(np.float32)
    expected = x @ weight.astype(np.float16).astype(np.float32)
    found = OpenVinoEngine(graph, threads=1).run({"x": x}).logits
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert found.dtype == np.float32


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT8_FP32])
@pytest.mark.parametrize("name", ["transformer", "convolutions"])
def test_a_quantized_network_answers_as_written(name, precision):
    graph, batch = networks.prepare(name, precision).write(), networks.captures(8, seed=1)
    found = OpenVinoEngine(graph, threads=1).run(batch).logits
    expected = OnnxRuntimeEngine(graph, threads=1).run(batch).logits
    spread = float(expected.std())
    np.testing.assert_allclose(found, expected, atol=0.02 * spread)


def test_the_thread_that_opens_an_engine_keeps_its_stack_for_signals(tmp_path):
    """One that the plugin lends and frees is written to by the next signal: the process dies."""
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(tiny_bundle.graph_bytes())
    program = f"""
import ctypes, pathlib
class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
def stack():
    found = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.at, found.flags, found.size
from fasdk.backends.openvino import OpenVinoEngine
before = stack()
engine = OpenVinoEngine(pathlib.Path({str(graph)!r}).read_bytes(), threads=1)
assert stack() == before
engine.close()
assert stack() == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
