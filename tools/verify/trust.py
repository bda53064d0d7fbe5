"""Claims about trust and endurance, measured: `make verify-trust`.

Run from the project's root in its virtual environment. Attacks on the bundle, the attempts, the
files and the process are tried, and every one must get its stated answer. `--only GROUP` measures
one group, `--only fuzz --target NAME` one target of fuzzing. Some groups take hours at their full
size: `--seconds`, `--fuzz-executions`, `--soak-minutes` and `--kills` measure a shorter run, whose
claims then say so and are missed. Fuzzing goes on where the last run ended, as long as the source
of its parser stays the same, until every target has its executions.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from claims import Claim, report
from measuring import (
    ROOT,
    bench_json,
    bench_lines,
    demo_bundle,
    fasdk_json,
    outcomes_by_file,
    support_json,
)

ATTACKS = ROOT / "tests" / "attacks"
LARGEST_FLIPPED_BYTES = 65_536
DEMO_FLIPS = 20_000
FUZZ_EXECUTIONS = 1_000_000
FUZZ_PEAK_MB = 512
KILLS = 1_000
SOAK_MINUTES = 30
SOAK_DRIFT_PERCENT = 1.0
BOMB_SECONDS, BOMB_MB = 1.0, 64.0
BPCER_RISE_POINTS = 1.0
MOTION_ALARMS_PERCENT = 0.5
MOTION_PROCESSES = 2
FUZZ_RECORD = ROOT / ".verify" / "fuzz"

_GROUPS = ("attacks", "gaming", "agreement", "flips", "bombs", "fuzz", "kills", "soak")

_QUICK_AND_SLOW = ("-m", "not gpu and not cuda_sim", "--timeout=900")


def attack_claims(folder: Path = ATTACKS, prefix: str = "") -> Iterator[Claim]:
    """Every file of a folder: the attack that its docstring states gets its answer."""
    files = sorted(folder.glob("test_*.py"))
    if not files:
        yield Claim(f"{prefix}attacks that are tried", 0, ">=", 1)
    names = [str(file.relative_to(ROOT)) for file in files]
    counts = outcomes_by_file(*names, *_QUICK_AND_SLOW)
    for name, file in zip(names, files, strict=True):
        claim = f"{prefix}{attack_of(file)}: tests that fail or skip"
        counted = counts.get(name)
        if counted is None:
            yield Claim(claim, None, "==", 0, "no test ran")
        else:
            yield Claim(claim, counted.missed, "==", 0, f"{counted.tests} tests")


def attack_of(file: Path) -> str:
    """Return the first line of a file's docstring, which states the attack."""
    stated = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or file.stem
    return stated.splitlines()[0].rstrip(".")


def gaming_claims() -> Iterator[Claim]:
    """Simulated artefacts that are shown by strategies, to the tracking that is shipped."""
    for row in bench_lines("gaming.py"):
        what = f"{row['level']}, r {row['correlation']}, {row['rule']}, {row['strategy']}"
        if row["strategy"] == "honest":
            rise = 100 * (row["bpcer"] - row["bpcer_before"])
            note = f"{row['people']} people, BPCER {row['bpcer']}, visits {row['visit']}"
            claim = f"{what}: rise of BPCER in percentage points"
            yield Claim(claim, rise, "<=", BPCER_RISE_POINTS, note)
            continue
        note = f"{row['artefacts']} artefacts, 10 minutes each"
        yield Claim(f"{what}: share ever LIVE", row["ever_live"], "<=", row["bound"], note)
        yield Claim(f"{what}: attempts of one artefact", row["attempts"], "<=", row["schedule"])


def agreement_claims() -> Iterator[Claim]:
    """People whose sensors are found to disagree on how the face moves, and what else is found."""
    line = bench_json("agreement.py", "--motion", "--processes", MOTION_PROCESSES)
    alarms, upper = line["false_alarms"], 100 * line["false_alarms_upper_95"]
    found = "; ".join(
        f"{kind}: " + ", ".join(f"{drift} {100 * each['rate']:.1f} %" for drift, each in by.items())
        for kind, by in line["found"].items()
    )
    yield Claim(
        "sensors that do not move together: percent of live presentations refused",
        100 * alarms["found"] / alarms["of"],
        "<=",
        MOTION_ALARMS_PERCENT,
        f"{alarms['found']} of {alarms['of']} synthetic ones, at most {upper:.2f} % with 95 % "
        f"confidence; refused of others, by how the person moves: {found}",
    )


def small_flip_claims() -> Iterator[Claim]:
    """Every bit of a small signed bundle, with the archive's checksums repaired too."""
    found = support_json("support.flips", "small")
    yield Claim("small bundle: bytes", found["bytes"], "<=", LARGEST_FLIPPED_BYTES)
    yield from _claims_of_flips("small bundle, every bit", found["ways"])


def demo_flip_claims() -> Iterator[Claim]:
    """Random bits of the demo's bundle, signed, with the archive's checksums repaired too."""
    with tempfile.TemporaryDirectory() as name:
        words = ("random", "--bundle", demo_bundle(Path(name)), "--flips", DEMO_FLIPS)
        found = support_json("support.flips", *words)
    yield from _claims_of_flips(f"demo's bundle, {DEMO_FLIPS} random bits", found["ways"])


def _claims_of_flips(what: str, ways: dict[str, Any]) -> Iterator[Claim]:
    for way, counted in ways.items():
        name = f"{what}, {way}"
        note = f"{counted['flips']} flips"
        yield Claim(f"{name}: accepted", counted["accepted"], "==", 0, note)
        yield Claim(f"{name}: payloads parsed", counted["parsed"], "==", 0, note)
        other = counted["unwrapped"]
        yield Claim(f"{name}: answers that are no FasdkError", len(other), "==", 0, str(other))


def fuzz_claims(target: str, executions: int, seconds: float | None) -> Iterator[Claim]:
    """One parser of a file or a text that others wrote, with mutated input."""
    words = ["--executions", executions, "--record", FUZZ_RECORD, "--keep", FUZZ_RECORD]
    words += [] if seconds is None else ["--seconds", seconds]
    found = support_json("fuzz", target, *words)
    what = f"fuzzing, {target}"
    yield Claim(f"{what}: executions", found["executions"], ">=", FUZZ_EXECUTIONS)
    note = "; ".join(found["failures"])[:400]
    yield Claim(f"{what}: crashes, hangs, other exceptions", len(found["failures"]), "==", 0, note)
    yield Claim(f"{what}: peak resident MB", found["peak_mb"], "<=", FUZZ_PEAK_MB)


def kill_claims(kills: int) -> Iterator[Claim]:
    """Processes that are killed while they write state."""
    found = support_json("support.kills", "--kills", kills)
    yield Claim("kills", found["kills"], ">=", KILLS, str(found.get("by_what", "")))
    broken = "; ".join(map(str, found["broken"]))[:400]
    yield Claim(
        "kills: neither previous nor whole new state", len(found["broken"]), "==", 0, broken
    )
    yield Claim("kills: files left behind after the next run", found["litter"], "==", 0)


def soak_claims(minutes: float) -> Iterator[Claim]:
    """A session under load with faults and swaps, for a long time."""
    with tempfile.TemporaryDirectory() as name:
        words = ("soak", demo_bundle(Path(name)), "--minutes", minutes)
        found: dict[str, Any] = fasdk_json(*words, ok_status=(0, 1))
    counts, before, after = found["counts"], found["before"], found["after"]
    note = f"{counts['answers']} answers, {counts['swaps']} swaps, {found['injected']} faults"
    yield Claim("soak: minutes", found["seconds"] / 60, ">=", SOAK_MINUTES)
    yield Claim("soak: wrong verdicts", len(counts["wrong"]), "==", 0, note)
    yield Claim("soak: LIVE on a faulted capture", len(counts["live_on_fault"]), "==", 0)
    yield Claim("soak: answers past the deadline", len(counts["late"]), "==", 0)
    drift = 100 * found["drift"]
    yield Claim("soak: growth of RSS after warm-up, percent", drift, "<=", SOAK_DRIFT_PERCENT)
    for held in ("threads", "descriptors"):
        yield Claim(f"soak: {held} after warm-up", before[held], "==", after[held], "at the end")


def bomb_claims() -> Iterator[Claim]:
    """Files that are no files, or claim or expand to more than they should, for every reader."""
    for row in support_json("support.bombs")["bombs"]:
        what = f"{row['reader']}, {row['bomb']}"
        yield Claim(f"{what}: refused with", row["answer"], "==", "FasdkError", row["message"])
        yield Claim(f"{what}: seconds", row["seconds"], "<=", BOMB_SECONDS)
        yield Claim(f"{what}: resident MB above the start", row["mb"], "<=", BOMB_MB)


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fuzz-executions", type=int, default=FUZZ_EXECUTIONS)
    parser.add_argument("--soak-minutes", type=float, default=SOAK_MINUTES)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seconds", type=float, help="of fuzzing, for each target")
    parser.add_argument("--only", choices=_GROUPS)
    parser.add_argument("--target", action="append", help="of fuzzing; give it again for another")
    options = parser.parse_args()
    targets = support_json("fuzz", "--list")["targets"]
    unknown = set(options.target or ()) - set(targets)
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(targets)}")
    groups: dict[str, Callable[[], Iterator[Claim]]] = {
        "attacks": attack_claims,
        "gaming": gaming_claims,
        "agreement": agreement_claims,
        "flips: small": small_flip_claims,
        "flips: demo": demo_flip_claims,
        "bombs": bomb_claims,
    }
    for target in options.target or targets:
        measure = partial(fuzz_claims, target, options.fuzz_executions, options.seconds)
        groups[f"fuzz: {target}"] = measure
    groups |= {
        "kills": partial(kill_claims, options.kills),
        "soak": partial(soak_claims, options.soak_minutes),
    }
    if options.only is not None:
        groups = {
            name: each for name, each in groups.items() if name.partition(": ")[0] == options.only
        }
    return report(groups)


if __name__ == "__main__":
    sys.exit(main())
