"""Claims about installing and running doors, measured: `make verify-operate`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from audit_log import audit_claims
from claims import Claim, report
from injected_frames import injection_claims
from measuring import pytest_claim, support_json
from operate_serving import serve_claims

DOCTOR_PROBLEMS = 15
DOCTOR_SECONDS = 15.0


def page_claims() -> Iterator[Claim]:
    """Pages in headless Chromium at 1280 and 390 pixels, and the arithmetic of evidence sheets."""
    found = support_json("support.every_page")
    note = "; ".join(found["pages"])
    where = "of every page at 1280 and 390 pixels"
    yield Claim("pages opened in headless Chromium", len(found["pages"]), ">=", 6, note)
    for name, claim in (
        ("console", f"messages in the console {where}"),
        ("asked_for", f"requests off the page {where}"),
        ("faults", f"things cut off or laid over text {where}"),
        ("serious", f"serious or critical findings of axe-core {where}, light and dark"),
        ("lesser", f"lesser findings of axe-core {where}, light and dark"),
    ):
        yield Claim(claim, len(found[name]), "==", 0, "; ".join(found[name])[:400])
    yield pytest_claim(
        "evidence sheets against counts by hand, reports against their documents: tests that fail "
        "or skip",
        "tests/tools/evaluation/test_evidence.py",
        "tests/tools/model_card",
    )


def doctor_claims() -> Iterator[Claim]:
    """Planted problems that the doctor names, its false alarms, and how long it takes."""
    found = support_json("support.doctor_plants")
    planted, missed = found["planted"], found["missed"]
    note = "machines with other packages, recorded boards, accounts, bundles and cameras"
    yield Claim("doctor: problems planted", planted, ">=", DOCTOR_PROBLEMS, note)
    claim = f"doctor: of {planted} problems, those not named with their fix"
    yield Claim(claim, len(missed), "==", 0, ", ".join(missed))
    failed = found["false_fails"]
    note = f"{found['checks']} checks, with a bundle; {', '.join(failed) or 'none'}"
    yield Claim("doctor: checks that fail on a sound machine", len(failed), "==", 0, note)
    note = "with a bundle, on the machine of the other claims"
    yield Claim("doctor: seconds of a run", found["seconds"], "<=", DOCTOR_SECONDS, note)


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "audit": audit_claims,
    "injection": injection_claims,
    "pages": page_claims,
    "doctor": doctor_claims,
    "serve": serve_claims,
}


def main() -> int:
    """Measure every group, or one."""
    from operate_site import SITE_GROUPS

    groups = _GROUPS | SITE_GROUPS
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(groups))
    only = parser.parse_args().only
    return report(groups if only is None else {only: groups[only]})


if __name__ == "__main__":
    sys.exit(main())
