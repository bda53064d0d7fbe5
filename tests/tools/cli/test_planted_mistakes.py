"""Planted mistakes of a description, a list or a file: each is refused or corrected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fasdk.preprocess import ChannelOrder
from fasdk_calibration.datasets import BONA_FIDE_SPECIES

from support.trained_network import TOML, Given, trained_network, with_weights, write_files

_UNITS = "mean = [0.0, 0.0, 0.0]\nstd = [255.0, 255.0, 255.0]"


def ending(model: onnx.ModelProto, nodes: str, columns: int = 2, **weights) -> onnx.ModelProto:
    """Return a model whose `answer` goes through more nodes, in ONNX's text form, to `score`."""
    tail = with_weights(
        f'<ir_version: 8, opset_import: ["" : 17]>\n'
        f"tail (float[N,2] answer) => (float[N,{columns}] score) {{ {nodes} }}",
        **weights,
    )
    return onnx.compose.merge_models(model, tail, io_map=[("answer", "answer")])


def zeroed(names: tuple[str, ...]) -> onnx.ModelProto:
    """Return the trained network with some of its weights zero."""
    model = trained_network()
    for tensor in model.graph.initializer:
        if tensor.name in names:
            zeros = np.zeros(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    return model


def untrained() -> onnx.ModelProto:
    """Return a network of the same form with random weights, its batch norm never trained."""
    rng = np.random.default_rng(8)
    model = trained_network()
    initial = {"mean0": 0.0, "variance0": 1.0, "gain0": 1.0, "bias0": 0.0, "offset": 0.0}
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        value = (
            np.full(shape, initial[tensor.name])
            if tensor.name in initial
            else rng.standard_normal(shape) / 4.0
        )
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
    return model


def swap_labels(given: Given) -> None:
    """Turn the labels of the list round at random: the network knows nothing of them."""
    rng = np.random.default_rng(5)
    rows = [json.loads(line) for line in given.captures.read_text().splitlines()]
    labels = rng.permutation([row["label"] for row in rows])
    for row, label in zip(rows, labels, strict=True):
        row["label"] = str(label)
        row["species"] = BONA_FIDE_SPECIES if label == "bona fide" else "print"
    given.captures.write_text("".join(json.dumps(row) + "\n" for row in rows))


@dataclass(frozen=True)
class Mistake:
    """A planted mistake and what a build does about it.

    Attributes:
        model: The network's file.
        change: Text of the description that is wrong, and what stands there.
        status: Exit status of the build.
        message: Regular expression of the message.
        fix: The change of the description that the message asks for; None where the file is wrong.
        labels: Change of the list, or None.
    """

    model: Callable[[], onnx.ModelProto]
    change: tuple[str, str]
    status: int
    message: str
    fix: tuple[str, str] | None = None
    labels: Callable[[Given], None] | None = None


MISTAKES = {
    "softmax in the file, told logits": Mistake(
        lambda: ending(trained_network(), "score = Softmax <axis = 1> (answer)"),
        ("", ""),
        2,
        r"write (kind = \"probabilities\") under \[output\]",
        ('kind = "logits"', "{0}"),
    ),
    "sigmoid in the file, told a logit": Mistake(
        lambda: ending(
            trained_network(),
            "odds = MatMul (answer, sides) score = Sigmoid (odds)",
            1,
            sides=np.float32([[-1.0], [1.0]]),
        ),
        ('kind = "logits"', 'kind = "logit"'),
        2,
        r"write (kind = \"probability\") under \[output\]",
        ('kind = "logit"', "{0}"),
    ),
    "mean and std in units of 0 to 1": Mistake(
        lambda: trained_network("torchvision"),
        (_UNITS, "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"),
        2,
        r"multiply by 255 and write (mean = \[123\.675, 116\.28, 103\.53\]) and "
        r"(std = \[58\.395, 57\.12, 57\.375\])",
        ("mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]", "{0}\n{1}"),
    ),
    "level/255 told std 1": Mistake(
        trained_network,
        (_UNITS, "mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]"),
        2,
        r"was not trained on levels.* Write (mean = \[0\.0, 0\.0, 0\.0\]) and "
        r"(std = \[255\.0, 255\.0, 255\.0\])",
        ("mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]", "{0}\n{1}"),
    ),
    "levels told level/255": Mistake(
        lambda: trained_network("levels"),
        ("", ""),
        2,
        r"was not trained on level/255.* Write (mean = \[0\.0, 0\.0, 0\.0\]) and "
        r"(std = \[1\.0, 1\.0, 1\.0\])",
        (_UNITS, "{0}\n{1}"),
    ),
    "probabilities told, logits found": Mistake(
        trained_network,
        ('kind = "logits"', 'kind = "probabilities"'),
        2,
        r"no probabilities",
        ('kind = "probabilities"', 'kind = "logits"'),
    ),
    "live index wrong": Mistake(
        trained_network,
        ("live_index = 1", "live_index = 0"),
        1,
        r"AUC 0\.\d+ on 40 captures .* AUC 0\.98\d+ with class 1 .*is (live_index = 1) meant",
        ("live_index = 0", "{0}"),
    ),
    "constant network": Mistake(
        lambda: zeroed(("head",)), ("", ""), 2, r"answers 8 captures .* alike"
    ),
    "all weights zero": Mistake(
        lambda: zeroed(("kernel0", "gain0", "bias0", "head", "offset")),
        ("", ""),
        2,
        r"answers 8 captures .* alike.*weights are zero",
    ),
    "untrained network": Mistake(
        untrained,
        ("", ""),
        1,
        r"no better than chance: the network is not trained",
        None,
        swap_labels,
    ),
    "three classes with two labels": Mistake(
        lambda: ending(
            trained_network(), "score = MatMul (answer, spread)", 3, spread=np.eye(2, 3)
        ),
        ("", ""),
        2,
        r"has 3 columns, but labels names 2: give labels 3 names",
        ('labels = ["attack", "live"]', 'labels = ["attack", "live", "screen"]'),
    ),
}


def build(fasdk, given: Given, out: Path):
    return fasdk(
        *("build-engine", given.onnx, "-o", out, "--model", "onnx", "--preprocess", given.toml),
        *("--development", given.captures, "--backend", "onnxruntime"),
    )


def test_the_network_as_described_builds(fasdk, tmp_path):
    ran = build(fasdk, write_files(tmp_path, trained_network()), tmp_path / "out.fasb")
    assert ran.status == 0, ran.stderr
    assert "its first batch norm agrees, on 8 captures of captures.jsonl" in " ".join(
        ran.stdout.split()
    )


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_refused_and_its_fix_works(fasdk, tmp_path, name):
    mistake = MISTAKES[name]
    wrong = TOML.replace(*mistake.change) if mistake.change[0] else TOML
    given = write_files(tmp_path, mistake.model(), wrong)
    if mistake.labels is not None:
        mistake.labels(given)
    out = tmp_path / "out.fasb"
    ran = build(fasdk, given, out)
    assert ran.status == mistake.status, ran.stdout + ran.stderr
    found = re.search(mistake.message, " ".join(ran.error_lines))
    assert found, ran.stderr
    if mistake.status == 2:
        assert not out.exists()
        assert len(ran.error_lines) == 1
    else:  # built, so that its scores can be looked at, and never LIVE
        shown = json.loads(fasdk("inspect", out, "--json").stdout)
        assert shown["manifest"]["operating_points"] == []
        assert "AUC" in shown["manifest"]["operating_points_note"]
    if mistake.fix is not None:
        before, after = mistake.fix
        assert before in wrong
        given.toml.write_text(wrong.replace(before, after.format(*found.groups())))
        ran = build(fasdk, given, out)
        assert ran.status == 0, ran.stderr


def test_depth_in_another_unit_is_said_with_the_setting_to_write(fasdk, tmp_path):
    given = write_files(tmp_path, trained_network())
    tenths = np.full((48, 48), 6000, np.uint16)  # 600 mm in units of 0.1 mm
    cv2.imwrite(str(tmp_path / "depth.png"), tenths)
    rows = [json.loads(line) for line in given.captures.read_text().splitlines()]
    text = "".join(json.dumps({**row, "depth": "depth.png"}) + "\n" for row in rows)
    given.captures.write_text(text)
    (line,) = build(fasdk, given, tmp_path / "out.fasb").error_lines
    assert "faces are 6000 mm away" in line and "depth_scale_mm=0.1" in line
    given.captures.write_text(f"# fasdk: depth_scale_mm=0.1\n{text}")
    ran = build(fasdk, given, tmp_path / "fixed.fasb")
    assert "mm away" not in ran.stderr and ran.status == 0


@pytest.mark.parametrize("units", ["levels", "level/255", "torchvision", "levels minus mean"])
@pytest.mark.parametrize("order", list(ChannelOrder))
def test_no_units_a_network_was_trained_on_are_refused(fasdk, tmp_path, units, order):
    from support.trained_network import NAMED

    mean, std = NAMED[units].values(order)
    told = TOML.replace(_UNITS, f"mean = {list(mean)}\nstd = {list(std)}")
    told = told.replace('channel_order = "rgb"', f'channel_order = "{order.value}"')
    given = write_files(tmp_path, trained_network(units, order), told)
    ran = build(fasdk, given, tmp_path / "out.fasb")
    assert ran.status == 0, ran.stderr
