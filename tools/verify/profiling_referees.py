"""Claims about the profiler by referees: simulation, LoadGen, queueing theory and a bare loop."""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim
from measuring import support_json

MOST_ADDED = 0.02
WAITING_PERCENT = 15.0
LEAST_ARRIVALS = 5_000


def bound_claims() -> Iterator[Claim]:
    """Coverage of the percentiles' upper bounds over simulated runs of known distributions."""
    found = support_json("support.profile_bounds")
    for row in found["coverage"]:
        shares = [share for size in row["by_calls"].values() for share in size.values()]
        independent = row["independent"]
        yield Claim(
            f"upper bounds, {row['distribution']}: least share of {found['runs']} runs that cover "
            f"the true percentile",
            min(shares),
            ">=",
            round(found["least"], 4) if independent else 0,
            f"by calls and percentile: {row['by_calls']}"
            + ("" if independent else "; calls depend on each other, no coverage is promised"),
        )


def loadgen_claims() -> Iterator[Claim]:
    """Percentiles of both scenarios within the early-stopping bounds of MLPerf LoadGen."""
    found = support_json("support.profile_loadgen")
    note = f"{found['queries']} queries and {found['calls']} calls of SingleStream and Server"
    # The profiler may add its own share of a call's time, and so may LoadGen.
    allowance = MOST_ADDED * found["service_ms"]
    outside = [
        f"{row['scenario']} {row['percentile']}"
        for row in found["percentiles"]
        if not row["lower_ms"] - allowance <= row["profiler_ms"] <= row["upper_ms"] + allowance
    ]
    rows = "; ".join(
        f"{row['scenario']} {row['percentile']}: {row['profiler_ms']:.3f} in "
        f"[{row['lower_ms']:.3f}, {row['upper_ms']:.3f}] ms"
        for row in found["percentiles"]
    )
    compared = {(row["scenario"], row["percentile"]) for row in found["percentiles"]}
    names = "percentiles p50 to p99 of SingleStream and Server"
    yield Claim(f"LoadGen: {names} that were compared", len(compared), ">=", 8, note)
    yield Claim(
        f"LoadGen: {names} of the profiler's own loads outside its early-stopping bounds, give or "
        f"take {allowance:g} ms",
        len(outside),
        "==",
        0,
        f"{rows}; outside: {outside}",
    )
    same = [
        row
        for row in found["percentiles"]
        if not row["lower_ms"] <= row["same_ms"] <= row["upper_ms"]
        or row["same_upper_ms"] > row["upper_ms"]
    ]
    yield Claim(f"LoadGen: {names} of its own calls outside those bounds", len(same), "==", 0)
    otherwise = [row for row in found["ranks"] if row["logged_ms"] != row["recorded_ms"]]
    yield Claim(
        "LoadGen: percentiles it logged that are not its recorded latency of rank floor(p n) + 1",
        len(otherwise),
        "==",
        0,
        f"{otherwise or len(found['ranks'])} compared",
    )
    yield Claim(
        "LoadGen: ranks between its percentiles and ours of the same calls",
        max(row["ranks_apart"] for row in found["ranks"]),
        "<=",
        1,
        "ours has rank ceil(p n), one less where p n is whole",
    )
    differences = [
        abs(row["loadgen_ms"] - row["rule_ms"])
        for row in found["estimates"]
        if row["loadgen_ms"] is not None
    ]
    yield Claim("LoadGen: early-stopping estimates that it printed", len(differences), ">=", 2)
    worst = max(differences, default=None)
    yield Claim("LoadGen: its estimates from the same rule, in ms", worst, "<=", 1e-3)
    differing = [row for row in found["verdicts"] if len({*row.values()} - {row["limit_ms"]}) > 1]
    verdicts = {row["loadgen"] for row in found["verdicts"]}
    yield Claim("LoadGen: kinds of verdict on a limit", len(verdicts), "==", 2, "kept and missed")
    yield Claim("LoadGen: verdicts that differ", len(differing), "==", 0, str(found["verdicts"]))


def queueing_claims() -> Iterator[Claim]:
    """Mean waiting by queueing theory, and a stall that an open load alone shows."""
    found = support_json("support.profile_queueing")
    for row in found["waiting"]:
        what = f"{row['queue']} at {row['load']:.0%}"
        off = 100 * abs(row["waiting_ms"] / row["theory_ms"] - 1.0)
        yield Claim(
            f"{what}: mean waiting from theory, percent",
            off,
            "<=",
            WAITING_PERCENT,
            f"{row['waiting_ms']:.3f} ms measured, {row['theory_ms']:.3f} by theory, "
            f"{row['recursion_ms']:.3f} by recursion over the same arrivals; utilization "
            f"{row['utilization']:.3f}",
        )
        yield Claim(f"{what}: arrivals", row["arrivals"], ">=", LEAST_ARRIVALS)
    stall = found["stall"]
    off = 100 * abs(stall["constant"] / stall["theory_ms"] - 1.0)
    note = f"{stall['constant']:.1f} ms measured, {stall['theory_ms']:.1f} ms by theory"
    what = "stall of 200 ms every 5 s"
    yield Claim(
        f"{what}: p99 of a constant load from theory, percent", off, "<=", WAITING_PERCENT, note
    )
    over = stall["closed"] / stall["service_ms"]
    yield Claim(f"{what}: p99 of the closed loop over the service time", over, "<=", 2.0)


def overhead_claims() -> Iterator[Claim]:
    """Time that the profiler adds to the median call of a bare loop."""
    for row in support_json("support.profile_overhead")["engines"]:
        yield Claim(
            f"profiler, engine that {row['engine']}: share added to the median from call to call",
            row["added"],
            "<=",
            MOST_ADDED,
            f"{row['profiled_ms']:.4f} over {row['bare_ms']:.4f} ms, {row['calls']} calls",
        )
