"""Test run of the project in a clone with nothing beside it: its time and skipped tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from claims import Claim
from measuring import ROOT
from revision import COMPONENT_FOLDERS

SYSTEMS = ("mmdg", "mmdgpp", "mmda", "bigmoe")
SKIPPED_HEADING = "tests that did not run"
"""What the line above the list of skipped test groups says at the end of `make test`."""
_LIMIT_S = 600


@dataclass(frozen=True)
class SuiteRun:
    """What a run of tests came to.

    Attributes:
        status: Exit status of `make test`.
        seconds: Wall-clock time.
        output: Standard output and error of `make test`.
        outcomes: "passed", "failed" or "skipped" by test id, file and name.
    """

    status: int
    seconds: float
    output: str
    outcomes: dict[str, str]

    def count(self, outcome: str) -> int:
        """Return how many tests ended so."""
        return sum(found == outcome for found in self.outcomes.values())

    def golden_of(self, system: str) -> list[str]:
        """Return the outcomes of a system's golden tests."""
        word = re.compile(rf"(?<![a-z]){system}(?![a-z])")
        return [
            outcome
            for test, outcome in self.outcomes.items()
            if "golden" in test and word.search(test)
        ]


def alone_claims() -> Iterator[Claim]:
    """`make test` and all golden tests, in a clone of the commit with nothing beside it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = make_clone(Path(folder) / "fasdk")
        beside = [path.name for path in clone.parent.iterdir() if path != clone]
        yield Claim("clone: files beside it", len(beside), "==", 0, ", ".join(beside))
        run = run_suite(clone, "make", "test")
        # Those of the full-size models are too heavy for `make test`.
        golden = run_suite(
            clone,
            *(
                ".venv/bin/pytest",
                "-k",
                "golden",
                "-m",
                "not gpu and not cuda_sim",
                "--timeout=900",
            ),
        )
    counts = f"{run.count('passed')} passed, {run.count('skipped')} skipped"
    last = "" if run.status == 0 else f"; {' '.join(run.output.split())[-300:]}"
    yield Claim("clone: exit status of make test", run.status, "==", 0, counts + last)
    cores = len(os.sched_getaffinity(0))
    yield Claim("clone: seconds of make test", run.seconds, "<=", _LIMIT_S, f"{cores} cores")
    for system in SYSTEMS:
        outcomes = golden.golden_of(system)
        yield Claim(
            f"clone: golden tests of {system} that do not pass",
            sum(outcome != "passed" for outcome in outcomes) if outcomes else None,
            "==",
            0,
            f"{len(outcomes)} tests",
        )
    named = SKIPPED_HEADING in "\n".join(run.output.splitlines()[-60:])
    yield Claim(
        "clone: make test ends by naming the skipped test groups",
        named or run.count("skipped") == 0,
        "==",
        True,
        f"{run.count('skipped')} tests skipped",
    )


def make_clone(path: Path) -> Path:
    """Clone the committed state and give the clone an environment with this one's packages."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, path], check=True)
    environment = path / ".venv"
    venv.create(environment, with_pip=False)
    base = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", vars=base))
    shared = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    folders = [str(path / name) for name in COMPONENT_FOLDERS]
    (packages / "clone.pth").write_text("\n".join([*folders, *shared]) + "\n")
    for compiled in _compiled_modules():
        shutil.copy(compiled, path / "sdk" / "fasdk")
    _copy_scripts(Path(sysconfig.get_path("scripts")), environment)
    # Newer than everything it is made from, so that make installs nothing.
    (environment / ".installed").touch()
    return path


def run_suite(clone: Path, *command: str) -> SuiteRun:
    """Run a command that calls pytest and read what became of each test."""
    report = clone / "build" / "report.xml"
    report.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTEST_ADDOPTS"] = f"--junitxml={report}"
    # Downloads that this checkout has already are not claimed to be quick.
    environment.setdefault("FASDK_BINDINGS_DIR", str(ROOT / "build" / "bindings"))
    start = time.perf_counter()
    ran = subprocess.run(
        command,
        check=False,
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - start
    outcomes = _read_outcomes(report) if report.is_file() else {}
    return SuiteRun(ran.returncode, seconds, ran.stdout, outcomes)


def _read_outcomes(report: Path) -> dict[str, str]:
    outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own file
        ended = {child.tag for child in case}
        outcome = "passed"
        if ended & {"failure", "error"}:
            outcome = "failed"
        elif "skipped" in ended:
            outcome = "skipped"
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return outcomes


def _compiled_modules() -> list[Path]:
    """Return the compiled modules of fasdk that this environment imports."""
    found: dict[str, Path] = {}
    for entry in sys.path:
        for path in sorted((Path(entry) / "fasdk").glob("_*.so")):
            found.setdefault(path.name, path)
    return list(found.values())


def _copy_scripts(scripts: Path, environment: Path) -> None:
    """Copy the commands of this environment, to run on the clone's interpreter."""
    target = environment / "bin"
    for script in sorted(scripts.iterdir()):
        copy = target / script.name
        if copy.exists() or not script.is_file():
            continue
        content = script.read_bytes()
        if content.startswith(b"#!") and b"python" in content.partition(b"\n")[0]:
            _, _, rest = content.partition(b"\n")
            copy.write_bytes(f"#!{target / 'python'}\n".encode() + rest)
            copy.chmod(0o755)
        else:
            copy.symlink_to(script.resolve())
