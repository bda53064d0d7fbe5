"""Claims about data, training methods and the papers' tables, measured: `make verify-methods`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from claims import Claim, report
from measuring import pytest_claim, support_json

KILLS = 1_000


def loss_claims() -> Iterator[Claim]:
    """Training losses against independent NumPy, and ReGrad's rule."""
    yield pytest_claim(
        "SSP, ADP, RS2 and ReGrad against independent NumPy: tests that fail or skip",
        "tests/engines/training/test_losses.py",
        "tests/engines/training/test_regrad.py",
    )


def list_claims() -> Iterator[Claim]:
    """Every verb on folders and lists of four data sets as published, and lists made of them."""
    yield pytest_claim(
        "published folders and lists by train, build-engine, evaluate, tune, dataset: tests that "
        "fail or skip",
        "tests/tools/cli/test_published_folders.py",
        "tests/tools/cli/test_dataset_lists.py",
        "tests/calibration/datasets/test_source.py",
        "tests/calibration/datasets/test_split.py",
        *("-m", "slow or not slow"),
    )


def record_claims(kills: int) -> Iterator[Claim]:
    """Recordings: what they give to training, and what a kill takes from them."""
    found = support_json("support.record_kills", "--kills", kills)
    yield Claim("record: kills", found["kills"], ">=", KILLS, str(found["by_what"]))
    broken = "; ".join(map(str, found["broken"]))[:400]
    claim = "record: kills that spoiled or lost a presentation before the one under way"
    yield Claim(claim, len(found["broken"]), "==", 0, broken)
    yield Claim("record: files left behind after the next recording", found["litter"], "==", 0)
    yield pytest_claim(
        "record: a RealSense and videos to training and evaluation: tests that fail or skip",
        "tests/tools/cli/test_record.py",
        "tests/tools/cli/test_record_train.py",
        *("-m", "slow or not slow"),
    )


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "losses": loss_claims,
    "lists": list_claims,
    "record": partial(record_claims, KILLS),
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_GROUPS))
    parser.add_argument("--kills", type=int, default=KILLS, help="of recordings")
    options = parser.parse_args()
    only = options.only
    groups = _GROUPS | {"record": partial(record_claims, options.kills)}
    return report(groups if only is None else {only: groups[only]})


if __name__ == "__main__":
    sys.exit(main())
