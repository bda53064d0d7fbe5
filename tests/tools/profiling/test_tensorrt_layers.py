"""Layers of TensorRT: profiler and inspector read, on a fake GPU with the stand-in TensorRT."""

from __future__ import annotations

import json
import sys

import pytest

from fasdk.backends.engine import Backend
from fasdk.backends.tensorrt.execution import PlanSource, TensorRtEngine
from fasdk.backends.tensorrt.layer_times import LayerReport
from fasdk.backends.tensorrt.layout import TensorLayout
from fasdk.bundle.bundle import open_bundle
from fasdk.errors import BackendError
from fasdk_tools.profiling.machine.monitor import MachineRecord
from fasdk_tools.profiling.machine.reasons import Trouble
from fasdk_tools.profiling.machine.verdict import judge
from fasdk_tools.profiling.tensorrt_layers import (
    NAMES_ONLY,
    read_inspector,
    read_report,
    tensorrt_layers,
)

from support import inspector
from support.fake_gpu import FakeGpu
from support.gpu_rig import SMALL_PLAN, Rig, batch
from support.graphs import write_small_bundle
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior, Refusal

HEAVY = inspector.engine(reformat_ms=0.6)


@pytest.fixture
def rig(tmp_path, monkeypatch):
    gpu, behavior = FakeGpu(), Behavior(layers=HEAVY)
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, stand_in(gpu, behavior))
    return Rig(open_bundle(write_small_bundle(tmp_path / "small.fasb")), gpu, behavior)


def report(layers, information=None):
    times = tuple((told["Name"], ms) for told, ms in layers)
    text = information or json.dumps({"Layers": [told for told, _ in layers], "Bindings": []})
    return LayerReport(calls=(times,) * 3, whole_ms=(1.8,) * 3, information=text)


@pytest.mark.parametrize("backend", [Backend.TENSORRT, Backend.TENSORRT_RTX])
def test_a_plans_layers_have_precision_share_and_reformats(rig, backend):
    engine = rig.open(backend, timed=True)
    found = tensorrt_layers(engine, batch(2), calls=4, warmup_calls=1)
    assert (found.batch, found.calls, found.not_told) == (2, 4, ())
    assert [(each.name, each.operator, each.precision) for each in found.layers][:2] == [
        ("body", "CaskConvolution", "int8"),
        ("stem + relu", "CaskConvolution", "int8"),
    ]
    by_name = {each.name: each for each in found.layers}
    head = by_name["Reformatting CopyNode for Input Tensor 0 to head"]
    assert (head.is_reformat, head.precision, head.ms) == (True, "float16", 0.3)
    assert by_name["head"].precision == "float"
    assert found.sum_ms == pytest.approx(1.6)
    assert found.reformat_share == pytest.approx(0.6 / 1.6)
    assert found.whole_ms == engine.run(batch(2)).device.engine_ms  # without the copies
    assert found.gap_ms == pytest.approx(found.whole_ms - 1.6)
    engine.close()
    assert (rig.gpu.held, rig.gpu.streams) == ({}, {})


def test_layers_leave_the_engines_answers_and_graphs_alone(rig):
    engine = rig.open(timed=True)
    before = engine.run(batch(1)).logits
    tensorrt_layers(engine, batch(1), calls=1, warmup_calls=0)
    assert (engine.run(batch(1)).logits == before).all()
    assert rig.gpu.graphs  # its own lane replays graphs, which cannot be profiled
    engine.close()


def test_a_plan_without_verbosity_gives_names_and_times_and_says_what_is_missing(rig):
    engine = TensorRtEngine(
        SMALL_PLAN,  # as one that was built with TensorRT's default
        Backend.TENSORRT,
        layout=TensorLayout.of(rig.bundle.manifest),
        driver=rig.gpu,
        plan_source=PlanSource.CACHE,
    )
    found = tensorrt_layers(engine, batch(1), calls=2, warmup_calls=0)
    engine.close()
    assert found.not_told == (NAMES_ONLY,)
    assert {(each.operator, each.precision) for each in found.layers} == {("unknown", "unknown")}
    assert found.reformat_share == pytest.approx(0.6 / 1.6)  # by their names


def test_without_any_verbosity_the_profilers_names_are_all_there_is():
    found = read_report(report(HEAVY, '{"Layers": [], "Bindings": []}'), batch=1)
    assert found.not_told == (NAMES_ONLY,)
    assert len(found.layers) == len(HEAVY)


@pytest.mark.parametrize(("reformat_ms", "is_named"), [(0.6, True), (0.1, False)])
def test_a_reformat_heavy_engine_is_named_from_its_inspector(reformat_ms, is_named):
    found = read_report(report(inspector.engine(reformat_ms=reformat_ms)), batch=1)
    verdict = judge(MachineRecord(()), reformat_share=found.reformat_share)
    named = [each for each in verdict.reasons if each.trouble is Trouble.REFORMATS]
    assert bool(named) is is_named
    if is_named:
        assert "reformatting layers take 37% of the engine's time" in str(named[0])


def test_layers_of_one_name_are_added_up_and_medians_are_over_calls():
    calls = ((("a", 1.0), ("a", 2.0)), (("a", 4.0), ("a", 4.0)), (("a", 2.0), ("a", 2.0)))
    found = read_report(LayerReport(calls, (9.0, 7.0, 8.0), '{"Layers": []}'), batch=1)
    assert [(each.name, each.ms) for each in found.layers] == [("a", 4.0)]
    assert (found.calls, found.whole_ms) == (3, 8.0)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        (inspector.LINEAR_FP32, "float"),
        (inspector.PACKED_FP16, "float16"),
        (inspector.PACKED_INT8, "int8"),
        ("Half NCHW", "float16"),
        ("Float", "float"),
        ("BFloat16", "bfloat16"),
        ("FP8 HWC", "float8"),
        ("N/A due to dynamic shapes", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_precision_is_that_of_the_first_outputs_format(kind, precision):
    told, _ = inspector.layer("a", "CaskConvolution", "Int8", kind, 1.0)
    assert read_inspector(json.dumps({"Layers": [told]}))["a"].precision == precision


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": 3}', '{"Layers": [{}]}', "[[["])
def test_another_text_of_the_inspector_is_refused(text):
    with pytest.raises(BackendError, match="engine inspector gave no JSON of layers"):
        read_inspector(text)


def test_a_profiler_that_reports_nothing_is_refused(rig):
    rig.behavior.layers = []
    engine = rig.open()
    with pytest.raises(BackendError, match="reported no layer"):
        tensorrt_layers(engine, batch(1), calls=1, warmup_calls=0)
    engine.close()


def test_a_call_that_fails_leaves_no_lane_behind(rig):
    engine = rig.open()
    lanes = len(rig.gpu.streams)
    rig.behavior.refuses.add(Refusal.EXECUTE)
    with pytest.raises(BackendError, match="failed to execute"):
        tensorrt_layers(engine, batch(1), calls=1, warmup_calls=0)
    assert len(rig.gpu.streams) == lanes
    engine.close()
