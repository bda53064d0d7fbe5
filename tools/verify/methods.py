"""Claims about data, training methods and the papers' tables, measured: `make verify-methods`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from claims import Claim, report
from measuring import fasdk_run, pytest_claim, support_json
from published_tables import protocol_claims

SYSTEMS = ("mmdg", "mmdgpp", "mmda", "bigmoe")
SENSOR_FAULTS = 12
FOUND_MEAN = 0.8  # of a fault's pictures, at a false alarm rate of 5 %
FOUND_LEAST = 0.3
FALSE_ALARMS = 0.07  # 5 %, and two standard errors of 600 captures and 3 times 200 others
INT8_DIFFERENCE = 0.02
KILLS = 1_000
LOSS_ERROR = 1e-6
GRADIENT_ERROR = 1e-5
DEMO_SECONDS = 120
DEMO_CAPTURES = 1000
DEMO_RATE = 0.05


def loss_claims() -> Iterator[Claim]:
    """MMDG's training step at the published size, and every method's losses."""
    step = support_json("support.mmdg_step")
    note = "float64, against arrays made from the description; certainty of the class token"
    claim = "MMDG's training step at the published size: largest relative error of"
    yield Claim(f"{claim} a loss", step["losses"], "<=", LOSS_ERROR, note)
    worst = f"of {step['parameters']} parameters, worst {step['worst']}"
    yield Claim(f"{claim} a gradient", step["gradients"], "<=", GRADIENT_ERROR, worst)
    yield Claim(f"{claim} a certainty", step["certainty"], "<=", GRADIENT_ERROR)
    for name, error in support_json("support.numpy_losses").items():
        claim = f"{name} against independent NumPy: relative error"
        yield Claim(claim, error, "<=", LOSS_ERROR)


def reliability_claims(systems: Sequence[str]) -> Iterator[Claim]:
    """Sensor faults that `reliability` finds, for a trained tiny model of each system."""
    for model in systems:
        found = support_json("support.sensor_fault_figures", model)
        shares: dict[str, float] = found["found"]
        alarms: dict[str, float] = found["false_alarms"]
        note = f"{found['captures']} synthetic captures, held-out people; {model} tiny, trained"
        worst = min(shares, key=lambda fault: shares[fault])
        yield Claim(f"{model}: sensor faults simulated", len(shares), "==", SENSOR_FAULTS, note)
        yield Claim(
            f"{model}: share of them found below {found['below']}, mean over the faults",
            sum(shares.values()) / len(shares),
            ">=",
            FOUND_MEAN,
            ", ".join(f"{fault} {share:.2f}" for fault, share in shares.items()),
        )
        claim = f"{model}: share found of the fault that is found least"
        yield Claim(claim, shares[worst], ">=", FOUND_LEAST, worst)
        yield Claim(
            f"{model}: share of good pictures below {found['below']}, mean over the sensors",
            sum(alarms.values()) / len(alarms),
            "<=",
            FALSE_ALARMS,
            ", ".join(f"{sensor} {share:.3f}" for sensor, share in alarms.items()),
        )
        claim = f"{model}: good frames that a track says are not new"
        yield Claim(claim, found["frozen_false_alarms"], "==", 0.0, "the way frozen is found")
        claim = f"{model}: largest difference of a share, INT8 against FP32"
        yield Claim(claim, found["int8_difference"], "<=", INT8_DIFFERENCE)


def list_claims() -> Iterator[Claim]:
    """Every verb on folders and lists of four data sets as published, and lists made of them."""
    yield pytest_claim(
        "published folders and lists by train, build-engine, evaluate, tune, dataset: tests that "
        "fail or skip",
        "tests/tools/cli/test_published_folders.py",
        "tests/tools/cli/test_dataset_lists.py",
        "tests/calibration/datasets/test_source.py",
        "tests/calibration/datasets/test_split.py",
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
    "protocols": protocol_claims,
    "demo": demo_claims,
    "lists": list_claims,
    "record": partial(record_claims, KILLS),
    "reliability": partial(reliability_claims, SYSTEMS),
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
