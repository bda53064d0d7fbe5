"""Claims about latency profiles, measured: `make verify-profile`.

Run from the project's root in its virtual environment, on an otherwise idle machine. `--only GROUP`
measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from claims import Claim, report
from measuring import ROOT, pytest_claim, support_json
from profiling_referees import bound_claims, loadgen_claims, overhead_claims, queueing_claims
from profiling_searches import door_count_claims, find_claims
from profiling_used import session_tail_claims, stage_claims, trace_claims


def page_claims() -> Iterator[Claim]:
    """Percentiles in every output, and the HTML page in a browser."""
    found = support_json("support.percentile_outputs")
    yield Claim(
        "documents, tables and pages with a p99 below 299 calls or a p99.9 below 2,995, or without "
        "one that has a bound",
        len(found["wrong"]),
        "==",
        0,
        f"{found['outputs']} outputs; {', '.join(found['wrong'][:3]) or 'none'}",
    )
    yield pytest_claim(
        "profile page in headless Chromium at 1280, 768, 390 and 320 pixels, light and dark: tests "
        "failed of console errors, requests off the machine and layout",
        "tests/tools/report/test_browser.py",
        "-k",
        "profile",
        "-m",
        "slow or not slow",
    )


def door_claims() -> Iterator[Claim]:
    """First decision after a pause, time to a track's verdict, and the planning estimate."""
    found = support_json("support.door_figures")
    ratios = found["ratios"]
    method = "an engine that sleeps 5 ms a call, 65 ms after half a second without one"
    yield Claim(
        "pauses: ratio to busy after 1 s over the planted one, less 1, absolute",
        round(abs(ratios["1"] / found["planted_ratio"] - 1.0), 4),
        "<=",
        0.1,
        method,
    )
    yield Claim("pauses: ratio to busy after 0.1 s", round(ratios["0.1"], 4), "<=", 1.2, method)
    yield Claim(
        "track: median time to a verdict over that of the planted schedule, less 1, absolute",
        round(abs(found["verdict_ms"] / found["planted_verdict_ms"] - 1.0), 4),
        "<=",
        0.1,
        "three frames that count at 30 frames/s, 5 ms each",
    )
    yield Claim(
        "planning estimate: published measurements in its range, share",
        found["published_in_range"] / found["published"],
        ">=",
        1.0,
        f"{found['published']} latencies of others, sources in profiling/published.py",
    )


def trouble_claims() -> Iterator[Claim]:
    """Verdict on planted troubles, on clean machines and on this one, and what watching costs."""
    found = support_json("support.profile_troubles")
    planted, clean = found["planted"], found["clean"]
    wrong = {trouble: named for trouble, named in planted.items() if named != [trouble]}
    yield Claim(
        f"planted troubles of {len(planted)} that the verdict names, each alone",
        len(planted) - len(wrong),
        "==",
        len(planted),
        f"{'; '.join(f'{trouble}: {named}' for trouble, named in wrong.items()) or 'all'}",
    )
    yield Claim(
        "clean machines that are not trusted",
        sum(bool(named) for named in clean.values()),
        "==",
        0,
        f"trees of {', '.join(clean)}",
    )
    yield Claim(
        "reasons against 5 s of one busy thread on this machine",
        len(found["quiet"]),
        "==",
        0,
        "; ".join(found["quiet"]) or f"not read: {'; '.join(found['not_read']) or 'nothing'}",
    )
    yield Claim(
        "the same beside two busy processes: named a noisy neighbor",
        any(reason.startswith("noisy-neighbor") for reason in found["crowded"]),
        "==",
        True,
        "; ".join(found["crowded"]),
    )
    yield Claim("readings of the machine a second", found["readings_per_s"], ">=", 1.0)
    yield Claim(
        "processor time of the thread that reads, share of one processor",
        found["sampler_share"],
        "<=",
        0.01,
    )


def comparison_claims() -> Iterator[Claim]:
    """Planted slowdowns told by --against and --baseline, and none told where none is planted."""
    found = support_json("support.profile_comparisons")
    runs = found["runs"]
    for option, planted in (("against", "10 %"), ("baseline", "20 %")):
        note = f"of {runs} runs, on a real session"
        if option == "baseline":
            note += f"; {found['baseline_not_comparable']} more were not comparable"
        told = f"--{option}: runs with a planted {planted} that are called slower"
        yield Claim(told, found[f"{option}_found"], ">=", round(0.9 * runs), note)
        if option == "baseline":
            least = found["baseline_least_compared"]
            yield Claim("--baseline: runs that could be compared, each way", least, ">=", runs)
        false = f"--{option}: runs with nothing planted that are called slower"
        yield Claim(false, found[f"{option}_false"], "==", 0, note)


def _groups(work: Path) -> dict[str, Callable[[], Iterator[Claim]]]:
    return {
        "bounds": bound_claims,
        "loadgen": loadgen_claims,
        "queueing": queueing_claims,
        "overhead": overhead_claims,
        "stages": partial(stage_claims, work),
        "door": door_claims,
        "page": page_claims,
        "trace": trace_claims,
        "troubles": trouble_claims,
        "against": comparison_claims,
        "session": session_tail_claims,
        "find": partial(find_claims, work),
        "doors": partial(door_count_claims, work),
    }


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_groups(Path())))
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".verify", help="the demo is made there"
    )
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    groups = _groups(work)
    return report(groups if arguments.only is None else {arguments.only: groups[arguments.only]})


if __name__ == "__main__":
    sys.exit(main())
