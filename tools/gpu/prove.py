"""Proof of the GPU half on this machine's GPU: one JSON line a claim, in five minutes.

    python tools/gpu/prove.py [--dry-run] [--only GROUP]... [--models NAME]... [--seconds 300]

Every group of claims runs in a process of its own with a deadline, so that one that fails or hangs
leaves the others. A claim that this machine cannot try says why in `skipped`, and its `ok` is null.
Exits 1 where a claim is missed. Models are prepared in `--work` when they are not there yet:
`--only prepare --seconds 1200` does that alone, on any machine, for a slower one. `--dry-run` does
little of everything on the simulated driver, with tiny models and without a GPU; `make cuda-sim`
builds that driver.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The checkout need not be installed.
_IMPORT_ROOTS = ("tools/gpu", "tools/verify", "sdk", "calibration", "engines", "tools", "tests")
sys.path[:0] = [str(ROOT / each) for each in _IMPORT_ROOTS]

from claims import Claim, report  # noqa: E402
from recording import Recorder  # noqa: E402

MODELS = ("mmdg", "mmda", "mmdgpp", "bigmoe")
_SECONDS = 300.0  # of a whole proof; the budgets below are meant for it
_END_S = 10.0  # for a process to end after it was asked to


@dataclass(frozen=True)
class Group:
    """Claims that one process shows.

    Attributes:
        module: Module with the function.
        function: Function of the setting, and of the model where there is one, that yields claims.
        budget_s: Time after which the process is killed, in seconds; more where the whole proof
            is given more.
        model: Name of the model that the claims are about, or "".
    """

    module: str
    function: str
    budget_s: float
    model: str = ""

    def measure(self, words: argparse.Namespace) -> Iterator[Claim]:
        """Measure; imports what it needs."""
        setting = import_module("setting").Setting(
            dry_run=words.dry_run, work=words.work, models=tuple(words.models)
        )
        arguments = (setting, self.model) if self.model else (setting,)
        yield from getattr(import_module(self.module), self.function)(*arguments)


def groups_of(models: Sequence[str]) -> dict[str, Group]:
    """Return every group by name, in the order in which they are shown."""
    groups = {
        "device": Group("device_claims", "device_claims", 30),
        "prepare": Group("prepare_claims", "prepare_claims", 150),
        "kernel": Group("kernel_claims", "kernel_claims", 90),
        "lanes": Group("lane_claims", "lane_claims", 90),
    }
    for flavor in ("tensorrt", "tensorrt_rtx"):
        for model in models:
            name = f"{flavor}: {model}"
            groups[name] = Group("tensorrt_claims", f"{flavor}_claims", 120, model)
    for model in models:
        groups[f"pytorch: {model}"] = Group("torch_claims", "torch_claims", 60, model)
    return groups


def main(arguments: Sequence[str] | None = None) -> int:
    """Show every group, or those that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="on the simulated driver")
    parser.add_argument("--only", action="append", help="a group, such as lanes; repeatable")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="of the whole proof")
    parser.add_argument("--work", type=Path, default=ROOT / ".prove", help="prepared models")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    words = parser.parse_args(arguments)
    words.work = words.work.resolve()
    if words.child is not None:
        name, *fields = json.loads(words.child)
        return report({name: partial(Group(*fields).measure, words)})
    groups = groups_of(words.models)
    kinds = dict.fromkeys(name.partition(":")[0] for name in groups)
    for name in words.only or ():
        if name not in groups and name not in kinds:
            parser.error(f"no group {name!r}: choose among {', '.join([*kinds, *groups])}")
    if words.only:
        groups = {
            name: group
            for name, group in groups.items()
            if name in words.only or name.partition(":")[0] in words.only
        }
    return prove(groups, words)


def prove(groups: dict[str, Group], words: argparse.Namespace) -> int:
    """Run each group in a process of its own and return 1 if a claim is missed, else 0."""
    recorder = Recorder.from_environment()
    end_s = time.monotonic() + words.seconds
    missed = 0
    for name, group in groups.items():
        lines = []
        for line in _lines_of(name, group, words, end_s):
            print(line, flush=True)
            lines.append(line)
            missed += json.loads(line)["ok"] is False
        recorder.replace(name, lines)
    return 1 if missed else 0


def _lines_of(name: str, group: Group, words: argparse.Namespace, end_s: float) -> Iterator[str]:
    """Yield the claims of a group's process as they come, and one more where it ended badly."""
    left_s = end_s - time.monotonic()
    if left_s < 1.0:
        note = f"the {words.seconds:g} seconds of the proof were over: give more by --seconds"
        yield Claim(f"{name}: tried", None, "==", True, note).to_json()
        return
    share = words.seconds / _SECONDS
    start_s, limit_s = time.monotonic(), min(share * group.budget_s, left_s)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            _child_command(name, group, words),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=_child_environment(words.work),
            start_new_session=True,
        )
        killer = threading.Timer(limit_s, _kill, [process])
        killer.start()
        shown = 0
        try:
            # Ends with the process, or when it is killed.
            for line in process.stdout or ():
                if _is_claim(line):
                    shown += 1
                    yield _with(line.strip(), name, time.monotonic() - start_s)
        finally:
            killer.cancel()
            _kill(process)
        took_s = time.monotonic() - start_s
        if process.returncode in (0, 1) and shown:
            return
        errors.seek(0)
        said = " ".join(errors.read().splitlines()[-3:])[-300:]
        ending = f"its process ended with {process.returncode}"
        if took_s >= limit_s:
            ending = f"its process was killed after {took_s:.0f} seconds"
        claim = Claim(f"{name}: whole", None, "==", True, f"{ending}: {said or 'no message'}")
        yield _with(claim.to_json(), name, took_s)


def _child_command(name: str, group: Group, words: argparse.Namespace) -> list[str]:
    child = json.dumps([name, *astuple(group)])
    command = [sys.executable, str(Path(__file__).resolve()), "--child", child]
    command += ["--work", str(words.work), "--models", *words.models]
    return [*command, "--dry-run"] if words.dry_run else command


def _child_environment(work: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "FASDK_RECORD"}
    # Keys and state of its own: a proof signs what it prepares.
    return environment | {"FASDK_HOME": str(work / "home"), "PYTHONUNBUFFERED": "1"}


def _is_claim(line: str) -> bool:
    try:
        return "claim" in json.loads(line)
    except (ValueError, TypeError):  # what a library printed
        return False


def _with(line: str, group: str, seconds: float) -> str:
    return json.dumps({"group": group} | json.loads(line) | {"at_s": round(seconds, 1)})


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process with all that it started, if it has not ended."""
    if process.poll() is None:
        with_all = os.getpgid(process.pid)
        os.killpg(with_all, signal.SIGKILL)
        # It may be inside a driver's call, which no signal reaches.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)


if __name__ == "__main__":
    sys.exit(main())
