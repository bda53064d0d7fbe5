"""Measurement of claims: runs of the command line, of tests and of the reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from claims import Claim

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
REFERENCE = ROOT.parent / "shared" / "reference"
# Where the tests' package `support` is importable.
SUPPORT_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
FASDK = [sys.executable, "-m", "fasdk_tools.cli"]


@dataclass(frozen=True)
class Run:
    """One finished `fasdk` command.

    Attributes:
        document: JSON document that it printed.
        seconds: Wall-clock time.
        peak_bytes: Largest resident set of the process.
    """

    document: dict[str, Any]
    seconds: float
    peak_bytes: int


def fasdk_run(*arguments: object, ok_status: tuple[int, ...] = (0,)) -> Run:
    """Run the command line in a process of its own, and watch its time and memory.

    Raises:
        RuntimeError: It ended in another status than `ok_status`.
    """
    import time

    words = [*FASDK, *(str(a) for a in arguments), "--json"]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if process.returncode not in ok_status:
            raise RuntimeError(
                f"{' '.join(words)} exited {process.returncode}: {err.read()[-300:]}"
            )
        document: dict[str, Any] = json.loads(out.read())
    return Run(document, seconds, usage.ru_maxrss * 1024)


def fasdk_json(*arguments: object, ok_status: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run the command line in a process of its own and return its JSON document."""
    return fasdk_run(*arguments, ok_status=ok_status).document


def demo_bundle(work: Path) -> Path:
    """Return the demo's bundle, made once a work folder."""
    bundle = work / "demo" / "demo.fasb"
    if not bundle.is_file():
        fasdk_json("demo", "--out", bundle.parent)
    return bundle


def bench_json(script: str, *arguments: object) -> dict[str, Any]:
    """Run a benchmark of `tools/bench` and return its JSON line, whether or not it met a target."""
    return _last_json(
        [sys.executable, str(ROOT / "tools" / "bench" / script), *map(str, arguments)]
    )


def bench_lines(script: str, *arguments: object) -> list[dict[str, Any]]:
    """Run a benchmark of `tools/bench` and return every JSON line it printed."""
    words = [sys.executable, str(ROOT / "tools" / "bench" / script), *map(str, arguments)]
    printed = _printed(words)
    return [json.loads(line) for line in printed]


def support_json(module: str, *arguments: object) -> dict[str, Any]:
    """Run a measurement of the tests' own support package and return its JSON line."""
    return _last_json([sys.executable, "-m", module, *map(str, arguments)])


def _last_json(words: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_printed(words)[-1])
    return document


def _printed(words: list[str]) -> list[str]:
    """Run a command and return the lines it printed, of which there must be one."""
    ran = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=ROOT, env=SUPPORT_ENVIRONMENT
    )
    if not ran.stdout.strip():
        raise RuntimeError(f"{' '.join(words)} printed nothing: {ran.stderr[-300:]}")
    return ran.stdout.strip().splitlines()


def _run_pytest(*selection: str, **environment: str) -> ElementTree.Element | None:
    """Run part of the test suite and return the report's suite, if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", f"--junitxml={path}", *selection]
        subprocess.run(
            words,
            check=False,
            cwd=ROOT,
            stdout=sys.stderr,
            env=os.environ | {"CI": "true"} | environment,
        )
        return ElementTree.parse(path).getroot().find("testsuite")  # noqa: S314 - our own file


def recorded_property(tests: str, name: str, *options: str) -> dict[str, str]:
    """Run tests and return the property called `name` that each recorded, by test name."""
    suite = _run_pytest(tests, *options)
    found = {}
    for case in () if suite is None else suite.iter("testcase"):
        for entry in case.iter("property"):
            if entry.get("name") == name:
                found[case.get("name", "")] = entry.get("value", "")
    return found


def pytest_claim(claim: str, *selection: str, **environment: str) -> Claim:
    """Run part of the test suite and return how many tests failed; none run is a miss."""
    suite = _run_pytest(*selection, **environment)
    if suite is None or int(suite.get("tests", "0")) == 0:
        return Claim(claim, None, "==", 0, "no test ran")
    failed = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    skipped = int(suite.get("skipped", "0"))
    return Claim(claim, failed + skipped, "==", 0, f"{suite.get('tests')} tests, failed or skipped")


@dataclass
class Outcomes:
    """Outcomes of the tests of one file.

    Attributes:
        tests: Number of tests that ran.
        missed: Number of those that failed or were skipped.
    """

    tests: int = 0
    missed: int = 0


def outcomes_by_file(*selection: str) -> dict[str, Outcomes]:
    """Run part of the test suite in one process, and return what came of it by file.

    A file that could not be collected counts as a test that failed.

    Args:
        selection: Arguments of pytest.
    """
    suite = _run_pytest(*selection, "-o", "junit_family=xunit1")
    found: dict[str, Outcomes] = {}
    for case in () if suite is None else suite.iter("testcase"):
        name = case.get("file") or f"{case.get('name', '').replace('.', '/')}.py"
        outcomes = found.setdefault(name, Outcomes())
        outcomes.tests += 1
        kinds = {each.tag for each in case}
        outcomes.missed += bool(kinds & {"failure", "error", "skipped"})
    return found


def golden_outputs(model: str) -> dict[str, Any]:
    """Return what a model's published code computed on seeded weights and inputs, and the seeds."""
    with np.load(GOLDEN / f"{model}.golden.npz", allow_pickle=False) as archive:
        return dict(archive)


def published_shapes(model: str) -> dict[str, list[int]]:
    """Return the shape of every tensor of a model's published state dict, by key."""
    shapes: dict[str, list[int]] = json.loads((GOLDEN / f"{model}.keys.json").read_text())
    return shapes


def write_golden_checkpoint(model: str, path: Path) -> None:
    """Write a model's golden weights as the state dict its published code would save."""
    import torch

    from fasdk_engines.models.seeded import seeded_state_dict

    seed = int(golden_outputs(model)["weights_seed"])
    weights = seeded_state_dict(published_shapes(model), seed)
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, path)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return row-wise softmax in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
