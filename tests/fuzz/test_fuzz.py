"""Fuzzing finds planted faults, and no parser has one."""

from __future__ import annotations

import sys

import pytest

from fuzz.limits import REGRESSIONS, Failures
from fuzz.loop import execute, fuzz, input_of
from fuzz.planted import planted
from fuzz.registry import TARGETS

# The same inputs on every machine; `make fuzz` runs a million.
EXECUTIONS = 200
FOUND = sorted(REGRESSIONS.glob("*.bin"))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_input_is_accepted_or_refused(name, tmp_path):
    report = fuzz(name, EXECUTIONS, keep=tmp_path)
    assert report.executions > 0
    assert report.failures == ()


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)
def test_input_that_once_failed_is_accepted_or_refused(file):
    failures = Failures(None, file.stem)
    execute(TARGETS[file.name.split(".")[0]].prepare(), file.read_bytes(), failures)
    assert not failures.counts


def test_every_regression_names_its_target():
    assert {file.name.split(".")[0] for file in FOUND} <= set(TARGETS)


def test_the_same_seed_gives_the_same_inputs():
    for name in ("manifest", "list-json", "camera"):
        target = TARGETS[name]
        seeds = target.seeds()
        first = [input_of(target, seeds, 3, number) for number in range(40)]
        assert first == [input_of(target, seeds, 3, number) for number in range(40)]
        assert len(set(first)) > 20


def test_another_exception_is_a_failure_and_its_input_is_kept(tmp_path):
    failures = Failures(tmp_path, "raises")
    run = planted("raises").prepare()
    assert execute(run, b"good", failures)
    assert not execute(run, b"bad", failures)
    assert [*failures.counts.values()] == [1]
    assert next(iter(failures.counts)).startswith("ValueError at planted.py:")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"bad"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "ValueError at planted.py"),
        ("hangs", "hang"),
        ("crashes", "crash by SIGSEGV"),
        ("grows", "resident memory above 128 MB"),
    ],
)
def test_planted_fault_is_found_and_the_run_goes_on(fault, said, tmp_path):
    command = [sys.executable, "-m", "fuzz.planted", fault]
    report = fuzz(fault, 4, keep=tmp_path, command=command)
    assert report.executions == 4
    assert report.accepted >= 1
    assert [row.startswith(said) for row in report.failures] == [True]
    assert any(tmp_path.iterdir())


@pytest.mark.slow
def test_worker_that_cannot_start_is_a_failure(tmp_path):
    report = fuzz("x", 5, command=[sys.executable, "-c", "raise SystemExit('no such thing')"])
    assert report.executions == 0
    assert "no such thing" in report.failures[0]
