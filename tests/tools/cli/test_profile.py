"""Verb profile: its JSON document, its table and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.members import MemberKind, kind_of
from fasdk.bundle.signing import build_signer
from fasdk.telemetry import Stage
from fasdk_calibration.datasets import write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_tools.profiling.held_rate import HeldRate
from fasdk_tools.profiling.result import ProfileDocument
from fasdk_tools.profiling.samples import Samples

QUICK = ("--seconds", "0.05", "--warmup", "1", "--backend", "onnxruntime")
STAGES = [stage.value for stage in Stage]


@pytest.fixture
def no_search(monkeypatch):
    """Spare the search for a rate that is held, on a machine too busy to hold the one given."""
    monkeypatch.setattr("fasdk_tools.profiling.run.find_held_rate", lambda *_: HeldRate(None, 0, 0))


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


@pytest.mark.parametrize(
    "words",
    [
        ("--load", "constant", "--rate", "50"),
        ("--load", "poisson", "--rate", "50", "--seed", "7"),
        ("--load", "offline", "--calls", "20"),
        ("--load", "constant", "--cameras", "2", "--fps", "25"),
    ],
)
def test_an_open_load_reports_arrivals(fasdk, bundle, no_search, words):
    found = document(fasdk("profile", bundle, *words, *QUICK, "--deadline", "60000", "--json"))
    (run,) = found.runs
    assert run.load.value == words[1]
    assert run.offered_per_s == (None if words[1] == "offline" else 50.0)
    assert run.goodput == 1.0
    assert (run.refused, run.failed, run.missed_deadlines) == (0, 0, 0)
    assert (run.backlog_per_s is None) == (words[1] == "offline")


def test_a_replay_of_decisions_writes_its_samples(fasdk, bundle, tmp_path):
    recorded, out = tmp_path / "run.jsonl", tmp_path / "out.npz"
    times = [{"unix_s": 1e9 + 0.01 * n, "latency_ms": 5.0} for n in range(30)]
    recorded.write_text("".join(json.dumps(line) + "\n" for line in times))
    words = ("--load", "replay", "--arrivals", recorded, "--samples", out)
    (run,) = document(fasdk("profile", bundle, *words, *QUICK, "--json")).runs
    assert run.offered_per_s == pytest.approx(100.0, rel=1e-3)
    samples = Samples.read(out)
    assert len(samples) == run.calls == 30
    np.testing.assert_allclose(samples.due_ms, 10.0 * np.arange(30), atol=0.01)
    np.testing.assert_allclose(sum(samples.stages_ms.values()), samples.latency_ms, rtol=0.01)


def test_captures_of_a_list_are_taken_in_turn(fasdk, bundle, tmp_path):
    small = SceneSettings(width=160, height=120)
    made = list(generate_many(0, 5, Split.HELD_OUT, settings=small))
    listing = write_captures(made, tmp_path, "own")
    found = document(fasdk("profile", bundle, "--captures", listing, *QUICK, "--json"))
    assert found.captures == 5


@pytest.mark.slow
def test_it_goes_on_until_the_percentile_has_a_bound(fasdk, bundle, monkeypatch):
    monkeypatch.setattr("fasdk_tools.profiling.run.UNTIL_MAX_ROUNDS", 3)
    found = document(fasdk("profile", bundle, "--until", "p50", *QUICK, "--json"))
    assert found.runs[0].end_to_end.p50 is not None
    rounds = ("--seconds", "0.001", "--warmup", "0", "--backend", "onnxruntime")
    found = document(fasdk("profile", bundle, "--until", "p99.9", *rounds, "--json"))
    assert found.runs[0].calls >= 3 * 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--load", "constant", "--rate", "0"), "--rate '0' is no rate"),
        (("--load", "constant", "--rate", "fast"), "--rate 'fast' is no rate"),
        (("--load", "constant"), "a constant load needs a rate"),
        (("--load", "sometimes"), "--load"),
        (("--rate", "5"), "a closed load has no rate"),
        (("--load", "replay"), "a replay needs arrival times: give --arrivals FILE"),
        (("--load", "replay", "--arrivals", "absent.txt"), "absent.txt: no such file"),
        (("--load", "replay", "--arrivals", "back.txt"), "back.txt:2: goes back in time"),
        (("--arrivals", "back.txt"), "--arrivals is for --load replay"),
        (("--deadline", "0"), "the deadline is 0 ms"),
        (("--until", "p97"), "--until 'p97' is not measured"),
        (("--samples", "absent/out.npz"), "cannot write absent/out.npz"),
        (("--samples", "."), "it is a folder"),
        (("--samples", "out.npz", "--batch", "1,2"), "--samples holds one run, 2 were asked for"),
        (("--captures", "absent.jsonl"), "absent.jsonl"),
        (("--seconds", "0"), "seconds is 0"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing_behind(
    fasdk, bundle, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    Path("back.txt").write_text("10\n5\n")
    before = {path.name for path in tmp_path.iterdir()}
    ran = fasdk("profile", bundle, *words)
    assert (ran.status, ran.stdout) == (2, "")
    (line,) = ran.error_lines
    assert said in line
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_bundle_without_golden_captures_is_refused(fasdk, bundle, tmp_path):
    opened = open_bundle(bundle)
    members = {
        name: bytes(content)
        for name, content in opened.members.items()
        if kind_of(name) is not MemberKind.GOLDEN
    }
    manifest = opened.manifest.model_copy(update={"members": {}})
    bare = tmp_path / "bare.fasb"
    write_bundle(bare, manifest, members, build_signer())
    ran = fasdk("profile", bare, *QUICK)
    assert ran.status == 2
    assert "golden capture" in ran.error_lines[0]


@pytest.mark.slow
def test_a_rate_that_cannot_be_held_is_said_with_the_highest_that_was(fasdk, bundle):
    words = ("--load", "constant", "--rate", "100000", "--seconds", "0.3", "--json")
    (run,) = document(fasdk("profile", bundle, *words)).runs
    assert run.held is False
    assert run.backlog_per_s > 0
    assert 0 < run.highest_held_per_s < run.achieved_per_s * 2
    assert run.confirmations == 5


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


@pytest.mark.slow
def test_layers_are_timed_beside_the_run(fasdk, bundle, tmp_path):
    found = document(fasdk("profile", bundle, *QUICK, "--layers", "--json"))
    assert found.layers is not None
    assert found.layers.batch == 1
    times = [layer.ms for layer in found.layers.layers]
    assert times == sorted(times, reverse=True)
    assert sum(times) > 0
    elsewhere = document(
        fasdk("profile", bundle, *QUICK, "--backend", "openvino", "--layers", "--json")
    )
    assert elsewhere.layers is not None
    assert sum(layer.ms for layer in elsewhere.layers.layers) > 0
    page = tmp_path / "profile.html"
    shown = fasdk("profile", bundle, *QUICK, "--layers", "--html", page).stdout
    assert found.layers.layers[0].operator in shown
    assert all(layer.name in page.read_text("utf-8") for layer in found.layers.layers[:3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--batch", "1,2", "--trace", "run.trace"), "--trace shows one run, 2 were asked for"),
        (("--against", "x", "--trace", "run.trace"), "--trace does not go together with --against"),
        (
            ("--trace", "absent/run.trace"),
            "cannot write absent/run.trace: its folder does not exist",
        ),
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
