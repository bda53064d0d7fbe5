"""Claims about latency profiles, measured: `make verify-profile`.

Run from the project's root in its virtual environment, on an otherwise idle machine. `--only GROUP`
measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from claims import Claim, report
from measuring import support_json


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


GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "bounds": bound_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS))
    only: str | None = parser.parse_args().only
    return report(GROUPS if only is None else {only: GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())
