"""Claims about the profiler used on a session, a trace and stages of captures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from claims import Claim
from measuring import bench_json, demo_bundle, pytest_claim, support_json

SESSION_RUNS, SESSION_SECONDS = 5, 6.0
MOST_APART = 0.01
MOST_TAIL, MOST_OVER_BARE = 2.0, 1.5


def session_tail_claims() -> Iterator[Claim]:
    """A session's p99 over its median at 70 % constant load, beside the engine alone."""
    found = bench_json(
        "session.py",
        *("--parts", "latency", "--runs", SESSION_RUNS),
        *("--latency-seconds", SESSION_SECONDS),
    )["latency"]
    bare = found["bare_one_thread"]
    yield Claim(
        "session at 70 % constant load: p99 over the median, at most 2 or 1.5 times that of the "
        "engine alone",
        found["p99_over_p50"],
        "<=",
        round(max(MOST_TAIL, MOST_OVER_BARE * bare["p99_over_p50"]), 2),
        f"medians of {SESSION_RUNS} runs: p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, each "
        f"run {found['each_run']}; the engine alone at 70 % of its own rate "
        f"{bare['p99_over_p50']}, each run {bare['each_run']}",
    )


def trace_claims() -> Iterator[Claim]:
    """Perfetto's own trace processor reads a trace offline, which names what was waited for."""
    yield pytest_claim(
        "trace loads in Perfetto's processor in headless Chromium, offline, and a query returns "
        "lanes, queue and stages: tests failed",
        "tests/tools/profiling/test_trace.py",
        "-m",
        "slow or not slow",
    )
    named = support_json("support.profile_waits")
    wrong = {
        planted: names
        for planted, names in named.items()
        if 2 * names.get(planted, 0) <= sum(names.values())
    }
    yield Claim(
        f"trace: planted waits of {len(named)} that it names for most late captures, in one of "
        "three runs",
        len(named) - len(wrong),
        "==",
        len(named),
        "; ".join(f"{planted}: {names}" for planted, names in (wrong or named).items()),
    )


def stage_claims(work: Path) -> Iterator[Claim]:
    """Stages of each capture sum to its end-to-end time."""
    for load, found in support_json("support.profile_stages", demo_bundle(work)).items():
        note = f"{found['calls']} captures of the demo bundle, {', '.join(found['stages'])}"
        yield Claim(
            f"stages, {load}: most that a capture's sum differs from its end-to-end time by, share",
            found["largest_difference"],
            "<=",
            MOST_APART,
            note,
        )
        yield Claim(
            f"stages, {load}: most that a capture's timed stages exceed that time by, share",
            found["largest_negative"],
            "<=",
            MOST_APART,
        )
