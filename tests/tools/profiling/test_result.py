"""Figures of a run: no percentile that too few calls can bound, in the document or the table."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fasdk.errors import BackendError
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.result import ProfileDocument, Run
from fasdk_tools.profiling.samples import Outcome, Samples
from fasdk_tools.profiling.warm_up import without_warm_up
from fasdk_tools.terminal.profile import print_profile

LEAST = {"p50": 5, "p90": 29, "p95": 59, "p99": 299, "p99_9": 2995}


def samples_of(calls, outcome=Outcome.DECIDED, load=Load.CONSTANT):
    rng = np.random.default_rng(calls)
    due = 10.0 * np.arange(calls)
    latency = rng.lognormal(1.0, 0.3, calls)
    return Samples(
        load=load,
        batch=1,
        lanes=1,
        rate_per_s=100.0,
        due_ms=due,
        submitted_ms=due.copy(),
        answered_ms=due + latency,
        outcome=np.full(calls, outcome, np.uint8),
        stages_ms={"queue": 0.25 * latency, "engine": 0.75 * latency},
    )


def document_of(*runs):
    return ProfileDocument(
        bundle="lobby.fasb",
        bundle_id="0" * 64,
        bundle_trust="unsigned",
        backend="onnxruntime",
        version="1",
        precision="fp32",
        captures=1,
        runs=runs,
    )


@pytest.mark.parametrize("calls", [1, 4, 5, 28, 29, 58, 59, 298, 299, 300, 2994, 2995])
def test_no_percentile_is_given_below_the_calls_that_bound_it(calls, capsys):
    run = Run.of(samples_of(calls))
    print_profile(document_of(run))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for figures, name in (
        (run.end_to_end, "end"),
        *((stage, stage_name) for stage_name, stage in run.stages.items()),
    ):
        row = next(row for row in rows if row and row[0] == name)
        cells = row[-1 - len(LEAST) : -1]
        for (key, least), cell in zip(LEAST.items(), cells, strict=True):
            found = getattr(figures, key)
            assert (found is None) == (calls < least)
            if found is None:
                assert figures.missing_calls[key] == least - calls
                assert cell == f"+{least - calls:,}"
            else:
                assert key not in figures.missing_calls
                assert found.ms <= found.upper_ms <= figures.max_ms
                assert re.fullmatch(r"\d+\.\d{3}", cell)


def test_a_percentile_of_the_answer_line_says_how_many_calls_it_lacks(capsys):
    print_profile(document_of(Run.of(samples_of(100))))
    assert "99th percentile after 199 more calls" in capsys.readouterr().out


def test_goodput_counts_every_capture_that_was_due():
    samples = samples_of(400)
    samples.answered_ms[:100] = np.nan
    samples.outcome[:100] = Outcome.REFUSED
    run = Run.of(samples, deadline_ms=1e6)
    assert run.goodput == 0.75
    assert run.missed_deadlines == 100
    assert run.refused == 100
    assert run.held is False


def test_a_run_without_a_decision_has_no_latency():
    samples = samples_of(5, Outcome.REFUSED)
    samples.answered_ms[:] = np.nan
    with pytest.raises(BackendError, match="none of 5 calls"):
        Run.of(samples)


def test_the_end_of_the_warm_up_is_told_or_that_it_was_not_seen(capsys):
    samples = samples_of(600)
    samples.answered_ms[:120] += 80.0 - np.arange(120) / 2
    run = Run.of(without_warm_up(samples))
    assert run.steady is True
    assert run.warmup_ms == 10.0 * run.warmup_calls
    assert 100 <= run.warmup_calls <= 450
    assert run.calls == 600 - run.warmup_calls
    short = Run.of(without_warm_up(samples_of(100)))
    assert (short.steady, short.warmup_calls, short.warmup_ms) == (False, 0, 0.0)
    print_profile(document_of(run, short))
    said = " ".join(capsys.readouterr().out.split())
    left_out = f"left out {run.warmup_calls} calls in {run.warmup_ms / 1e3:.1f} s"
    assert f"Warm-up {left_out} steady yes" in said
    assert "Warm-up left out 0 calls in 0.0 s steady no, the end of the warm-up" in said


@pytest.mark.parametrize("calls", [1, 2, 3, 50])
def test_no_more_is_decided_than_was_offered(calls):
    run = Run.of(samples_of(calls))
    assert run.offered_per_s == 100.0
    assert 80.0 <= run.achieved_per_s <= 100.0


def test_the_deadline_of_a_closed_loop_is_told(capsys):
    run = Run.of(samples_of(300, load=Load.CLOSED), deadline_ms=1e6)
    print_profile(document_of(run))
    assert "Deadline goodput 100.0" in " ".join(capsys.readouterr().out.split())


def test_the_document_is_read_back_as_it_was_written():
    document = document_of(Run.of(samples_of(300), deadline_ms=5.0))
    assert ProfileDocument.model_validate_json(document.model_dump_json()) == document


def test_a_rate_that_is_not_held_is_said_with_the_highest_that_was(capsys):
    run = Run.of(samples_of(300)).model_copy(
        update={"held": False, "highest_held_per_s": 80.0, "confirmations": 5}
    )
    print_profile(document_of(run))
    said = " ".join(capsys.readouterr().out.split())
    assert "no; the highest held is 80.0 captures/s, confirmed 5 times" in said
