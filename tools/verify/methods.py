"""Claims about data, training methods and the papers' tables, measured: `make verify-methods`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from claims import Claim, report
from measuring import pytest_claim
from published_tables import protocol_claims


def loss_claims() -> Iterator[Claim]:
    """Training losses against independent NumPy, and ReGrad's rule."""
    yield pytest_claim(
        "SSP, ADP, RS2 and ReGrad against independent NumPy: tests that fail or skip",
        "tests/engines/training/test_losses.py",
        "tests/engines/training/test_regrad.py",
    )


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "losses": loss_claims,
    "protocols": protocol_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_GROUPS))
    only = parser.parse_args().only
    return report(_GROUPS if only is None else {only: _GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())
