"""MiniFASNetV2 and MiniFASNetV1SE, published and deployed form."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fasdk.backends.onnxruntime import OnnxRuntimeEngine, open_session
from fasdk.capture import FaceBox, Modality
from fasdk.errors import CheckpointError
from fasdk.preprocess import to_tensor
from fasdk_engines.graph.export import export_graph
from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
from fasdk_engines.models.registry import get_family

from support.requirements import Requirement

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


def published_file(folder: Path, name: str) -> Path:
    """Return a file of those that people publish, or skip where it is absent."""
    path = folder / "onnx" / name
    if not path.is_file():
        Requirement.PUBLISHED_FILES.skip(f"no {name}")
    return path


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


def test_a_file_with_both_networks_gives_each_its_own(reference):
    """Both networks of one published file, held against the project's own two files."""
    folder = reference / "silent-face"
    path = published_file(reference, "fasnet_v1se_v2.pth.tar")
    for name in FILES:
        family = get_family(name)
        model = family.build(family.default_config)
        notes = load_into(model, load_checkpoint(path), family)
        assert any(note.startswith("weights are those under 'MiniFASNet") for note in notes)
        inputs, expected = photographs(name, folder)
        with torch.no_grad():
            softmax = model.eval()(inputs)[0].softmax(-1)
        np.testing.assert_allclose(softmax, expected, atol=1e-4, err_msg=name)


def test_a_training_checkpoint_equals_its_published_graph(reference, tmp_path):
    path = published_file(reference, "minifasnet_128_training.pth")
    family = get_family("minifasnet-v2")
    checkpoint = load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r'"image_size": 128, "classes": 2, "squeeze_ex'):
        load_into(family.build(family.default_config), checkpoint, family)
    settings = {"image_size": 128, "classes": 2, "squeeze_excite": True, "live_index": 0}
    (tmp_path / "128.json").write_text(json.dumps({**settings, "normalization": "unit"}))
    config = resolve_config(family, checkpoint, tmp_path / "128.json")
    model = family.build(config)
    load_into(model, checkpoint, family)
    deployed = model.eval().deployed()
    inputs = family.example_inputs(config, batch=4)
    given = open_session((path.parent / "minifasnet_128_opset13.onnx").read_bytes())
    logits = torch.from_numpy(given.run(None, {"input": inputs[0].numpy()})[0])
    with torch.no_grad():
        for form in (model, deployed):
            np.testing.assert_allclose(
                form(*inputs)[0].softmax(-1), logits.softmax(-1), rtol=0, atol=1e-4
            )


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
