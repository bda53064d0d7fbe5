"""Verb profile: its JSON document, its table and wrong input."""

from __future__ import annotations

import json

import pytest

from fasdk.telemetry import Stage
from fasdk_tools.profiling.result import ProfileDocument

QUICK = ("--seconds", "0.05", "--warmup", "1", "--backend", "onnxruntime")
STAGES = [stage.value for stage in Stage]


def document(ran, status=0):
    assert ran.status == status, ran.stderr
    return ProfileDocument.model_validate(json.loads(ran.stdout))


def test_a_closed_loop_reports_every_stage_of_every_batch_and_number_of_lanes(fasdk, bundle):
    sizes = ("--batch", "1,2", "--lanes", "1,2")
    found = document(fasdk("profile", bundle, *sizes, *QUICK, "--json"))
    assert [(run.batch, run.lanes) for run in found.runs] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    for run in found.runs:
        assert list(run.stages) == STAGES
        assert run.calls >= 10
        assert run.warmup_calls == run.lanes
        means = [stage.mean_ms for stage in run.stages.values()]
        assert sum(means) == pytest.approx(run.end_to_end.mean_ms)
        assert run.end_to_end.p50.ms <= run.end_to_end.p50.upper_ms <= run.end_to_end.max_ms


def test_the_table_names_the_stages(fasdk, bundle):
    shown = fasdk("profile", bundle, *QUICK).stdout
    assert "engine" in shown
    assert "end to end" in shown


def test_a_number_of_lanes_below_one_is_refused(fasdk, bundle):
    refused = fasdk("profile", bundle, "--lanes", "1,0")
    assert refused.status == 2
    assert "--lanes '1,0' is not a list of whole numbers" in refused.error_lines[0]
