"""Claims about a door on its site, for `make verify-operate`: its check, its drift, re-tuning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from claims import Claim
from measuring import bench_json, demo_bundle, pytest_claim

UNCHANGED = 2_000
NAMED_WITHIN = 500
SITES = 1_000
EXCEEDED = 0.05


def site_claims() -> Iterator[Claim]:
    """A check on site: planted faults are named, and no profile loosens anything."""
    yield pytest_claim(
        "commissioning, site profiles and their refusals: tests that fail or skip",
        "tests/sdk/site/test_profile.py",
        "tests/tools/commissioning",
        "tests/tools/cli/test_commission.py",
    )


def drift_claims() -> Iterator[Claim]:
    """Drift: planted faults are named soon, and nothing is where nothing moved."""
    with tempfile.TemporaryDirectory() as work:
        bundle = demo_bundle(Path(work))
        found = bench_json("drift.py", bundle, "--unchanged", UNCHANGED, "--faulty", NAMED_WITHIN)
    note = (
        f"{found['baselines']} baselines of {found['baseline_groups']} groups of 5 synthetic "
        f"captures; {found['events_watched']} events watched"
    )
    for fault, shown in found["named"].items():
        slowest = max((NAMED_WITHIN + 1 if at is None else at) for at in shown["captures"])
        events = ", ".join(shown["events"])
        claim = f"{fault}: captures until it is named, slowest of the baselines"
        yield Claim(claim, slowest, "<=", NAMED_WITHIN, f"{note}; moved: {events}")
    yield Claim(
        f"false alarms in {found['drawn']} unchanged captures, all baselines together",
        found["false_alarms"],
        "==",
        0,
        f"drawn with replacement from the numbers of {found['unchanged']} captures; {note}",
    )


def retune_claims() -> Iterator[Claim]:
    """Re-tuning for a site: the bound holds, and people gain where the site differs."""
    found = bench_json("site_retuning.py", "--sites", SITES)
    for name, shown in found["scenarios"].items():
        figures = ", ".join(f"{key} {value:.3g}" for key, value in shown.items())
        claim = f"sites ({name}) whose APCER bound is exceeded, share"
        yield Claim(claim, shown["bound_exceeded"], "<=", EXCEEDED, figures)
    lower = found["scenarios"]["lower"]
    yield Claim(
        "sites with lower scores: mean BPCER less that of the vendor's threshold",
        lower["bpcer"] - lower["bpcer_at_vendor_threshold"],
        "<=",
        0.0,
        f"{lower['bpcer']:.3f} against {lower['bpcer_at_vendor_threshold']:.3f}",
    )


SITE_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "site": site_claims,
    "drift": drift_claims,
    "retune": retune_claims,
}
