"""Silent-Face checkpoints as bundles: published scores on the photographs."""

from __future__ import annotations

import json

import pytest

MODELS = {
    "2.7_80x80_MiniFASNetV2.pth": "minifasnet-v2",
    "4_0_0_80x80_MiniFASNetV1SE.pth": "minifasnet-v1se",
}


@pytest.mark.parametrize("checkpoint", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_bundle_reproduces_every_published_softmax(
    fasdk, reference, tmp_path, checkpoint, precision
):
    folder = reference / "silent-face"
    golden = json.loads((folder / "golden.json").read_text())
    bundle = tmp_path / "silent.fasb"
    ran = fasdk(
        *("build-engine", folder / checkpoint, "-o", bundle, "--model", MODELS[checkpoint]),
        *("--backend", "onnxruntime", "--precision", precision),
    )
    assert ran.status == 0, ran.stderr
    tolerance = 1e-4 if precision == "fp32" else 5e-3
    for image, expected in golden.items():
        face = ",".join(map(str, expected["face_box_xywh"]))
        ran = fasdk("check", bundle, "--rgb", folder / image, "--face", face, "--json")
        decision = json.loads(ran.stdout)
        scores = list(decision["class_scores"].values())
        assert scores == pytest.approx(expected["models"][checkpoint]["softmax"], abs=tolerance)
        assert decision["score"] == scores[1]
        assert (ran.status, decision["verdict"]) == (1, "error")
