"""Percentiles held against MLPerf LoadGen's, which drives the same engine that waits 5 ms.

    PYTHONPATH=tests python -m support.profile_loadgen [--queries 1000]

LoadGen (the package mlcommons-loadgen) runs SingleStream and Server, the profiler a closed loop and
a replay of Server's arrivals, in turns on one session. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fasdk.scorer import Scorer
from fasdk.session.session import Liveness
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.percentiles import percentiles

from support import tiny_bundle
from support.profile_queueing import SERVICE_MS, fixed
from support.timed_engine import TimedEngine, timed_session

RATE_PER_S = 0.5e3 / SERVICE_MS
# Limits of Server in turn. At a load of 50 % a sixth of the queries is over the first, and one of
# some ten thousand over the second.
LIMITS_MS = (2 * SERVICE_MS, 8 * SERVICE_MS)
ROUNDS = 4
EARLY_STOPPING_RISK = 0.01  # early_stopping.cc: confidence 0.99, tolerance 0
# The estimates that SingleStream prints; Server says only whether a limit was kept.
ESTIMATED = (90.0, 99.0)

# The trace is no strict JSON: a key may be quoted twice.
_SAMPLE = re.compile(r'"name":"Sample".*"ph":"b".*"ts":([\d.]+),.*"complete_ns":(\d+)')
_ESTIMATE = re.compile(r"(\d+)(?:\.\d+)?th percentile estimate: (\d+)")


@dataclass(frozen=True)
class LoadGenRun:
    """What LoadGen logged of one run.

    Attributes:
        due_ms: When each query was scheduled, float64 [n], milliseconds from the first.
        latency_ms: Time from schedule to completion, float64 [n], in milliseconds.
        results: Entries of its detail log by key.
    """

    due_ms: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    results: dict[str, Any]

    @property
    def estimates_ms(self) -> dict[float, float]:
        """Early-stopping estimates by percentile, in milliseconds."""
        said = str(self.results["early_stopping_result"])
        return {float(p): int(ns) / 1e6 for p, ns in _ESTIMATE.findall(said)}


@dataclass(frozen=True)
class Comparison:
    """One percentile by both, over all rounds.

    Attributes:
        scenario: LoadGen's scenario.
        percentile: Name, such as "p99".
        lower_ms: Lower end by the early-stopping rule, over LoadGen's latencies.
        upper_ms: Upper end by the early-stopping rule, over LoadGen's latencies.
        profiler_ms: The profiler's percentile, over its own calls.
        same_ms: The profiler's percentile over LoadGen's latencies.
        same_upper_ms: Its 95 % upper bound over LoadGen's latencies.
    """

    scenario: str
    percentile: str
    lower_ms: float
    upper_ms: float
    profiler_ms: float
    same_ms: float
    same_upper_ms: float


def allowed(queries: int, share_above: float) -> int:
    """Return how many queries the early-stopping rule lets be over a limit; -1 if not even 0.

    The largest t with P(Binomial(queries, share_above) <= t) <= 0.01.
    """
    return int(stats.binom.ppf(EARLY_STOPPING_RISK, queries, share_above)) - 1


def early_stopping_bounds(latency_ms: NDArray[np.float64], p: float) -> tuple[float, float]:
    """Return the two ends that the early-stopping rule gives a percentile, in milliseconds.

    LoadGen computes the upper one: the t-th highest latency, if t are allowed to be over. The lower
    one is the same rule from below. Infinite where none is allowed.
    """
    ordered, above = np.sort(latency_ms), (100.0 - p) / 100.0
    over, under = allowed(len(ordered), above), allowed(len(ordered), 1.0 - above)
    lower = float(ordered[under - 1]) if under >= 1 else -float("inf")
    return lower, float(ordered[-over]) if over >= 1 else float("inf")


def single_stream(session: Liveness, queries: int) -> LoadGenRun:
    """Let LoadGen call a lane of the engine again and again, as the closed loop does."""
    import mlperf_loadgen as loadgen

    capture, scorer = tiny_bundle.capture(), Scorer(session.bundle, session.level)
    lane = session.engine.open_lane(1)

    def issue(samples: list[Any]) -> None:
        for sample in samples:
            scorer.require(capture)
            scorer.fill(capture, lane.inputs, 0)
            scorer.score(capture, scorer.require_outputs(lane.run(1), 1), 0)
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.single_stream_target_latency_percentile = 0.9
    try:
        return _run(issue, settings, queries)
    finally:
        lane.close()


def server(session: Liveness, queries: int, limit_ms: float, seed: int) -> LoadGenRun:
    """Let LoadGen submit Poisson arrivals to the session, 99 % to be answered within a limit."""
    import mlperf_loadgen as loadgen

    capture = tiny_bundle.capture()

    def answered(identity: int, _: object) -> None:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(identity, 0, 0)])

    def issue(samples: list[Any]) -> None:
        for sample in samples:
            session.submit(capture).add_done_callback(partial(answered, sample.id))

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.Server
    settings.schedule_rng_seed = seed
    settings.server_target_qps = RATE_PER_S
    settings.server_target_latency_ns = int(1e6 * limit_ms)
    settings.server_target_latency_percentile = 0.99
    return _run(issue, settings, queries)


def _run(issue: Callable[[list[Any]], None], settings: Any, queries: int) -> LoadGenRun:
    import mlperf_loadgen as loadgen

    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = queries
    settings.min_duration_ms = 0
    with tempfile.TemporaryDirectory() as folder, _unit(issue) as (sut, library):
        log = loadgen.LogSettings()
        log.log_output.outdir, log.enable_trace = folder, True
        loadgen.StartTestWithLogSettings(sut, library, settings, log)
        return _read(Path(folder))


@contextmanager
def _unit(issue: Callable[[list[Any]], None]) -> Iterator[tuple[Any, Any]]:
    """Construct what LoadGen tests and its library of samples, which has one."""
    import mlperf_loadgen as loadgen

    sut = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    try:
        yield sut, library
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


def _read(folder: Path) -> LoadGenRun:
    trace = (folder / "mlperf_log_trace.json").read_text("utf-8")
    found = np.array([(float(ts), int(ns)) for ts, ns in _SAMPLE.findall(trace)])
    found = found[np.argsort(found[:, 0])]
    detail = (folder / "mlperf_log_detail.txt").read_text("utf-8")
    entries = [
        json.loads(line.removeprefix(":::MLLOG "))
        for line in detail.splitlines()
        if line.startswith(":::MLLOG ")
    ]
    due_ms = (found[:, 0] - found[0, 0]) / 1e3
    return LoadGenRun(due_ms, found[:, 1] / 1e6, {e["key"]: e["value"] for e in entries})


def compare(
    scenario: str, theirs_ms: NDArray[np.float64], ours_ms: NDArray[np.float64]
) -> list[Comparison]:
    """Compare every percentile for which both have enough calls."""
    rows = []
    for found, same in zip(percentiles(ours_ms), percentiles(theirs_ms), strict=True):
        lower, upper = early_stopping_bounds(theirs_ms, found.p)
        if found.ms is None or same.ms is None or same.upper_ms is None:
            continue
        if np.isfinite([lower, upper]).all():
            row = (lower, upper, found.ms, same.ms, same.upper_ms)
            rows.append(Comparison(scenario, found.name, *row))
    return rows


def logged_ms(run: LoadGenRun, p: float) -> float:
    """Return a percentile that LoadGen logged, in milliseconds."""
    return float(run.results[f"result_{p:.2f}_percentile_latency_ns"]) / 1e6


def loadgen_percentile_ms(latency_ms: NDArray[np.float64], p: float) -> float:
    """Return a percentile by LoadGen's convention, in milliseconds.

    The latency of rank floor(p * n) + 1 (results.cc); the profiler's has rank ceil(p * n), which is
    one less where p * n is whole.
    """
    ordered = np.sort(latency_ms)
    return float(ordered[math.floor(round(len(ordered) * p / 100.0, 9))])


def ranks_between(values: NDArray[np.float64], one: float, other: float) -> int:
    """Return how far two of the values are apart: one more than the values between them."""
    ordered = np.sort(values)
    low, high = min(one, other), max(one, other)
    if low == high:
        return 0
    between = np.searchsorted(ordered, high, "left") - np.searchsorted(ordered, low, "right")
    return int(between) + 1


def compare_ranks(run: LoadGenRun) -> list[dict[str, Any]]:
    """Compare the percentiles of LoadGen's own calls that it logged with the profiler's."""
    return [
        {
            "percentile": found.name,
            "logged_ms": logged_ms(run, found.p),
            "recorded_ms": loadgen_percentile_ms(run.latency_ms, found.p),
            "ranks_apart": ranks_between(run.latency_ms, found.ms, logged_ms(run, found.p)),
        }
        for found in percentiles(run.latency_ms)
        if found.ms is not None
    ]


def keeps(latency_ms: NDArray[np.float64], limit_ms: float) -> bool:
    """Whether the early-stopping rule finds 99 % of the calls within a limit."""
    return int((latency_ms > limit_ms).sum()) <= allowed(len(latency_ms), 0.01)


def run(queries: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Let LoadGen and the profiler drive one engine in turns, and compare them.

    Args:
        queries: Queries of one run of LoadGen; Server needs 662 for its verdict.
        rounds: Runs of either scenario, so that a machine that changes is in both.
    """
    capture, seconds = [tiny_bundle.capture()], queries * SERVICE_MS / 1e3
    streams, closed, served, replayed, verdicts = [], [], [], [], []
    with timed_session(TimedEngine(fixed())) as session:
        for number in range(rounds):
            streams.append(single_stream(session, queries))
            request = LoadRequest(load=Load.CLOSED, seconds=seconds, min_calls=queries)
            closed.append(measure(session, capture, request).counted)
            limit_ms = LIMITS_MS[number % len(LIMITS_MS)]
            served.append(server(session, queries, limit_ms, seed=number))
            request = LoadRequest(load=Load.REPLAY, arrivals_ms=served[-1].due_ms)
            replayed.append(measure(session, capture, request))
            verdicts.append(
                {
                    "limit_ms": limit_ms,
                    "loadgen": bool(served[-1].results["early_stopping_met"]),
                    "same_calls": keeps(served[-1].latency_ms, limit_ms),
                    "profiler": keeps(replayed[-1].latency_ms, limit_ms),
                }
            )
    compared = (("SingleStream", streams, closed), ("Server", served, replayed))
    return {
        "service_ms": SERVICE_MS,
        "queries": [sum(len(r.latency_ms) for r in theirs) for _, theirs, _ in compared],
        "calls": [sum(map(len, ours)) for _, _, ours in compared],
        "percentiles": [
            asdict(row)
            for scenario, theirs, ours in compared
            for row in compare(
                scenario,
                np.concatenate([r.latency_ms for r in theirs]),
                np.concatenate([r.latency_ms for r in ours]),
            )
        ],
        "ranks": [row for each in (*streams, *served) for row in compare_ranks(each)],
        "estimates": [
            {
                "percentile": f"p{p:g}",
                "loadgen_ms": r.estimates_ms.get(p),
                "rule_ms": early_stopping_bounds(r.latency_ms, p)[1],
            }
            for r in streams
            for p in ESTIMATED
        ],
        "verdicts": verdicts,
    }


def main() -> int:
    """Run both and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    print(json.dumps(run(parser.parse_args().queries)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
