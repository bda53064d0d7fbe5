"""Verb describe: what a file states, what is tried on captures, and what must be told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

from fasdk.capture import Modality
from fasdk.preprocess import ChannelOrder
from fasdk_engines.models.registry import ONNX_IMPORT

from support.trained_network import NAMED, trained_network, write_files

RGB, BGR = ChannelOrder.RGB, ChannelOrder.BGR
COLOR, IR = Modality.RGB, Modality.IR


def build(fasdk, source: Path, toml: Path, out: Path, *options: object):
    common = ("--model", ONNX_IMPORT, "--backend", "onnxruntime")
    return fasdk("build-engine", source, "-o", out, *common, "--preprocess", toml, *options)


@pytest.mark.parametrize(
    ("units", "order", "live"),
    [
        ("levels", BGR, 0),
        ("level/255", RGB, 1),
        ("level/255", BGR, 0),
        ("torchvision", BGR, 1),
        ("levels minus mean", RGB, 0),
    ],
)
def test_units_plane_order_and_live_class_are_found_on_labeled_captures(
    fasdk, tmp_path, units, order, live
):
    given = write_files(tmp_path, trained_network(units, order, live))
    toml = tmp_path / "found.toml"
    ran = fasdk("describe", given.onnx, "--reference", given.captures, "-o", toml, "--json")
    assert ran.status == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    chosen = found["reference"]["chosen"]
    assert (chosen["units"], chosen["channel_order"]) == (units, order.value)
    assert (chosen["live_index"], chosen["crop"]) == (live, "frame")
    assert chosen["auc"] > 0.95
    assert found["missing"] == {}
    ran = build(fasdk, given.onnx, toml, tmp_path / "x.fasb", "--development", given.captures)
    assert ran.status == 0, ran.stderr


@pytest.mark.parametrize("modalities", [(IR, COLOR), (COLOR, IR)])
def test_what_feeds_inputs_without_telling_names_is_found_on_captures(fasdk, tmp_path, modalities):
    model = trained_network("(level-127.5)/127.5", BGR, modalities=modalities)
    given = write_files(tmp_path, model, infrared=True)
    asked = json.loads(fasdk("describe", given.onnx, "--json").stdout)
    assert "modalities" in asked["missing"]
    ran = fasdk("describe", given.onnx, "--reference", given.captures, "--json")
    found = json.loads(ran.stdout)
    assert ran.status == 0, found["missing"]
    chosen = found["reference"]["chosen"]
    assert chosen["modalities"] == [m.value for m in modalities]
    assert chosen["units"] in ("(level-127.5)/127.5", "(level-127.5)/128")  # 0.4 % apart
    assert (chosen["channel_order"], chosen["live_index"]) == ("bgr", 1)


def test_planes_told_the_wrong_way_round_are_doubted_and_found_on_captures(fasdk, tmp_path):
    given = write_files(tmp_path, trained_network("level/255", BGR))
    told = ("--development", given.captures)
    ran = build(fasdk, given.onnx, given.toml, tmp_path / "wrong.fasb", *told)
    (line,) = ran.error_lines
    assert 'write channel_order = "bgr"' in line
    toml = tmp_path / "found.toml"
    fasdk("describe", given.onnx, "--reference", given.captures, "-o", toml)
    assert 'channel_order = "bgr"' in toml.read_text()
    ran = build(fasdk, given.onnx, toml, tmp_path / "right.fasb", *told)
    assert (ran.status, ran.error_lines) == (0, [])


def test_without_captures_what_no_file_states_must_be_told(fasdk, tmp_path):
    given = write_files(tmp_path, trained_network("levels"))
    toml = tmp_path / "asked.toml"
    ran = fasdk("describe", given.onnx, "-o", toml, "--json")
    assert ran.status == 1
    missing = json.loads(ran.stdout)["missing"]
    assert set(missing) == {
        "live_index",
        "inputs.rgb.crop",
        "inputs.rgb.crop_scale",
        "inputs.rgb.channel_order",
        "inputs.rgb.mean",
        "inputs.rgb.std",
    }
    assert "its first batch norm speaks for levels" in missing["inputs.rgb.mean"]
    out = tmp_path / "x.fasb"
    ran = build(fasdk, given.onnx, toml, out)
    assert ran.status == 2 and not out.exists()
    (line,) = ran.error_lines
    assert "asked.toml: fill in live_index, crop, crop_scale, channel_order, mean, std" in line
    told = toml.read_text()
    for key, value in {
        "live_index": "1",
        "crop": '"frame"',
        "crop_scale": "1.0",
        "channel_order": '"rgb"',
        "mean": list(NAMED["levels"].mean),
        "std": list(NAMED["levels"].std),
    }.items():
        told = told.replace(f"\n{key} = ?", f"\n{key} = {value}")
    toml.write_text(told)
    assert build(fasdk, given.onnx, toml, out).status == 0


def test_a_build_without_a_description_asks_for_what_is_missing(fasdk, tmp_path):
    given = write_files(tmp_path, trained_network())
    common = ("build-engine", given.onnx, "-o", tmp_path / "x.fasb", "--model", ONNX_IMPORT)
    ran = fasdk(*common)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert "to be told in it: live_index, inputs.rgb.crop" in line
    assert "\ncrop = ?" in ran.stdout and "# MUST BE TOLD: " in ran.stdout
    ran = fasdk(*common, "--development", given.captures)
    assert ran.status == 2
    assert "to be told in it: nothing, but check it" in ran.error_lines[0]
    assert "# level/255: AUC" in ran.stdout
    assert not (tmp_path / "x.fasb").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "colors.toml"], "exists: give -o another name"),
        (["--size", "80"], "is not WIDTHxHEIGHT"),
        (["--modalities", "rgb,sonar"], "'sonar' is no modality"),
        (["--reference", "none.jsonl"], "none.jsonl"),
    ],
)
def test_wrong_input_is_one_line(fasdk, tmp_path, monkeypatch, options, words):
    given = write_files(tmp_path, trained_network())
    monkeypatch.chdir(tmp_path)
    ran = fasdk("describe", given.onnx.name, *options)
    assert ran.status == 2
    (line,) = ran.error_lines
    assert words in line


def photographs(reference: Path, folder: Path) -> Path:
    """Write the two published photographs as a list of captures."""
    golden = json.loads((reference / "silent-face" / "golden.json").read_text())
    rows = []
    for name, found in golden.items():
        shutil.copy(reference / "silent-face" / name, folder / name)
        live = found["label"] == 1
        rows.append(
            {
                "id": name,
                "rgb": name,
                "face": found["face_box_xywh"],
                "label": "bona fide" if live else "attack",
                "species": "bona fide" if live else "print",
                "subject": name,
                "domain": "published",
                "presentation": name,
            }
        )
    path = folder / "photographs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "units", "order", "live", "crop_scale"),
    [
        ("minifasnet_v1se_opset10.onnx", "levels", "bgr", 1, "4.0"),
        ("minifasnet_v2_opset11_batch1.onnx", "levels", "bgr", 1, "2.7"),
        ("minifasnet_128_opset13.onnx", "level/255", None, 0, "1.5"),
    ],
)
def test_a_published_file_is_described_but_for_its_crop(
    fasdk, reference, tmp_path, name, units, order, live, crop_scale
):
    source = reference / "onnx" / name
    photos = photographs(reference, tmp_path)
    toml = tmp_path / "found.toml"
    ran = fasdk("describe", source, "--reference", photos, "-o", toml, "--json")
    found = json.loads(ran.stdout)
    chosen = found["reference"]["chosen"]
    assert (chosen["units"], chosen["live_index"]) == (units, live)
    assert order in (None, chosen["channel_order"])
    assert set(found["missing"]) <= {"inputs.rgb.crop", "inputs.rgb.crop_scale"}
    told = toml.read_text().replace("crop = ?", 'crop = "face"')
    toml.write_text(told.replace("crop_scale = ?", f"crop_scale = {crop_scale}"))
    ran = build(fasdk, source, toml, tmp_path / "x.fasb", "--development", photos)
    assert ran.status == 0, ran.stderr


def test_what_feeds_a_file_is_read_from_the_names_of_its_inputs(fasdk, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    two (float[N,3,8,8] color_image, float[N,1,8,8] nir) => (float[N,1] score)
    {
      a = ReduceMean <axes = [2, 3], keepdims = 0> (color_image)
      b = ReduceMean <axes = [2, 3], keepdims = 0> (nir)
      both = Concat <axis = 1> (a, b)
      odds = ReduceMean <axes = [1], keepdims = 1> (both)
      score = Sigmoid (odds)
    }
    """
    path = tmp_path / "two.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    found = json.loads(fasdk("describe", path, "--json").stdout)
    assert 'modalities = ["rgb", "ir"]' in found["toml"]
    assert 'kind = "probability"  # the file ends in Sigmoid' in found["toml"]
    assert (
        "inputs.ir.mean" in found["missing"] and "inputs.ir.channel_order" not in found["missing"]
    )


def test_probabilities_without_a_softmax_are_told_by_their_values(fasdk, tmp_path):
    tail = """
    <ir_version: 8, opset_import: ["" : 17]>
    tail (float[N,2] answer) => (float[N,2] score) <int64[1] axis = {1}>
    { grown = Exp (answer) sum = ReduceSum (grown, axis) score = Div (grown, sum) }
    """
    model = onnx.compose.merge_models(
        trained_network(), onnx.parser.parse_model(tail), io_map=[("answer", "answer")]
    )
    given = write_files(tmp_path, model)
    found = json.loads(fasdk("describe", given.onnx, "--json").stdout)
    assert 'kind = "probabilities"  # by its values on images' in found["toml"]
    assert found["problem"] is None


def test_an_input_of_integers_takes_levels(fasdk, tmp_path):
    head = """
    <ir_version: 8, opset_import: ["" : 17]>
    head (uint8[N,3,32,32] pixels) => (float[N,3,32,32] scaled) <float[1] full = {255.0}>
    { raw = Cast <to = 1> (pixels) scaled = Div (raw, full) }
    """
    model = onnx.compose.merge_models(
        onnx.parser.parse_model(head), trained_network(), io_map=[("scaled", "image")]
    )
    given = write_files(tmp_path, model)
    toml = tmp_path / "found.toml"
    ran = fasdk("describe", given.onnx, "--reference", given.captures, "-o", toml, "--json")
    assert ran.status == 0, ran.stdout
    assert json.loads(ran.stdout)["reference"]["chosen"]["units"] == "levels"
    told = ("--development", given.captures)
    ran = build(fasdk, given.onnx, toml, tmp_path / "x.fasb", *told)
    assert (ran.status, ran.error_lines) == (0, [])


@pytest.mark.parametrize("is_masked", [True, False], ids=["a mask", "numbers without effect"])
def test_scores_and_presence_without_telling_names_are_found_on_captures(
    fasdk, tmp_path, is_masked
):
    """Outputs: a constant, the scores and an embedding; one input has a number an image."""
    opset = '<ir_version: 8, opset_import: ["" : 17]>'
    head = f"""
    {opset}
    head (float[N,3,32,32] x0, float[N,3,32,32] x1, float[N,2] x2)
      => (float[N,3,32,32] seen0, float[N,3,32,32] seen1)
    <int64[4] column = {{-1, 1, 1, 1}}, int64[2] parts = {{1, 1}}, float[1] least = {{0.0}}>
    {{
      left, right = Split <axis = 1> (x2, parts)
      shaped0 = Reshape (left, column)
      shaped1 = Reshape (right, column)
      {"" if is_masked else "held0 = Mul (shaped0, least) held1 = Mul (shaped1, least)"}
      seen0 = {"Mul (x0, shaped0)" if is_masked else "Add (x0, held0)"}
      seen1 = {"Mul (x1, shaped1)" if is_masked else "Add (x1, held1)"}
    }}
    """
    tail = f"""
    {opset}
    tail (float[N,2] answer) => (float[N,2] y0, float[N,2] y1, float[N,32] y2)
    <float[1] none = {{0.0}}, int64[2] times = {{1, 16}}>
    {{ y0 = Mul (answer, none) y1 = Identity (answer) y2 = Tile (answer, times) }}
    """
    network = trained_network("torchvision", BGR, live=0, modalities=(IR, COLOR))
    for value in (*network.graph.input, *network.graph.output):
        value.name = value.name.replace("x", "in")
    for node in network.graph.node:
        node.input[:] = [name.replace("x", "in") for name in node.input]
    model = onnx.compose.merge_models(
        onnx.compose.merge_models(
            onnx.parser.parse_model(head), network, io_map=[("seen0", "in0"), ("seen1", "in1")]
        ),
        onnx.parser.parse_model(tail),
        io_map=[("answer", "answer")],
    )
    given = write_files(tmp_path, model, infrared=True)
    asked = json.loads(fasdk("describe", given.onnx, "--json").stdout)
    assert "output.name" in asked["missing"]
    toml = tmp_path / "found.toml"
    ran = fasdk("describe", given.onnx, "--reference", given.captures, "-o", toml, "--json")
    assert ran.status == 0, ran.stdout
    found = json.loads(ran.stdout)
    assert 'name = "y1"' in found["toml"]
    assert ('presence = "x2"' if is_masked else "x2 = 1.0") in found["toml"]
    chosen = found["reference"]["chosen"]
    assert (chosen["units"], chosen["channel_order"], chosen["live_index"]) == (
        "torchvision",
        "bgr",
        0,
    )
    told = ("--development", given.captures)
    ran = build(fasdk, given.onnx, toml, tmp_path / "x.fasb", *told)
    assert ran.status == 0, ran.stderr
