"""Claims about data, training methods and the papers' tables, measured: `make verify-methods`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from claims import Claim, report
from measuring import fasdk_run, pytest_claim


def loss_claims() -> Iterator[Claim]:
    """Training losses against independent NumPy, and ReGrad's rule."""
    yield pytest_claim(
        "SSP, ADP, RS2 and ReGrad against independent NumPy: tests that fail or skip",
        "tests/engines/training/test_losses.py",
        "tests/engines/training/test_regrad.py",
    )


DEMO_SECONDS = 120
DEMO_CAPTURES = 1000
DEMO_RATE = 0.05


def demo_claims() -> Iterator[Claim]:
    """The demo on the packaged checkpoint: its duration, and error rates on people never seen."""
    with tempfile.TemporaryDirectory() as folder:
        ran = fasdk_run("demo", "--out", Path(folder))
    shown = ran.document
    note = ", ".join(f"{step} {took:.0f}" for step, took in shown["seconds"].items())
    yield Claim("demo: seconds, after installation", ran.seconds, "<=", DEMO_SECONDS, note)
    yield Claim(
        "demo: held-out captures",
        shown["captures"],
        ">=",
        DEMO_CAPTURES,
        f"{shown['subjects']} people that neither training nor tuning saw; synthetic",
    )
    for name in ("fp16", "auto"):
        rates, precision = shown[name]["rates"], shown[name]["build"]["precision"]
        worst, bona_fide = rates["worst_apcer"], rates["bpcer"]
        yield Claim(
            f"demo, {name}: BPCER",
            bona_fide["rate"],
            "<=",
            DEMO_RATE,
            f"{precision}, {_counted(bona_fide)}",
        )
        yield Claim(
            f"demo, {name}: largest APCER of a species",
            worst["rate"],
            "<=",
            DEMO_RATE,
            f"{precision}, {rates['worst_species']}, {_counted(worst)}",
        )


def _counted(rate: dict[str, float]) -> str:
    bounds = f"{rate['lower']:.4f} to {rate['upper']:.4f}"
    return f"{rate['errors']} of {rate['attempts']}, 95 % bounds {bounds}"


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "losses": loss_claims,
    "demo": demo_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_GROUPS))
    only = parser.parse_args().only
    return report(_GROUPS if only is None else {only: _GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())
