"""Claims about latency profiles, measured: `make verify-profile`.

Run from the project's root in its virtual environment, on an otherwise idle machine. `--only GROUP`
measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from claims import Claim, report
from measuring import pytest_claim, support_json
from profiling_referees import bound_claims, loadgen_claims, overhead_claims, queueing_claims


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


GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "bounds": bound_claims,
    "loadgen": loadgen_claims,
    "queueing": queueing_claims,
    "overhead": overhead_claims,
    "page": page_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS))
    only: str | None = parser.parse_args().only
    return report(GROUPS if only is None else {only: GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())
