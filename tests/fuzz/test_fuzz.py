"""Fuzzing finds planted faults, and no parser has one."""

from __future__ import annotations

import sys
import types

import pytest

from fuzz.limits import REGRESSIONS, Failures
from fuzz.loop import execute, fuzz, input_of
from fuzz.planted import planted
from fuzz.record import CurrentInput, last_input, source_digest
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


@pytest.mark.slow
def test_recorded_run_is_continued_until_the_source_changes(tmp_path):
    def run(executions, fault="raises"):
        command = [sys.executable, "-m", "fuzz.planted", fault]
        return fuzz("x", executions, record=tmp_path, keep=tmp_path / "kept", command=command)

    assert [run(3).executions, run(9).executions] == [3, 9]
    continued = run(9)
    assert continued == run(9)  # nothing was run again
    whole = fuzz("x", 9, command=[sys.executable, "-m", "fuzz.planted", "raises"])
    assert (continued.accepted, continued.failures) == (whole.accepted, whole.failures)
    assert run(2, "crashes").executions == 2


def test_source_digest_changes_with_a_module_that_the_parser_loads(tmp_path, monkeypatch):
    module = tmp_path / "fasdk_of_the_test.py"
    module.write_text("A = 1\n")
    found = types.ModuleType("fasdk.of_the_test")
    found.__file__ = str(module)
    target = TARGETS["manifest"]
    before = source_digest(target)
    monkeypatch.setitem(sys.modules, found.__name__, found)
    loaded = source_digest(target)
    module.write_text("A = 2\n")
    assert len({before, loaded, source_digest(target)}) == 3


def test_input_of_a_process_that_died_is_read_whole(tmp_path):
    current = CurrentInput(tmp_path / "current")
    assert last_input(tmp_path / "current") is None
    current.write(0, 0, b"a longer input")
    current.write(7, 3, b"input")
    assert last_input(tmp_path / "current") == (7, 3, b"input")
