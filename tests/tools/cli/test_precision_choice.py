"""Precision of a build: what INT8 gains, what auto takes, and advice that works."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import Precision
from fasdk_calibration.datasets import write_captures
from fasdk_engines.build import precision_choice
from fasdk_engines.build.comparison import Latency

from support.requirements import Requirement
from support.trained_network import Given, colored_captures, trained_network, write_files

FASTER, SLOWER = Latency(1.0, 2.0, 8), Latency(2.0, 1.0, 8)
LOOSE = ["--max-flips", "0.2", "--max-drift", "0.2", "--max-rate-change", "0.2"]


@pytest.fixture
def given(tmp_path) -> Given:
    """A small trained network; `calibration.jsonl` beside it lists other people."""
    write_captures(colored_captures(12, seed=5), tmp_path, "calibration")
    return write_files(tmp_path, trained_network())


def build(fasdk, given: Given, precision: str, *options: object, backend: str = "onnxruntime"):
    out = given.onnx.with_name(f"{precision}.fasb")
    out.unlink(missing_ok=True)
    chosen = ["--precision", precision, "--backend", backend, "--development", given.captures]
    if precision not in ("fp32", "fp16"):
        folder = given.onnx.parent
        chosen += ["--calibration", folder / "calibration.jsonl", "--calibration-size", 8, *LOOSE]
    source = ["build-engine", given.onnx, "-o", out, "--model", "onnx", "--preprocess", given.toml]
    return fasdk(*source, *chosen, *options), out


def notes(out: Path) -> str:
    return "\n".join(open_bundle(out).manifest.provenance.notes)


def advised(text: str) -> str:
    """Return the precision that a line advises."""
    return text.split("build with --precision ")[1].split(maxsplit=1)[0].rstrip(".:;,")


def test_int8_that_is_slower_says_so_at_the_end_and_in_inspect(fasdk, given, monkeypatch):
    monkeypatch.setattr(precision_choice, "compare_latency", lambda *_: SLOWER)
    ran, out = build(fasdk, given, "int8-fp32")
    assert ran.status == 0, ran.stderr
    assert "int8-fp32 2.00 ms a capture, fp32 1.00 ms" in " ".join(ran.stdout.split())
    assert open_bundle(out).manifest.precision is Precision.INT8_FP32
    said = "INT8 buys nothing: int8-fp32 ran slower than fp32 on the CPU of the build"
    assert said in " ".join(ran.stdout.split()[-40:])
    shown = fasdk("inspect", out)
    assert said in " ".join(shown.stdout.split())
    assert build(fasdk, given, advised(notes(out)))[0].status == 0


@pytest.mark.parametrize(("latency", "taken"), [(SLOWER, "fp32"), (FASTER, "int8-fp32")])
def test_auto_takes_the_faster_on_the_cpu(fasdk, given, monkeypatch, latency, taken):
    monkeypatch.setattr(precision_choice, "compare_latency", lambda *_: latency)
    ran, out = build(fasdk, given, "auto", "--auto-base", "int8-fp32", "--json")
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["precision"] == taken
    opened = open_bundle(out)
    assert opened.manifest.precision is Precision(taken)
    assert len(opened.golden) == 4
    assert ("auto took fp32" in notes(out)) is (taken == "fp32")
    assert fasdk("verify", out).status == 0
    assert not list(out.parent.glob("*.work"))


def plainer(given: Given) -> None:
    """Let one channel decide, so that no differences of large numbers amplify rounding."""
    model = trained_network()
    for tensor in model.graph.initializer:
        if tensor.name == "head":
            head = numpy_helper.to_array(tensor).copy()
            head[np.abs(head[:, 0]) < np.abs(head[:, 0]).max()] = 0.0
            head *= np.float32(-0.5)  # alone, this channel is larger on attacks
            tensor.CopyFrom(numpy_helper.from_array(head, "head"))
    given.onnx.write_bytes(model.SerializeToString())


def test_auto_takes_fp16_where_the_int8_plan_is_larger(fasdk, given):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    plainer(given)
    ran, out = build(fasdk, given, "int8", "--json", backend="tensorrt-rtx")
    assert ran.status == 0, ran.stderr
    plans = json.loads(ran.stdout)["comparison"]["plans"]
    assert plans["int8_bytes"] > plans["float_bytes"]
    assert plans["int8_kernels"] > 0 and plans["written"]
    assert f"the compiler wrote {plans['int8_kernels']} kernels" in notes(out)
    assert advised(notes(out)) == "fp16"
    ran, out = build(fasdk, given, "auto", "--json", backend="tensorrt-rtx")
    assert ran.status == 0, ran.stderr
    taken = json.loads(ran.stdout)
    assert taken["precision"] == "fp16"
    assert taken["plan_bytes"] <= plans["int8_bytes"]
    assert "auto took fp16: the int8 plan has" in notes(out)
    assert fasdk("verify", out).status == 0


def without_int8_layers(given: Given) -> None:
    """Replace the convolution by one of a single pixel, too small for INT8."""
    model = trained_network()
    for tensor in model.graph.initializer:
        if tensor.name == "kernel":
            center = numpy_helper.to_array(tensor)[:, :, 1:2, 1:2].copy()
            tensor.CopyFrom(numpy_helper.from_array(center, "kernel"))
    del model.graph.node[0].attribute[:]
    given.onnx.write_bytes(model.SerializeToString())


def test_a_network_without_an_int8_layer_advises_what_works_and_auto_takes_it(fasdk, given):
    without_int8_layers(given)
    ran, _ = build(fasdk, given, "int8")
    assert ran.status == 2
    (line,) = ran.error_lines
    assert "none of the 2 Linear and Conv layers can compute in INT8" in line
    assert build(fasdk, given, advised(line))[0].status == 0
    ran, out = build(fasdk, given, "auto")
    assert ran.status == 0, ran.stderr
    assert open_bundle(out).manifest.precision is Precision.FP16
    assert "auto took fp16: none of the 2 Linear and Conv layers can" in notes(out)


def overflowing(given: Given) -> None:
    """Scale the convolution until half precision cannot hold its result, and back in the head."""
    model = trained_network()
    for tensor in model.graph.initializer:
        if tensor.name in ("gain", "bias"):
            scaled = numpy_helper.to_array(tensor) * np.float32(1e6)
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
        if tensor.name == "head":
            scaled = numpy_helper.to_array(tensor) * np.float32(1e-6)
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    given.onnx.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_network_of_which_half_precision_holds_nothing_advises_what_works(
    fasdk, given, precision
):
    overflowing(given)
    ran, _ = build(fasdk, given, precision)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert "half precision cannot hold tensor" in line
    assert advised(line) == "fp32"
    assert build(fasdk, given, "fp32")[0].status == 0
    assert build(fasdk, given, "int8-fp32")[0].status == 0
