"""Verb build-engine in INT8: the bundle, refusals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.calibration import CALIBRATION_SCHEMA
from fasdk.bundle.manifest import Precision
from fasdk.bundle.members import CALIBRATION
from fasdk.decision import live_score
from fasdk_calibration.datasets import CaptureRecord, Label, load_list, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.graph.runner import GraphRunner

SETTINGS = SceneSettings(width=160, height=120)
WIDE = ["--max-flips", "0.9", "--max-drift", "0.9", "--max-rate-change", "0.9"]


@dataclass(frozen=True)
class Lists:
    """Capture lists of different people."""

    calibration: Path
    development: Path


@pytest.fixture(scope="module")
def lists(tmp_path_factory, bundle) -> Lists:
    """Few small captures; the development labels are the float model's own opinion.

    So a model with random weights has an operating point, with captures close to it.
    """
    folder = tmp_path_factory.mktemp("lists")
    made = {
        name: write_captures(generate_many(3, count, split, settings=SETTINGS), folder, name)
        for name, count, split in (
            ("calibration", 14, Split.TRAIN),
            ("development", 20, Split.DEVELOPMENT),
        )
    }
    found = open_bundle(bundle)
    manifest = found.manifest
    runner = GraphRunner(bytes(found.graph), manifest.inputs)
    rows = runner.logits([item.capture for item in load_list(made["development"])])
    scores = np.array([live_score(row, manifest.live_index) for row in rows])
    lines = []
    for line, is_live in zip(
        made["development"].read_text().splitlines(), scores > np.median(scores), strict=True
    ):
        record = CaptureRecord.model_validate_json(line)
        label = Label.BONA_FIDE if is_live else Label.ATTACK
        species = "bona fide" if is_live else "print"
        changed = record.model_copy(update={"label": label, "species": species})
        lines.append(changed.model_dump_json(exclude_none=True) + "\n")
    made["development"].write_text("".join(lines))
    return Lists(made["calibration"], made["development"])


def arguments(checkpoint, out, precision, *options):
    common = ["--model", "mmdg", "--backend", "onnxruntime", "--precision", precision]
    return ["build-engine", checkpoint, "-o", out, *common, *options]


@pytest.mark.parametrize("precision", ["int8", pytest.param("int8-fp32", marks=pytest.mark.slow)])
def test_a_bundle_in_eight_bits_says_what_calibrated_and_what_was_measured(
    fasdk, checkpoint, lists, tmp_path, precision
):
    out = tmp_path / "tiny.fasb"
    given = ["--calibration", lists.calibration, "--calibration-size", 8]
    ran = fasdk(
        *arguments(checkpoint, out, precision, *given, "--development", lists.development),
        *WIDE,
        "--json",
    )
    assert ran.status == 0, ran.stderr
    built = json.loads(ran.stdout)["int8"]
    assert built["int8_share"] > 0.9
    assert built["budget_note"] == "the liveness budget holds on development.jsonl"
    assert built["budget"]["combinations"][0]["captures"] == 20
    opened = open_bundle(out)
    assert opened.manifest.precision is Precision(precision)
    assert [p.id for p in opened.manifest.operating_points] == ["standard/rgb+depth+ir"]
    record = opened.document(CALIBRATION)
    assert record["schema_version"] == CALIBRATION_SCHEMA
    assert len(record["captures"]) == 8
    development = {json.loads(x)["subject"] for x in lists.development.read_text().splitlines()}
    assert record["subjects"] and not development & set(record["subjects"])
    assert sum(layer["quantized"] for layer in record["layers"]) == built["int8_layers"]
    assert all(layer["quantized"] or layer["reason"] for layer in record["layers"])
    assert [trial["evaluated"] for trial in record["trials"]] == [20]
    assert not list(tmp_path.glob("*.work"))
    assert len(opened.golden) == 4
    assert fasdk("verify", out).status == 0


def test_without_development_captures_the_budget_is_not_evaluated_and_nobody_is_let_in(
    fasdk, checkpoint, lists, tmp_path
):
    out = tmp_path / "tiny.fasb"
    given = ["--calibration", lists.calibration, "--calibration-size", 4]
    ran = fasdk(*arguments(checkpoint, out, "int8", *given))
    assert ran.status == 0, ran.stderr
    assert "not evaluated" in ran.stdout
    opened = open_bundle(out)
    assert opened.manifest.operating_points == ()
    assert opened.document(CALIBRATION)["budget"] is None


def test_a_missed_budget_ends_in_exit_1_with_the_fix_and_no_bundle(
    fasdk, checkpoint, lists, tmp_path
):
    out = tmp_path / "tiny.fasb"
    given = ["--calibration", lists.calibration, "--calibration-size", 4]
    given += ["--development", lists.development]
    ran = fasdk(*arguments(checkpoint, out, "int8", *given, "--max-drift", 0, "--json"))
    assert ran.status == 1
    (line,) = ran.error_lines
    assert "mean score drift" in line and line.endswith("build with --precision auto")
    document = json.loads(ran.stdout)
    assert document["bundle"] is None and document["error"] in line
    assert document["figures"]["combinations"][0]["captures"] == 20
    assert not out.exists()


@pytest.mark.slow
def test_auto_stops_with_a_report_where_not_even_the_float_graph_holds(
    fasdk, checkpoint, lists, tmp_path
):
    out = tmp_path / "tiny.fasb"
    given = ["--calibration", lists.calibration, "--calibration-size", 4]
    given += ["--development", lists.development]
    ran = fasdk(*arguments(checkpoint, out, "auto", *given, "--max-drift", 0))
    assert ran.status == 1
    assert len(ran.error_lines) == 1 and "none of" in ran.error_lines[0]
    assert "misses the budget on development.jsonl" in ran.stdout
    assert "Candidates" in ran.stdout
    assert "Most sensitive layers" in ran.stdout
    assert not out.exists()
    record = json.loads((tmp_path / "tiny.fasb.work" / "calibration.json").read_text())
    assert record["searched"] and len(record["trials"]) > 2
    last = record["trials"][-1]
    assert len(last["float_layers"]) == sum(y["quantized"] for y in record["layers"])
    assert len(record["sensitivities"]) == len(last["float_layers"])


def refused(ran, *words):
    assert ran.status == 2, ran.stderr
    (line,) = ran.error_lines
    assert all(str(word) in line for word in words), line


@pytest.mark.parametrize(
    ("precision", "options", "words"),
    [
        ("int8", [], "--precision int8 needs --calibration LIST"),
        ("int8-fp32", [], "--precision int8-fp32 needs --calibration LIST"),
        ("auto", [], "--precision auto needs --calibration LIST"),
        ("auto", ["--calibration", "{calibration}"], "--precision auto needs --development LIST"),
        ("fp16", ["--calibration", "{calibration}"], "fp16 needs none"),
        ("int8", ["--calibration", "none.jsonl"], "none.jsonl"),
        ("int8", ["--calibration-root", "."], "needs --calibration LIST"),
        ("int8", ["--calibration", "{calibration}", "--calibration-size", "0"], "size is 0"),
        ("int8", ["--calibration", "{calibration}", "--max-drift", "nan"], "--max-drift is nan"),
        ("int8", ["--calibration", "{calibration}", "--range-method", "best"], "minmax"),
        ("auto", ["--calibration", "{calibration}", "--auto-base", "fp16"], "--auto-base fp16"),
        (
            "int8",
            ["--calibration", "{development}", "--development", "{development}"],
            "calibration list development.jsonl shares",
        ),
    ],
)
def test_invalid_int8_option_is_refused_in_one_line(
    fasdk, checkpoint, lists, tmp_path, precision, options, words
):
    filled = [
        option.format(calibration=lists.calibration, development=lists.development)
        for option in options
    ]
    out = tmp_path / "tiny.fasb"
    refused(fasdk(*arguments(checkpoint, out, precision, *filled)), words)
    assert not out.exists() and not list(tmp_path.glob("*.work"))


def test_a_calibration_list_the_model_could_not_judge_is_refused(
    fasdk, checkpoint, lists, tmp_path
):
    rows = [json.loads(line) for line in lists.calibration.read_text().splitlines()]
    del rows[3]["ir"]
    (tmp_path / "cut.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--calibration", tmp_path / "cut.jsonl"]
    given += ["--calibration-root", lists.calibration.parent, "--require", "rgb,depth,ir"]
    ran = fasdk(*arguments(checkpoint, tmp_path / "tiny.fasb", "int8", *given))
    refused(ran, "cut.jsonl", rows[3]["id"], "holds no ir")


@pytest.mark.slow
def test_a_killed_search_continues_to_the_same_bytes(checkpoint, lists, tmp_path):
    given = ["--calibration", lists.calibration, "--development", lists.development]
    # Half of what the first candidate needs, so that there is something to search for.
    limits = ["--max-flips", "0.5", "--max-drift", "{drift}", "--max-rate-change", "0.5"]

    def command(out: Path, drift: float) -> list[str]:
        filled = [option.format(drift=drift) for option in limits]
        words = [*arguments(checkpoint, out, "auto", *given), *filled, "--json"]
        program = "import sys; from fasdk_tools.cli import main; sys.exit(main())"
        return [sys.executable, "-c", program, *map(str, words)]

    measured = subprocess.run(
        command(tmp_path / "probe.fasb", 0.0), capture_output=True, check=False
    )
    assert measured.returncode == 1
    first = json.loads(measured.stdout)["trials"][0]
    drift = 0.8 * first["mean_drift"]
    whole = tmp_path / "whole.fasb"
    subprocess.run(command(whole, drift), check=True, capture_output=True)
    trials = open_bundle(whole).document(CALIBRATION)["trials"]
    assert len(trials) > 1

    broken = tmp_path / "broken.fasb"
    work = tmp_path / "broken.fasb.work"
    kills = 0
    while not broken.exists() and kills < 8:
        seen = sum(1 for _ in work.rglob("*")) if work.exists() else 0
        process = subprocess.Popen(
            command(broken, drift), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            found = sum(1 for _ in work.rglob("*")) if work.exists() else 0
            if found > seen + 1:  # it has stored something new
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.02)
        process.wait()
    if not broken.exists():
        subprocess.run(command(broken, drift), check=True, capture_output=True)
    assert kills >= 2
    assert broken.read_bytes() == whole.read_bytes()
