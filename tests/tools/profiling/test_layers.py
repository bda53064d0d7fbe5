"""Times of layers: ONNX Runtime's profile read, with reformats and the gap to the whole."""

from __future__ import annotations

import pytest

from fasdk.backends.engine import Backend
from fasdk.bundle.bundle import open_bundle
from fasdk.errors import BackendError
from fasdk_tools.profiling.layer_times import profile_layers
from fasdk_tools.profiling.onnxruntime_layers import read_profile

from support import tiny_bundle


def node(name, operator, us, kind="float"):
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": us,
        "args": {"op_name": operator, "output_type_shape": [{kind: [1, 2]}]},
    }


def call(*nodes, whole_us):
    return [*nodes, {"cat": "Session", "name": "model_run", "dur": whole_us, "args": {}}]


EVENTS = [
    {"cat": "Session", "name": "session_initialization", "dur": 9_000_000, "args": {}},
    *call(node("a", "Conv", 90_000), node("b", "ReorderOutput", 90_000), whole_us=900_000),
    *call(node("a", "Conv", 600, "float16"), node("b", "ReorderOutput", 300), whole_us=1000),
    *call(node("a", "Conv", 500), node("b", "ReorderOutput", 200), whole_us=900),
    *call(node("a", "Conv", 700), node("b", "ReorderOutput", 400), whole_us=1500),
]


def test_a_profile_gives_medians_without_the_warm_up_slowest_first():
    found = read_profile(EVENTS, batch=2, warmup_calls=1)
    assert [(layer.name, layer.operator, layer.ms) for layer in found.layers] == [
        ("a", "Conv", 0.6),
        ("b", "ReorderOutput", 0.3),
    ]
    assert (found.batch, found.calls, found.whole_ms) == (2, 3, 1.0)
    assert found.gap_ms == pytest.approx(0.1)
    assert found.reformat_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "operator", "expected"),
    [
        ("a", "ReorderInput", True),
        ("InsertedPrecisionFreeCast_x", "Cast", True),
        ("a", "Cast", False),  # of the graph's own
        ("a", "Transpose", False),
    ],
)
def test_only_what_the_library_adds_is_a_reformat(name, operator, expected):
    events = call(node(name, operator, 100, "float16"), whole_us=100)
    [layer] = read_profile(events, batch=1, warmup_calls=0).layers
    assert layer.is_reformat is expected
    assert layer.precision == "float16"


@pytest.mark.parametrize("events", [[], EVENTS[:4], [{"cat": "Node"}], ["text"]])
def test_a_file_without_a_counted_call_is_refused(events):
    with pytest.raises(BackendError, match=r"no call after 1|no profile of ONNX Runtime"):
        read_profile(events, batch=1, warmup_calls=1)


def test_a_bundles_layers_are_those_of_its_graph(tmp_path):
    bundle = open_bundle(tiny_bundle.write(tmp_path / "tiny.fasb"))
    captures = [tiny_bundle.capture(200)]
    found = profile_layers(bundle, Backend.ONNXRUNTIME, captures, batch=2, threads=1, calls=4)
    assert found.calls == 4
    assert {layer.operator for layer in found.layers} >= {"GlobalAveragePool", "Concat", "Gemm"}
    assert {layer.precision for layer in found.layers} == {"float"}
    assert found.sum_ms > 0
    assert found.whole_ms > 0


def test_openvino_tells_the_same_bundles_layers(tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    bundle = open_bundle(tiny_bundle.write(tmp_path / "tiny.fasb"))
    captures = [tiny_bundle.capture(200)]
    found = profile_layers(bundle, Backend.OPENVINO, captures, batch=2, threads=1, calls=4)
    assert (found.batch, found.calls) == (2, 4)
    # OpenVINO leaves out what took less than a microsecond, at times the one Concat.
    assert {layer.operator for layer in found.layers} >= {"ReduceMean", "FullyConnected"}
    assert {layer.precision for layer in found.layers} == {"f32"}
    assert 0 <= found.sum_ms < found.whole_ms + 0.02  # one after the other, to whole microseconds
    assert found.reformat_share == 0.0
    assert found.not_told == ()


def test_openvinos_means_are_those_after_the_warm_up_with_the_reorders_it_adds():
    pytest.importorskip("openvino", reason="openvino is not installed")
    from fasdk.backends.openvino import NodeTime
    from fasdk_tools.profiling.openvino_layers import read_nodes

    def nodes(conv_ms, reorder_ms):
        return (
            NodeTime("conv", "Convolution", "jit_avx2_f32", conv_ms),
            NodeTime("conv_reorder", "Reorder", "jit_uni_i8", reorder_ms),
        )

    # Two calls of 10 ms and then eight of 2 ms have a mean of 3.6 ms.
    slowest, other = read_nodes(nodes(10.0, 3.0), nodes(3.6, 3.0), warmup_calls=2, calls=8)
    assert (slowest.name, slowest.precision, slowest.is_reformat) == ("conv_reorder", "i8", True)
    assert slowest.ms == pytest.approx(3.0)
    assert (other.ms, other.is_reformat) == (pytest.approx(2.0), False)
