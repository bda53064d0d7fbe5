"""Fixtures of every component's tests, and the list of skipped groups at the end of a run."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fasdk.home import HOME_VARIABLE, home_path

from support.cuda_sim.simulated_cuda import Simulator, load
from support.requirements import Requirement, summary

PROJECT = Path(__file__).parent.parent
REFERENCE = Path(
    os.environ.get("FASDK_REFERENCE") or PROJECT.parent / "shared" / "reference"
).absolute()
OTHER_SUITES = {
    "slow": "make slow",
    "cuda_sim": "make cuda-sim",
    "gpu": "pytest -m gpu, on a machine with an NVIDIA GPU",
}

# How long an example takes says how busy the machine is, and nothing of the code. A gate draws the
# same examples for the same code; everywhere else they are new each time.
settings.register_profile(
    "fasdk",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("fasdk")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every group of tests that did not run, each with the command that enables it."""
    reports = terminalreporter.stats.get("skipped", [])
    lines = summary([r.longrepr[2] for r in reports if isinstance(r.longrepr, tuple)])
    expression = terminalreporter.config.option.markexpr
    left_out = {m: c for m, c in OTHER_SUITES.items() if f"not {m}" in expression}
    if not (lines or left_out):
        return
    terminalreporter.section("tests that did not run")
    for line in lines:
        terminalreporter.write_line(line)
    for marker, command in left_out.items():
        terminalreporter.write_line(f"  not selected  tests marked {marker}: {command}")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of third parties' weights, photographs and lists that tests/README.md names."""
    if not REFERENCE.is_dir():
        Requirement.PUBLISHED_FILES.skip("no such folder")
    return REFERENCE


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives the run, and every process it starts, a fasdk home of its own: keys, trust, state."""
    before = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(tmp_path_factory.mktemp("fasdk-home"))
    yield
    if before is None:
        del os.environ[HOME_VARIABLE]
    else:
        os.environ[HOME_VARIABLE] = before


@pytest.fixture(autouse=True)
def _no_attempts_before() -> None:
    """No camera has an account of attempts from the test before."""
    shutil.rmtree(home_path() / "state" / "attempts", ignore_errors=True)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated CUDA driver, reset, with pycuda on it; only for tests marked `cuda_sim`."""
    driver = load()
    driver.reset()
    yield driver
    driver.reset()


@pytest.fixture(autouse=True)
def _logging_as_imported() -> None:
    """Every logger of fasdk as importing leaves it: a verb sets levels for its whole process."""
    for log in _own_loggers():
        log.handlers = []
        log.setLevel(logging.NOTSET)


def _own_loggers() -> list[logging.Logger]:
    named = list(logging.getLogger().manager.loggerDict.items())
    return [
        log for name, log in named if name.startswith("fasdk") and isinstance(log, logging.Logger)
    ]
