"""Verb profile: its JSON document, its table and wrong input."""

from __future__ import annotations

import json

import pytest

from fasdk.telemetry import Stage
from fasdk_tools.profiling.result import ProfileDocument

QUICK = ("--seconds", "0.05", "--warmup", "1", "--backend", "onnxruntime")
STAGES = [stage.value for stage in Stage]


def document(ran, status=0):
    assert ran.status == status, ran.stderr
    return ProfileDocument.model_validate(json.loads(ran.stdout))


def test_a_closed_loop_reports_every_stage_of_every_batch_and_number_of_lanes(fasdk, bundle):
    sizes = ("--batch", "1,2", "--lanes", "1,2")
    found = document(fasdk("profile", bundle, *sizes, *QUICK, "--json"))
    assert [(run.batch, run.lanes) for run in found.runs] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    for run in found.runs:
        assert list(run.stages) == STAGES
        assert run.calls >= 10
        assert run.warmup_calls == run.lanes
        means = [stage.mean_ms for stage in run.stages.values()]
        assert sum(means) == pytest.approx(run.end_to_end.mean_ms)
        assert run.end_to_end.p50.ms <= run.end_to_end.p50.upper_ms <= run.end_to_end.max_ms


def test_the_table_names_the_stages(fasdk, bundle):
    shown = fasdk("profile", bundle, *QUICK).stdout
    assert "engine" in shown
    assert "end to end" in shown


def test_a_number_of_lanes_below_one_is_refused(fasdk, bundle):
    refused = fasdk("profile", bundle, "--lanes", "1,0")
    assert refused.status == 2
    assert "--lanes '1,0' is not a list of whole numbers" in refused.error_lines[0]


def test_a_trace_shows_each_call_of_a_closed_loop_on_its_lane(fasdk, bundle, tmp_path):
    pytest.importorskip("perfetto")
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    out = tmp_path / "run.perfetto-trace"
    found = document(fasdk("profile", bundle, "--lanes", "2", *QUICK, "--trace", out, "--json"))
    packets = Trace.FromString(out.read_bytes()).packet
    tracks = {p.track_descriptor.uuid: p.track_descriptor.name for p in packets}
    engine = [
        tracks[packet.track_event.track_uuid]
        for packet in packets
        if packet.track_event.name == "engine"
    ]
    calls = found.runs[0].calls + found.runs[0].warmup_calls
    assert engine.count("captures") == calls
    assert engine.count("lane 0") + engine.count("lane 1") == calls
    assert min(engine.count("lane 0"), engine.count("lane 1")) > 0


def test_layers_are_timed_beside_the_run(fasdk, bundle, tmp_path):
    found = document(fasdk("profile", bundle, *QUICK, "--layers", "--json"))
    assert found.layers is not None
    assert found.layers.batch == 1
    times = [layer.ms for layer in found.layers.layers]
    assert times == sorted(times, reverse=True)
    assert sum(times) > 0
    refused = fasdk("profile", bundle, *QUICK, "--backend", "openvino", "--layers")
    assert refused.status == 2
    assert "--layers reads the profile of onnxruntime" in refused.error_lines[0]
    page = tmp_path / "profile.html"
    shown = fasdk("profile", bundle, *QUICK, "--layers", "--html", page).stdout
    assert found.layers.layers[0].operator in shown
    assert all(layer.name in page.read_text("utf-8") for layer in found.layers.layers[:3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--batch", "1,2", "--trace", "run.trace"), "--trace shows one run, 2 were asked for"),
        (("--against", "x", "--trace", "run.trace"), "leave it or --against out"),
        (("--trace", "absent/run.trace"), "--trace absent/run.trace: its folder does not exist"),
    ],
)
def test_a_trace_that_cannot_be_is_refused_before_anything_is_measured(
    fasdk, bundle, tmp_path, monkeypatch, arguments, words
):
    pytest.importorskip("perfetto")
    monkeypatch.chdir(tmp_path)
    refused = fasdk("profile", bundle, *QUICK, *arguments)
    assert refused.status == 2
    assert words in refused.error_lines[0]
    assert not list(tmp_path.iterdir())
