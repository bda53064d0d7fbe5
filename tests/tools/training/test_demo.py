"""Demo from captures to error rates, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fasdk_calibration.datasets import read_list
from fasdk_tools.training.packaged import read_record

LISTS = ("calibration/calibration", "development/development", "captures/held-out")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo_deploys_the_packaged_checkpoint_and_judges_people_never_seen(fasdk, tmp_path):
    ran = fasdk("demo", "--out", tmp_path, "--json")
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["captures"] >= 1000
    assert not report["trained"]
    people = [
        {record.subject for record in read_list(tmp_path / f"{name}.jsonl")} for name in LISTS
    ]
    assert len(set.union(*people)) == sum(map(len, people)), "somebody is in two lists"

    assert report["fp16"]["build"]["precision"] == "fp16"
    assert report["fp16"]["build"]["half_drift_ratio"] <= 0.01
    assert report["auto"]["build"]["comparison"] is not None
    for found in (report["fp16"], report["auto"]):
        assert found["non_responses"] == 0
        assert found["level"]["apcer_upper"] <= 0.05
        assert found["auc"]["value"] >= 0.95
        assert found["rates"]["bpcer"]["attempts"] == 504
        assert {rate["species"] for rate in found["rates"]["apcer"]} == set(found["level"]["apcer"])
        assert all(rate["attempts"] == 56 for rate in found["rates"]["apcer"])
        assert found["rates"]["worst_apcer"]["lower"] <= 0.05, "the tuned bound is contradicted"
        assert Path(found["report"]).read_text().startswith("<!doctype html>")

    folder = tmp_path / "captures"
    record = next(r for r in read_list(folder / "held-out.jsonl") if r.is_bona_fide)
    ran = fasdk(
        *("check", tmp_path / "demo.fasb", "--json"),
        *("--rgb", folder / record.rgb, "--depth", folder / record.depth),
        *("--ir", folder / record.ir, "--face", ",".join(map(str, record.face))),
    )
    decision = json.loads(ran.stdout)
    assert decision["verdict"] == ("live" if ran.status == 0 else "spoof")
    assert decision["threshold"] == report["fp16"]["level"]["threshold"]
    inspected = json.loads(fasdk("inspect", tmp_path / "demo.fasb", "--json").stdout)
    assert read_record().sha256 in json.dumps(inspected)
