"""Verb profile with the loads of a door, and its long run: document, table and wrong input."""

from __future__ import annotations

import json

import pytest

from fasdk.errors import BackendError
from fasdk_tools.profiling import door
from fasdk_tools.profiling.cold import ColdRequest
from fasdk_tools.profiling.door_figures import ColdFigures, ColdPart, ColdStart
from fasdk_tools.profiling.idle import IdleRequest
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.result import ProfileDocument

from support import tiny_bundle
from support.report_page import embedded, parse

ON = ("--unsigned", "--backend", "onnxruntime")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("door") / "tiny.fasb")


@pytest.fixture
def short_pauses(monkeypatch):
    quick = IdleRequest(pauses_s=(0.0, 0.001), count=2, quick=True)
    monkeypatch.setattr(IdleRequest, "quickly", lambda: quick)


def document(ran):
    assert ran.status == 0, ran.stderr
    found = ProfileDocument.model_validate(json.loads(ran.stdout))
    assert (found.schema_version, found.captures > 0) == (1, True)
    assert found.trusted is (not found.reasons)
    return found


def test_idle_tells_pauses_and_tracks_and_that_there_were_few(fasdk, path, short_pauses):
    options = ("--load", "idle", "--quick", "--fps", "500", *ON)
    (run,) = document(fasdk("profile", path, *options, "--json")).runs
    assert (run.load, run.calls, run.achieved_per_s) == (Load.IDLE, 2, None)
    assert run.idle.quick
    assert [each.pause_s for each in run.idle.pauses] == [0.0, 0.001]
    assert run.end_to_end.max_ms == run.idle.pauses[1].largest_ms
    assert run.end_to_end.p50 is None  # of two calls
    assert run.idle.track.fps == 500
    assert run.cold is None
    assert run.soak is None
    shown = " ".join(fasdk("profile", path, *options).stdout.split())
    assert "TRUSTED" in shown
    assert "Fewer pauses than the default, as --quick asks for." in shown
    assert "verdict of a track at 500 frames/s" in shown


def test_cold_passes_the_verbs_options_on_to_the_processes(fasdk, path, monkeypatch):
    asked: list[ColdRequest] = []
    start = ColdStart(
        interpreter_ms=20.0,
        import_ms=300.0,
        open_ms=5.0,
        plan_ms=40.0,
        proof_ms=2.0,
        first_decision_ms=8.0,
        total_ms=375.0,
        plan="none",
    )

    def measured(request, *, on_progress):
        asked.append(request)
        parts = {name: ColdPart(median_ms=1.0, largest_ms=2.0) for name in ("import", "total")}
        return ColdFigures(
            quick=request.quick,
            backend="onnxruntime",
            version="1.23.2",
            first=start,
            starts=(start,),
            parts=parts,
        )

    monkeypatch.setattr(door, "measure_cold", measured)
    options = ("--load", "cold", "--quick", "--threads", "1", *ON)
    found = document(fasdk("profile", path, *options, "--json"))
    (request,) = asked
    assert (request.bundle, request.backend, request.threads) == (path, "onnxruntime", 1)
    assert (request.unsigned, request.keys, request.count) == (True, (), 3)
    (run,) = found.runs
    assert (run.load, run.calls, run.warmup_calls) == (Load.COLD, 1, 1)
    assert run.cold.first == start
    assert (run.end_to_end.mean_ms, found.version, found.captures) == (375.0, "1.23.2", 1)
    assert sum(stage.mean_ms for stage in run.stages.values()) == 375.0
    shown = fasdk("profile", path, *options).stdout
    assert "first start" in shown
    assert "300.000" in shown


def test_a_process_that_fails_is_one_line(fasdk, path, monkeypatch):
    def failed(request, *, on_progress):
        raise BackendError("a cold start of door.fasb ended with status 2: no such file")

    monkeypatch.setattr(door, "measure_cold", failed)
    ran = fasdk("profile", path, "--load", "cold", *ON)
    assert ran.status == 2
    assert ran.error_lines == ["fasdk: a cold start of door.fasb ended with status 2: no such file"]


def test_a_long_run_shows_its_minutes_in_the_document_and_on_the_page(fasdk, path, tmp_path):
    page = tmp_path / "soak.html"
    options = ("--soak", "1s", "--deadline", "600000", *ON, "--json", "--html", page)
    found = document(fasdk("profile", path, *options))
    (run,) = found.runs
    assert (run.load, run.goodput) == (Load.CLOSED, 1.0)
    assert {"preprocess", "engine"} <= run.stages.keys()
    assert run.soak.measured_s >= 1.0
    (minute,) = run.soak.minutes
    assert minute.calls == run.calls > 0
    assert minute.resident_mb > 1.0
    text = parse(page.read_text(encoding="utf-8"))
    assert embedded(text, "profile") == found.model_dump(mode="json")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--soak", "45"], "--soak '45' is no length of time"),
        (["--soak", "45m", "--load", "idle"], "--soak is for a load that goes on"),
        (["--soak", "45m", "--lanes", "1,2"], "one batch size and one number of lanes"),
        (["--load", "cold", "--samples", "out.npz"], "--samples does not go together with --load"),
        (["--load", "idle", "--deadline", "5"], "--deadline does not go together with --load idle"),
        (["--soak", "45m", "--layers"], "--layers does not go together with --soak"),
        (["--load", "idle", "--fps", "0"], "--fps is 0, expected frames a second above 0"),
        (["--load", "idle", "--captures", "absent.jsonl"], "absent.jsonl"),
        (["--quick"], "--quick is for --load idle and cold"),
    ],
)
def test_wrong_input_is_one_line(fasdk, path, options, named):
    ran = fasdk("profile", path, *options, *ON)
    assert ran.status == 2
    assert named in ran.error_lines[-1]
