"""Conversion of OpenAI's CLIP archives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fasdk.errors import CheckpointError, FasdkError
from fasdk_engines.models.clip import ClipText, ClipVision
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import InitialWeights
from fasdk_engines.training.clip_archive import convert_clip
from fasdk_engines.training.initial import initialize

FEATURE = 32
pytestmark = pytest.mark.filterwarnings("ignore")  # of tracing, which OpenAI's file was made by


class Towers(ClipText):
    """Both towers of a small CLIP under the names that OpenAI's archive has."""

    def __init__(self, feature_width: int = FEATURE) -> None:
        super().__init__(515, 77, 64, 2, 1, feature_width)
        self.visual = ClipVision(64, 16, 64, 2, 1, feature_width)
        for name, value in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 515)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.visual(image)


def archive(path: Path, towers: Towers) -> Path:
    """Write towers as OpenAI does: traced, in half precision."""
    traced = torch.jit.trace(towers.eval(), torch.rand(1, 3, 64, 64), check_trace=False)
    traced.half().save(str(path))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    torch.manual_seed(0)
    width = get_family("mmda").configs["tiny"].feature_width
    return archive(tmp_path_factory.mktemp("clip") / "ViT-B-16.pt", Towers(width))


def test_the_archives_weights_are_kept_as_they_are(source, tmp_path, monkeypatch):
    expected = torch.jit.load(str(source)).state_dict()
    monkeypatch.setattr(torch.jit, "load", None)  # which would run its code
    out = tmp_path / "clip.safetensors"
    found = convert_clip(source, out)
    kept = load_file(out)
    settings = {"input_resolution", "context_length", "vocab_size"}
    assert set(kept) == set(expected) - settings
    for name, value in kept.items():
        assert value.dtype == torch.float16
        assert torch.equal(value, expected[name])
    assert (found.tensors, found.blocks, found.width) == (len(kept), 2, 64)
    assert (found.patch_px, found.image_px, found.dropped) == (16, 64, ())


@pytest.mark.parametrize("model", ["mmda", "mmdgpp"])
def test_the_models_on_clip_start_from_the_result(source, tmp_path, model):
    family = get_family(model)
    config = family.configs["tiny"]
    if model == "mmdgpp":
        source = archive(tmp_path / "other.pt", Towers(config.feature_width))
    out = tmp_path / "clip.safetensors"
    convert_clip(source, out)
    module = family.build(config)
    set_ = initialize(module, family, InitialWeights.load(out))
    name = "model.visual.transformer.resblocks.1.mlp.c_fc.weight"
    assert name in set_.loaded and set_.unused == ()
    expected = load_file(out)[name.removeprefix("model.")].float()
    assert torch.equal(module.state_dict()[name], expected)
    assert torch.equal(set_.text["text_projection"], load_file(out)["text_projection"].float())


def test_other_files_are_refused(source, tmp_path):
    out = tmp_path / "out.safetensors"
    whole = source.read_bytes()
    cut = tmp_path / "cut.pt"
    for share in (0.3, 0.99):
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"cut\.pt"):
            convert_clip(cut, out)
    towers = Towers()
    torch.save({"fc.weight": torch.rand(2, 2)}, cut)
    with pytest.raises(CheckpointError, match="holds no visual towers of OpenAI's CLIP"):
        convert_clip(cut, out)
    torch.save({"a": towers.state_dict(), "b": towers.state_dict()}, cut)
    with pytest.raises(CheckpointError, match="holds 2 visual towers"):
        convert_clip(cut, out)
    torch.save(towers.visual.state_dict(), cut)
    with pytest.raises(CheckpointError, match="holds no visual towers"):
        convert_clip(cut, out)
    torch.save({"visual.conv1.weight": 1.0 * torch.rand(8, 3, 3, 3)}, cut)
    with pytest.raises(CheckpointError, match=r"part of a CLIP, without visual\.class_embedding"):
        convert_clip(cut, out)
    assert not out.exists()


def test_the_archives_code_never_runs(tmp_path):
    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "planted.pt"
    torch.save({"visual.conv1.weight": torch.rand(8, 3, 3, 3), "more": Planted()}, path)
    with pytest.raises(CheckpointError, match="contains code"):
        convert_clip(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()


def test_an_output_that_cannot_be_written(source, tmp_path):
    with pytest.raises(FasdkError, match="cannot write"):
        convert_clip(source, tmp_path / "none" / "out.safetensors")
