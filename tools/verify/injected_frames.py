"""Claims about injected frames: what is found, what is refused in vain, and what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from claims import Claim
from measuring import ROOT, bench_json, demo_bundle
from trust import attack_claims

INJECTION_ATTACKS = ROOT / "tests" / "attacks" / "injection"
INJECTION_ALARMS_PERCENT = 0.1
INJECTION_COST_PERCENT = 5.0
INJECTION_PROCESSES = 2
# Least share of streams found, of those who stand still and of those who move a little or much.
# Codecs at low rates, and late sensors of who stands still, have none: see the guide on security.
INJECTION_FOUND = {
    "repeated as it is": 1.0,
    "repeated by JPEG 95": 0.95,
    "repeated by JPEG 80": 0.9,
    "repeated half a pixel away": 0.9,
    "repeated a pixel away": 0.8,
    "repeated resized by 0.7": 0.9,
    "repeated with new noise": 0.95,
    "frozen by JPEG 90 with new noise": 0.9,
    "infrared made of color": 0.95,
    "ir of another": 0.95,
    "depth of another": 0.9,
    "flat depth": 1.0,
}
INJECTION_FOUND_MOVING = {"ir 4 frames late": 0.9, "depth 4 frames late": 0.9}
MOVING = "drift 3"


def injection_claims() -> Iterator[Claim]:
    """Injected frames: false alarms, what is found, what the checks cost, and the attacks."""
    line = bench_json("injection.py", "--processes", INJECTION_PROCESSES)
    alarms, lit = line["false_alarms"], line["false_alarms_in_flickering_light"]
    upper = 100 * alarms["upper_95"]
    by = ", ".join(f"{check} {count}" for check, count in alarms["by"].items())
    yield Claim(
        "injection: percent of live sequences of which a check finds a frame",
        100 * alarms["found"] / alarms["of"],
        "<=",
        INJECTION_ALARMS_PERCENT,
        f"{alarms['found']} of {alarms['of']} synthetic sequences, {line['frames']} frames; at "
        f"most {upper:.3f} % with 95 % confidence; sequences by check: {by}; in flickering light "
        f"{lit['found']} of {lit['of']}",
    )
    for name, shares in line["found"].items():
        said = ", ".join(f"{drift} {100 * share:.0f} %" for drift, share in shares.items())
        note = f"{line['streams_each']} streams each, by how the person moves: {said}"
        if name in INJECTION_FOUND_MOVING:
            least, share = INJECTION_FOUND_MOVING[name], shares[MOVING]
        else:
            least, share = INJECTION_FOUND.get(name, 0.0), sum(shares.values()) / len(shares)
        yield Claim(f"injection: share of streams found, {name}", share, ">=", least, note)
    with tempfile.TemporaryDirectory() as folder:
        cost = bench_json("injection_cost.py", demo_bundle(Path(folder)))
    yield Claim(
        "injection: processor time that the checks add to a decision of the demo, percent",
        100 * (cost["ratio"] - 1),
        "<=",
        INJECTION_COST_PERCENT,
        f"{cost['decision_cpu_ms']} ms against {cost['decision_without_cpu_ms']} ms, medians of "
        f"{cost['decisions']} decisions in turn",
    )
    yield from attack_claims(INJECTION_ATTACKS, "injection: ")
