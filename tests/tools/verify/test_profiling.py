"""Measurements of `make verify-profile` at a reduced size, and claims on planted findings."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fasdk_tools.profiling.target import order_statistic

from support import profile_door_count, profile_find, profile_pages, profile_stages, tiny_bundle
from support.profile_queueing import waiting_by_recursion

VERIFY = Path(__file__).resolve().parents[3] / "tools" / "verify"
EASY = "p90<=5000ms@400/s"


@pytest.fixture
def verify(monkeypatch):
    """Import a module of tools/verify by name."""
    monkeypatch.syspath_prepend(str(VERIFY))

    def load(name):
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("verified") / "tiny.fasb")


def printed(module, *words):
    ran = subprocess.run(
        [sys.executable, "-m", f"support.{module}", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=VERIFY.parents[1] / "tests",
    )
    assert ran.returncode == 0, ran.stderr[-500:]
    return json.loads(ran.stdout.splitlines()[-1])


def simulated_p99_ms(service_ms, rate_per_s, calls=20_000):
    due = np.cumsum(np.random.default_rng(3).exponential(1e3 / rate_per_s, calls))
    services = np.full(calls, service_ms)
    return order_statistic(waiting_by_recursion(due, services) + services, 99.0)


def test_the_target_is_met_with_room_by_one_plain_lane_and_missed_by_one_half_as_fast():
    target = profile_find.target_for(5.0)
    assert str(target) == "p99<=40ms@100/s"
    assert (
        target.limit_ms / 2.5 <= simulated_p99_ms(5.0, target.rate_per_s) <= target.limit_ms / 1.5
    )
    assert simulated_p99_ms(10.0, target.rate_per_s) > target.limit_ms


def test_a_door_leaves_some_twenty_to_one_lane():
    door = profile_door_count.door_for(5.0)
    assert (door.fps, door.deadline_ms) == (10.0, 100.0)
    assert [profile_door_count.clearly_more(n) for n in (0, 1, 18)] == [1, 3, 28]


def test_stages_that_miss_or_exceed_the_whole_are_told():
    run = profile_pages.samples(50, refused=3)
    whole = run.latency_ms
    parts = {"engine": 0.9 * whole, "other": 0.1 * whole}
    clean = profile_stages.stage_shares(replace(run, stages_ms=parts))
    assert clean["largest_difference"] <= 1e-9
    assert clean["largest_negative"] == 0.0
    assert clean["calls"] == np.count_nonzero(run.outcome == 0)
    lost = {name: values.copy() for name, values in parts.items()}
    lost["engine"][20] *= 0.97
    missing = profile_stages.stage_shares(replace(run, stages_ms=lost))
    assert missing["largest_difference"] == pytest.approx(0.027)
    twice = {"engine": 1.05 * whole, "other": -0.05 * whole}
    hidden = profile_stages.stage_shares(replace(run, stages_ms=twice))
    assert hidden["largest_difference"] <= 1e-9
    assert hidden["largest_negative"] == pytest.approx(0.05)


def claims_of(verify, monkeypatch, module, function, finding):
    loaded = verify(module)
    monkeypatch.setattr(loaded, "support_json", lambda *_: finding)
    monkeypatch.setattr(loaded, "demo_bundle", lambda work: work)
    return list(getattr(loaded, function)(Path()))


def test_a_policy_that_one_of_five_fresh_runs_misses_is_a_missed_claim(verify, monkeypatch):
    def finding(meets):
        return {
            "target": EASY,
            "seconds": 200.0,
            "found": {"tried": 9, "policy": {"batching": {"lanes": 2}, "threads": 1}},
            "fresh_runs": [{"meets": each, "figure_ms": 3.0} for each in meets],
        }

    for meets, expected in (([True] * 5, True), ([True] * 4 + [False], False), ([], False)):
        claims = claims_of(verify, monkeypatch, "profiling_searches", "find_claims", finding(meets))
        assert [claim.ok for claim in claims] == [True, expected]


def test_doors_that_are_not_held_again_or_held_far_beyond_are_missed_claims(verify, monkeypatch):
    def finding(held, beyond):
        point = {"doors": 9, "measured_p99_ms": None}
        return {
            "found": {
                "serves": 9,
                "fps": 5.0,
                "deadline_ms": 40.0,
                "predicted": 9,
                "unfinished": [],
                "curve": [point],
            },
            "seconds": 30.0,
            "doors": {"held": 9, "not_held": 15},
            "fresh_runs": {
                name: [{"held": n < count, "goodput": 0.9} for n in range(5)]
                for name, count in (("held", held), ("not_held", beyond))
            },
        }

    for held, beyond, expected in ((3, 0, [True, True]), (2, 1, [False, False])):
        claims = claims_of(
            verify, monkeypatch, "profiling_searches", "door_count_claims", finding(held, beyond)
        )
        assert [claim.ok for claim in claims] == [True, True, *expected]


def test_the_session_is_held_to_two_or_to_the_engine_alone(verify, monkeypatch):
    used = verify("profiling_used")

    def ok(session, bare):
        tail = {"p50_ms": 1.0, "p99_ms": 2.0, "each_run": [session]}
        found = {**tail, "p99_over_p50": session, "bare_one_thread": {**tail, "p99_over_p50": bare}}
        monkeypatch.setattr(used, "bench_json", lambda *_: {"latency": found})
        (claim,) = used.session_tail_claims()
        return claim.ok

    assert [ok(1.9, 1.1), ok(2.1, 1.1), ok(2.1, 1.5), ok(2.9, 1.9)] == [True, False, True, False]


def test_a_wait_that_the_trace_names_otherwise_for_half_is_a_missed_claim(verify, monkeypatch):
    used = verify("profiling_used")
    monkeypatch.setattr(used, "pytest_claim", lambda *_: None)

    def ok(**named):
        monkeypatch.setattr(used, "support_json", lambda *_: named)
        _, claim = used.trace_claims()
        return claim.ok

    assert ok(gates={"gates": 3, "engine": 2}, engine={"engine": 1})
    assert not ok(gates={"gates": 2, "engine": 2}, engine={"engine": 1})
    assert not ok(gates={}, engine={"engine": 1})


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([(5.0, 5.0, 1), (6.0, 6.0, 0)], [True, True]),
        ([(5.0, 5.1, 1)], [False, True]),
        ([(5.0, 5.0, 2)], [True, False]),
    ],
)
def test_loadgens_percentiles_are_held_to_its_own_convention(verify, monkeypatch, ranks, expected):
    rows = [
        {"percentile": "p50", "logged_ms": logged, "recorded_ms": recorded, "ranks_apart": apart}
        for logged, recorded, apart in ranks
    ]
    finding = {
        "service_ms": 5.0,
        "queries": [9],
        "calls": [9],
        "percentiles": [],
        "ranks": rows,
        "estimates": [],
        "verdicts": [],
    }
    referees = verify("profiling_referees")
    monkeypatch.setattr(referees, "support_json", lambda *_: finding)
    told = {claim.claim: claim for claim in referees.loadgen_claims()}
    (logged,) = [claim for text, claim in told.items() if "rank floor" in text]
    (apart,) = [claim for text, claim in told.items() if "ranks between" in text]
    assert [logged.ok, apart.ok] == expected


@pytest.mark.slow
def test_a_search_and_a_fresh_process_on_a_small_bundle(tiny):
    found = printed("profile_find", tiny, "--target", EASY, "--within", "12s", "--runs", 1)
    assert found["target"] == EASY
    assert (found["found"]["meets"], found["fresh_runs"][0]["meets"]) == (True, True)
    assert found["fresh_runs"][0]["lanes"] == found["found"]["policy"]["batching"]["lanes"]
    assert found["fresh_runs"][0]["calls"] >= 29


@pytest.mark.slow
def test_doors_are_counted_and_measured_again_on_a_small_bundle(tiny):
    asked = ("--fps", 300, "--deadline", 0.001, "--within", "10s", "--runs", 1)
    found = printed("profile_door_count", tiny, *asked)
    assert found["found"]["serves"] == 0
    assert found["fresh_runs"]["not_held"][0]["held"] is False
    assert found["fresh_runs"]["not_held"][0]["calls"] >= 600


@pytest.mark.slow
def test_stages_of_a_small_bundle_sum_to_its_times(tiny):
    found = printed("profile_stages", tiny, "--seconds", 0.2)
    assert set(found) == {"closed", "poisson", "decisions of check"}
    for shares in found.values():
        assert shares["calls"] > 0
        assert {"gates", "engine", "other"} <= set(shares["stages"])
        assert shares["largest_difference"] <= 0.01
