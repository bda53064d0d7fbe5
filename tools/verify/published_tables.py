"""Claims about the published tables, on folders written in the published layouts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claims import Claim
from measuring import FASDK, ROOT, fasdk_json, fasdk_run, pytest_claim, support_json

TABLES = {"P1": 5, "P2": 4, "P3": 3, "FLEX": 8, "SURF": 1}  # lines of each, the mean included
SPLITS = (("CPS", "W"), ("CPW", "S"), ("CSW", "P"), ("PSW", "C"))
KILLS = 8
SMALL = ("--config", "tiny", "--epochs", 2, "--batch", 16, "--save-every", 1)


def protocol_claims() -> Iterator[Claim]:
    """Folders in all four published layouts become the tables; nothing is lost by kills."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        roots = support_json("support.published_layouts", folder / "data", "--captures", 24)
        lists = [f"{root}/{letter}-test.txt" for letter, root in roots.items()]
        words = [word for root in roots.values() for word in ("--root", root)]
        checked = fasdk_json("dataset", "check", *lists, *words, ok_status=(0, 1))
        yield Claim(
            "published layouts: faults that `dataset check` finds", checked["faults"], "==", []
        )
        data = ",".join(f"{letter}={root}" for letter, root in roots.items())
        asked = ("protocols", "--data", data, "--tables", ",".join(TABLES), *SMALL)
        ran = fasdk_run(*asked, "-o", folder / "whole")
        lines = {table["name"]: len(table["lines"]) for table in ran.document["tables"]}
        note = f"{len(ran.document['cells'])} trainings, nothing converted"
        yield Claim(
            "published layouts: lines of P1, P2, P3, FLEX and SURF",
            lines,
            "==",
            TABLES,
            note,
            figures={"seconds": round(ran.seconds, 1), "peak_mb": round(ran.peak_bytes / 1e6)},
        )
        yield _joined(ran.document, folder / "whole")
        killed, kills = _killed(asked, folder / "killed", ran.seconds)
        yield Claim(
            "published tables: figures that differ after kills from those of an unbroken run",
            _differing(ran.document["tables"], killed["tables"]),
            "==",
            0,
            f"{kills} kills, spread over the run",
        )
    yield pytest_claim(
        "published tables: tests that fail or skip",
        "tests/tools/protocols",
        "tests/tools/evaluation/test_joining.py",
        *("-m", "slow or not slow"),
    )


def _joined(document: dict[str, Any], out: Path) -> Claim:
    """Hold `evaluate --family` over the kept evaluations against the tables."""
    worst = 0.0
    by_name = {table["name"]: table["lines"][-1] for table in document["tables"]}
    for unit, part, hter in (
        ("row", "published", "hter"),
        ("presentation", "standard", "hter_at_test_eer"),
    ):
        files = [next(out.glob(f"*/{t}.0/{target}.{unit}.json")) for t, target in SPLITS]
        for family in ("P1", "P2"):
            joined = fasdk_json("evaluate", *files, "--family", family)
            expected = by_name[family][part]
            worst = max(
                worst,
                abs(joined["hter_at_eer"] - expected[hter]["mean"]),
                abs(joined["auc"] - expected["auc"]["mean"]),
            )
    return Claim("P1 and P2 joined by `evaluate --family`: worst difference", worst, "<=", 1e-12)


def _killed(asked: tuple[object, ...], out: Path, seconds: float) -> tuple[dict[str, Any], int]:
    """Kill the run again and again, each time a little later, and return its document."""
    words = [*FASDK, *map(str, asked), "-o", str(out), "--json"]
    kills = 0
    for number in range(KILLS):
        process = subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
        )
        time.sleep(seconds * (number + 1) / (KILLS + 1))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    return fasdk_json(*asked, "-o", out), kills


def _differing(expected: list[Any], found: list[Any]) -> int:
    """Return how many of the lines differ."""
    pairs = zip(
        (line for table in expected for line in table["lines"]),
        (line for table in found for line in table["lines"]),
        strict=True,
    )
    return sum(
        json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True) for one, other in pairs
    )
