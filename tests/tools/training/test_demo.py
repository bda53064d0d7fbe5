"""Demo from captures to verdicts, as a user runs it."""

from __future__ import annotations

import json

import pytest

from fasdk_calibration.datasets import read_list


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo_deploys_a_checkpoint_it_trained_and_judges_other_people(fasdk, tmp_path):
    ran = fasdk("demo", "--out", tmp_path, "--json")
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["errors"] == 0
    assert report["auc"] > 0.9
    assert report["build"]["operating_points"].keys() == {"standard/rgb+depth+ir"}
    assert report["build"]["half_drift_ratio"] <= 0.01

    held_out = read_list(tmp_path / "captures" / "held-out.jsonl")
    development = read_list(tmp_path / "development" / "development.jsonl")
    assert not {r.subject for r in held_out} & {r.subject for r in development}

    record = next(r for r in held_out if r.is_bona_fide)
    folder = tmp_path / "captures"
    ran = fasdk(
        *("check", tmp_path / "demo.fasb", "--json"),
        *("--rgb", folder / record.rgb, "--depth", folder / record.depth),
        *("--ir", folder / record.ir, "--face", ",".join(map(str, record.face))),
    )
    decision = json.loads(ran.stdout)
    assert decision["verdict"] == ("live" if ran.status == 0 else "spoof")
    assert decision["threshold"] == report["build"]["operating_points"]["standard/rgb+depth+ir"]
