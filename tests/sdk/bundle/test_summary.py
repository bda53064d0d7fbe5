"""Summary of a manifest: what a build took its source to be."""

from __future__ import annotations

from fasdk.bundle.manifest import ModelInfo
from fasdk.bundle.summary import summarize
from fasdk.capture import Modality
from fasdk.preprocess import ChannelOrder, CropRule, DepthEncoding, PreprocessSpec

from support.graphs import SPEC
from support.tiny_bundle import manifest

SILENT_FACE = PreprocessSpec(
    width=80,
    height=80,
    crop=CropRule.FACE,
    crop_scale=2.7,
    channel_order=ChannelOrder.BGR,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
DEPTH = SPEC.model_copy(
    update={"depth": DepthEncoding(near_mm=300, far_mm=1500, polarity="near-bright")}
)


def test_every_input_answer_and_note_is_one_line():
    found = manifest()
    changes = {
        "inputs": {Modality.RGB: SILENT_FACE, Modality.DEPTH: DEPTH},
        "modalities": (Modality.RGB, Modality.DEPTH),
        "required": (Modality.RGB,),
        "labels": ("attack-0", "live", "attack-2"),
        "live_index": 1,
        "model": ModelInfo(
            family="onnx",
            config={
                "inputs": {"rgb": {"graph_input": "input.1", "layout": "nhwc", "planes": None}},
                "output": {"name": "out", "kind": "probabilities", "reduction": "mean"},
            },
            parameters=1,
            published_in="nowhere",
        ),
    }
    assert summarize(found.model_copy(update=changes)) == {
        "input rgb": "80x80, face box x 2.7, BGR planes, units levels, as 'input.1', NHWC",
        "input depth": "16x16, crop frame, 300 to 1500 mm, near-bright, units level/255, "
        "may be absent",
        "answer": "3 probabilities in 'out', the mean of a map",
        "live class": "1 ('live') of attack-0, live, attack-2",
        "note 1": "made up",
    }


def test_a_registered_model_answers_in_logits():
    assert summarize(manifest())["answer"] == "2 logits"
