"""MiniFASNetV2 and MiniFASNetV1SE, published and deployed form."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.capture import FaceBox, Modality
from fasdk.preprocess import to_tensor
from fasdk_engines.graph.export import export_graph
from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
from fasdk_engines.models.registry import get_family

FILES = {
    "minifasnet-v2": "2.7_80x80_MiniFASNetV2.pth",
    "minifasnet-v1se": "4_0_0_80x80_MiniFASNetV1SE.pth",
}


def trained(name: str, folder: Path) -> PublishedModule:
    family = get_family(name)
    checkpoint = load_checkpoint(folder / FILES[name])
    model = family.build(resolve_config(family, checkpoint))
    load_into(model, checkpoint, family)
    return model.eval()


def photographs(name: str, folder: Path) -> tuple[torch.Tensor, np.ndarray]:
    """Return the photographs as the model's input, and the published softmax of each."""
    family = get_family(name)
    spec = family.preprocess(family.default_config)[Modality.RGB]
    tensors, expected = [], []
    for photograph, golden in json.loads((folder / "golden.json").read_text()).items():
        frame = np.ascontiguousarray(cv2.imread(str(folder / photograph))[..., ::-1])
        tensors.append(to_tensor(frame, FaceBox.of(golden["face_box_xywh"]), spec))
        expected.append(golden["models"][FILES[name]]["softmax"])
    return torch.from_numpy(np.stack(tensors)), np.array(expected)


@pytest.mark.parametrize("name", FILES)
def test_every_form_reproduces_the_published_softmax(name, reference):
    folder = reference / "silent-face"
    model = trained(name, folder)
    deployed = model.deployed()
    inputs, expected = photographs(name, folder)
    graph = export_graph(deployed, get_family(name), get_family(name).default_config)
    with torch.no_grad():
        forms = {
            "published": model(inputs)[0],
            "deployed": deployed(inputs)[0],
            "graph": torch.from_numpy(OnnxRuntimeEngine(graph).run({"rgb": inputs.numpy()}).logits),
        }
    for form, logits in forms.items():
        np.testing.assert_allclose(logits.softmax(-1), expected, atol=1e-4, err_msg=form)


@pytest.mark.parametrize("name", FILES)
def test_class_one_is_live(name, reference):
    model = trained(name, reference / "silent-face")
    inputs, _ = photographs(name, reference / "silent-face")
    with torch.no_grad():
        attack, live = model(inputs)[0].softmax(-1)[:, get_family(name).live_index].tolist()
    assert attack < 0.5 < live


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_left_to_normalize_in_the_deployed_form(name):
    family = get_family(name)
    deployed = family.build(family.default_config).eval().deployed()
    assert not [
        m for m in deployed.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_tensor_is_blue_first_and_not_scaled(name):
    family = get_family(name)
    spec = family.preprocess(family.default_config)[Modality.RGB]
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[..., 0], frame[..., 2] = 200, 30  # red, blue
    tensor = to_tensor(frame, FaceBox(80, 80, 20, 20), spec)
    assert tensor.shape == (3, 80, 80)
    assert [tensor[c].mean() for c in range(3)] == [30.0, 0.0, 200.0]
