"""Verb soak: what passes, what is found out, and options that make no sense."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fasdk.bundle.trust import TrustPolicy
from fasdk.decision import Verdict
from fasdk_tools.diagnostics import soak as soak_module
from fasdk_tools.diagnostics.faulty_engine import EngineFault, FaultPlan, FaultyEngine
from fasdk_tools.diagnostics.soak import SoakSettings, soak

from support import tiny_bundle
from support.scripted_engine import FakeEngine, live

QUICK = SoakSettings(
    seconds=1.0,
    fault_share=0.2,
    swap_every_s=0.05,
    deadline_ms=400.0,
    max_drift=1.0,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb")


def run(path, captures=(), settings=QUICK):
    return soak(path, captures, settings, backend=None, trust=TrustPolicy.unsigned())


def test_a_sound_bundle_passes_under_faults_and_swaps(path):
    result = run(path, [tiny_bundle.capture(120)])
    counts = result.counts
    # A machine under load may be late, and start or end threads, in so short a run.
    assert not (counts.wrong or counts.live_on_fault or counts.failed_swaps), result.misses
    assert result.injected >= counts.faulted > 0
    assert counts.swaps > 0
    assert counts.refused_swaps > 0
    assert all(counts.verdicts[v.value] for v in Verdict)
    assert counts.answers == sum(counts.verdicts.values())


@pytest.mark.parametrize(
    ("difference", "miss"),
    [
        ({"wrong": ["x"]}, "1 answers differ from the reference, first: x"),
        ({"live_on_fault": ["x"]}, "1 LIVE on a capture whose engine call failed, first: x"),
        ({"late": ["x", "y"]}, "2 answers after twice the deadline, first: x"),
        ({"failed_swaps": ["x"]}, "1 swaps went wrong, first: x"),
        ({"verdicts": {v.value: 0 for v in Verdict}}, "no capture was scored"),
    ],
)
def test_every_kind_of_miss_is_told(difference, miss):
    use = soak_module.ProcessUse(100.0, 5, 9)
    verdicts = {v.value: 1 for v in Verdict}
    counts = replace(soak_module.SoakCounts(verdicts=verdicts), **difference)
    assert soak_module._misses(counts, use, use, 0.0, QUICK) == [miss]
    more = replace(use, threads=6, descriptors=10)
    found = soak_module._misses(replace(counts), use, more, 2.0, QUICK)[1:]
    assert [line.split()[0] for line in found] == ["resident", "threads", "descriptors"]


def test_a_session_that_says_live_on_a_fault_is_found_out(path, monkeypatch):
    def fearless(self, inputs):
        self.injected += 1
        with self._lock:
            self._hit |= {soak_module.digest_of({n: v[0] for n, v in inputs.items()})}

    monkeypatch.setattr(FaultPlan, "draw", fearless)
    result = run(path)
    assert result.counts.live_on_fault
    assert any("LIVE on a capture whose engine call failed" in miss for miss in result.misses)


def test_an_answer_that_differs_from_the_reference_is_found_out(path, monkeypatch):
    class Biased(FaultyEngine):
        """Its lanes call everything live, unlike the engine that gave the reference."""

        def open_lane(self, max_batch):
            return FakeEngine(live).open_lane(max_batch)

    monkeypatch.setattr(soak_module, "FaultyEngine", Biased)
    result = run(path)
    assert any("differ from the reference" in miss for miss in result.misses)


def test_every_kind_of_fault_is_drawn(path):
    plan = FaultPlan(1.0, late_s=0.0)
    rows = {"rgb": tiny_bundle.capture().rgb[None].astype("float32")}
    assert {plan.draw(rows) for _ in range(400)} == set(EngineFault)
    assert plan.take(soak_module.digest_of({"rgb": rows["rgb"][0]}))
    assert not plan.take(soak_module.digest_of({"rgb": rows["rgb"][0]}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give --hours or --minutes"),
        (("--hours", "1", "--minutes", "1"), "only one of them"),
        (("--minutes", "0"), "expected 3 s to a year"),
        (("--minutes", "1", "--faults", "0.9"), "expected a share of 0 to 0.5"),
        (("--minutes", "1", "--deadline-ms", "1"), "expected 100 to 600000"),
        (("--minutes", "1", "--max-drift", "nan"), "expected a share of at least 0"),
        (("--minutes", "1", "--captures", "absent.jsonl"), "absent.jsonl"),
    ],
)
def test_options_that_make_no_sense_are_one_line(fasdk, path, options, words):
    ran = fasdk("soak", path, "--unsigned", *options)
    assert ran.status == 2
    assert words in ran.stderr


@pytest.mark.slow
def test_two_minutes_pass(fasdk, path):
    ran = fasdk(
        *("soak", path, "--unsigned", "--minutes", "2", "--backend", "onnxruntime"),
        *("--max-drift", "0.1", "--deadline-ms", "5000", "--json"),
    )
    found = json.loads(ran.stdout)
    assert (ran.status, found["passed"], found["misses"]) == (0, True, [])
    assert found["counts"]["answers"] > 1000


def test_memory_that_was_freed_does_not_count_as_growth():
    before = soak_module.process_use().rss_mb
    blocks = [np.ones(8000) for _ in range(1000)]  # 64 kB each, so not mapped one by one
    kept = blocks[::10]
    held = soak_module.process_use().rss_mb
    del blocks
    after = soak_module.process_use().rss_mb
    assert held - before > 50
    assert after - before < 20
    del kept
