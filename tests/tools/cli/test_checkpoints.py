"""Checkpoints as they are published, through `build-engine` and `debug-parity`."""

from __future__ import annotations

import json

import pytest
import torch

from fasdk_engines.models.registry import get_family

BACKEND = ("--backend", "onnxruntime")


@pytest.fixture
def averaged(tmp_path):
    """A training checkpoint of MiniFASNetV2 with raw and averaged weights and settings beside."""
    family = get_family("minifasnet-v2")
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = family.build(family.default_config).state_dict()
        states.append({f"module.{name}": value for name, value in state.items()})
    path = tmp_path / "epoch=3.pth.tar"
    torch.save({"state_dict": states[0], "ema_state_dict": states[1], "epoch": 3}, path)
    return path


def build(fasdk, source, out, *more):
    return fasdk(
        *("build-engine", source, "-o", out, "--model", "minifasnet-v2", "--json"), *BACKEND, *more
    )


def test_a_build_asks_which_of_two_sets_and_takes_the_one_asked_for(fasdk, averaged, tmp_path):
    ran = build(fasdk, averaged, tmp_path / "out.fasb")
    assert ran.status == 2
    assert (
        "holds averaged weights of minifasnet-v2 under 'ema_state_dict.module' and raw ones under "
        "'state_dict.module', which differ: choose with --weights ema or --weights raw"
    ) in ran.stderr
    assert not (tmp_path / "out.fasb").exists()
    graphs = {}
    for asked in ("ema", "raw", "state_dict", "state_dict.module"):
        out = tmp_path / f"{asked}.fasb"
        ran = build(fasdk, averaged, out, "--weights", asked)
        assert ran.status == 0, ran.stderr
        assert "weights are those under" in ran.stderr
        shown = json.loads(fasdk("inspect", out, "--json").stdout)
        graphs[asked] = shown["manifest"]["members"]["model.onnx"]
    assert graphs["ema"] != graphs["raw"]
    assert graphs["raw"] == graphs["state_dict"] == graphs["state_dict.module"]


def test_weights_that_are_not_there_are_refused_with_those_that_are(fasdk, averaged, tmp_path):
    ran = build(fasdk, averaged, tmp_path / "out.fasb", "--weights", "teacher")
    assert ran.status == 2
    assert "holds no weights 'teacher' of minifasnet-v2: it holds state_dict.module" in ran.stderr
    assert not (tmp_path / "out.fasb").exists()


def test_debug_parity_takes_the_same_choice(fasdk, averaged):
    ran = fasdk(
        *("debug-parity", averaged, "--against", averaged, "--model", "minifasnet-v2"),
        *("--weights", "raw", "--json"),
    )
    assert ran.status == 0, ran.stderr
    assert not json.loads(ran.stdout)["diverges"]


def test_a_build_reports_the_softmax_beside_the_logits(fasdk, averaged, tmp_path):
    ran = build(fasdk, averaged, tmp_path / "out.fasb", "--weights", "ema")
    built = json.loads(ran.stdout)
    assert built["score_parity"] < 1e-4
    assert built["logit_spread"] >= 1.0
