"""Models from outside: ONNX files, and broken distributions."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from support.requirements import Requirement

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
outside (float[N,3,8,8] image, float[N,3,8,8] infrared) => (float[N,1] score)
{
  a = ReduceMean <axes = [2, 3], keepdims = 0> (image)
  b = ReduceMean <axes = [2, 3], keepdims = 0> (infrared)
  both = Concat <axis = 1> (a, b)
  odds = MatMul (both, w)
  score = Sigmoid (odds)
}
"""
TOML = """
name = "lobby-net"
published_in = "Doe et al., 2025"
modalities = ["rgb", "ir"]
required = ["rgb"]
labels = ["attack", "live"]
live_index = 1

[inputs.rgb]
graph_input = "image"
width = 8
height = 8
crop = "face"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]

[inputs.ir]
graph_input = "infrared"
width = 8
height = 8
crop = "face"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]
missing_value = -1.0

[output]
kind = "probability"
"""
FACE = ["--face", "80,40,150,160"]


@pytest.fixture
def onnx_file(tmp_path):
    """An ONNX file and its description."""
    model = onnx.parser.parse_model(GRAPH)
    weights = np.random.default_rng(0).standard_normal((6, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    (tmp_path / "lobby.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "lobby.toml").write_text(TOML)
    return tmp_path / "lobby.onnx", tmp_path / "lobby.toml"


def arguments(source, out, description, model="onnx"):
    chosen = ["--preprocess", description] if description else []
    return ["build-engine", source, "-o", out, "--model", model, *chosen]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_onnx_file_becomes_a_bundle_that_judges(fasdk, onnx_file, frames, tmp_path, precision):
    Requirement.TENSORRT_RTX.module("tensorrt_rtx")
    source, description = onnx_file
    out = tmp_path / "lobby.fasb"
    options = ["--backend", "tensorrt-rtx", "--precision", precision, "--json"]
    ran = fasdk(*arguments(source, out, description), *options)
    assert ran.status == 0, ran.stderr
    built = json.loads(ran.stdout)
    assert built["torch_parity"] is None
    assert built["graph_parity"] < 1e-6
    assert built["plan_bytes"] > 0
    assert built["config"]["name"] == "lobby-net"
    assert fasdk("verify", out).status == 0
    shown = json.loads(fasdk("inspect", out, "--json").stdout)["manifest"]
    assert shown["modalities"] == ["rgb", "ir"]
    assert shown["required"] == ["rgb"]
    assert shown["inputs"]["ir"]["missing_value"] == -1.0
    ran = fasdk("check", out, "--rgb", frames.rgb, "--ir", frames.ir, *FACE, "--json")
    assert 0 < json.loads(ran.stdout)["score"] < 1


ALIGNED = """crop = "landmarks"
landmark_positions = [[2.5, 3.0], [5.5, 3.0], [], [], []]
border = "replicate"
"""
PADDED = """crop = "face"
crop_scale = 1.5
crop_shape = "square"
crop_bounds = "pad"
border = "reflect-101"
interpolation = "area"
fit = "letterbox-floor"
"""
EYES = "130,90,180,90,155,115,135,140,175,140"


def test_a_file_of_aligned_and_padded_faces_becomes_a_bundle_that_judges(
    fasdk, onnx_file, frames, tmp_path
):
    source, description = onnx_file
    first, second, third = TOML.split('crop = "face"\n')
    description.write_text(first + ALIGNED + second + PADDED + third)
    out = tmp_path / "lobby.fasb"
    ran = fasdk(*arguments(source, out, description), "--backend", "onnxruntime", "--json")
    assert ran.status == 0, ran.stderr
    assert fasdk("verify", out, "--backend", "onnxruntime").status == 0
    inputs = json.loads(fasdk("inspect", out, "--json").stdout)["manifest"]["inputs"]
    assert inputs["rgb"]["landmark_positions"] == [[2.5, 3.0], [5.5, 3.0], None, None, None]
    assert (inputs["ir"]["border"], inputs["ir"]["fit"]) == ("reflect-101", "letterbox-floor")
    check = ["check", out, "--rgb", frames.rgb, "--ir", frames.ir, *FACE]
    ran = fasdk(*check, "--backend", "onnxruntime")
    assert ran.status == 2
    assert "aligns the face by its landmarks and the capture has none" in ran.error_lines[0]
    ran = fasdk(*check, "--landmarks", EYES, "--backend", "onnxruntime", "--json")
    assert 0 < json.loads(ran.stdout)["score"] < 1


def test_two_builds_of_one_file_are_the_same_bytes(fasdk, onnx_file, tmp_path):
    source, description = onnx_file
    for name in ("one.fasb", "two.fasb"):
        out = tmp_path / name
        fasdk(*arguments(source, out, description), "--backend", "onnxruntime")
    assert (tmp_path / "one.fasb").read_bytes() == (tmp_path / "two.fasb").read_bytes()


def test_conflicting_options_are_refused_with_the_fix(fasdk, onnx_file, checkpoint, tmp_path):
    source, description = onnx_file
    out = tmp_path / "out.fasb"
    for command, word in (
        (arguments(source, out, None), "takes --preprocess FILE.toml"),
        ([*arguments(source, out, description), "--config", "tiny"], "no --config"),
        (arguments(source, out, None, "mmdg"), "needs --model onnx"),
        (arguments(checkpoint, out, description, "mmdg"), "--preprocess goes with --model onnx"),
        (arguments(checkpoint, out, description), "is not called like an ONNX file"),
        (arguments(source, out, tmp_path / "none.toml"), "none.toml: No such file"),
        (arguments(tmp_path / "none.onnx", out, description), "none.onnx: No such file"),
    ):
        ran = fasdk(*command)
        assert ran.status == 2
        assert len(ran.error_lines) == 1
        assert word in ran.error_lines[0]
        assert not out.exists()


def test_an_unknown_field_is_named_in_one_line(fasdk, onnx_file, tmp_path):
    source, description = onnx_file
    description.write_text(TOML.replace("missing_value", "missing"))
    ran = fasdk(*arguments(source, tmp_path / "out.fasb", description))
    assert ran.status == 2
    assert "lobby.toml: unknown field inputs.ir.missing: known here are" in ran.error_lines[0]


def test_a_broken_distribution_is_a_warning_and_stops_no_verb(fasdk, bundle, tmp_path, monkeypatch):
    info = tmp_path / "vendor_door-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-door\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fasdk.models]\ndoor-net = no_such_module:FAMILY\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert fasdk("verify", bundle).status == 0
    ran = fasdk("models", "--json")
    assert ran.status == 0
    (warning,) = ran.error_lines
    assert warning.startswith("fasdk: warning: entry point 'door-net' (no_such_module:FAMILY) of ")
    listed = json.loads(ran.stdout)
    assert len(listed["warnings"]) == 1
    assert "mmdg" in {row["model"] for row in listed["models"]}
    ran = fasdk("build-engine", "x.pth", "-o", tmp_path / "x.fasb", "--model", "door-net")
    assert ran.status == 2
    assert "vendor-door" in ran.error_lines[0]
