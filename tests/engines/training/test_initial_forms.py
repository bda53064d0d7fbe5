"""Forms of the weights that a training starts from, which are those that a build takes."""

from __future__ import annotations

import argparse
import gzip

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from fasdk.errors import CheckpointError, TrainingError
from fasdk_engines.models.clip import ClipVision
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import InitialWeights
from fasdk_engines.training.initial import initialize

from support.pretrained_weights import source_of


def started(name: str, path, weights: str | None = None, vocabulary=None):
    """Return a fresh small module set from a file, and what became of the file's tensors."""
    family = get_family(name)
    torch.manual_seed(0)
    module = family.build(family.configs["tiny"])
    found = initialize(module, family, InitialWeights.load(path, vocabulary, weights))
    return module.state_dict(), found


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def other(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: v + 1 if v.is_floating_point() else v for n, v in tensors.items()}


FORMS = {
    "a.pth.tar": lambda s: {"epoch": 3, "state_dict": under("module.", s)},
    "a.pkl": lambda s: {"net": s, "args": argparse.Namespace(lr=1), "best": np.float64(0.1)},
    "without_suffix": lambda s: under("backbone.", s),
    "compiled.pt": lambda s: {
        n.replace(".layers.", ".layers._orig_mod.").replace("resblocks.", "resblocks._orig_mod."): v
        for n, v in s.items()
    },
}


@pytest.mark.parametrize("name", ["mmdg", "mmda"])
def test_a_training_starts_from_every_form_as_from_the_bare_state_dict(name, tmp_path):
    source = source_of(name)
    torch.save(source, tmp_path / "bare.pth")
    safetensors.torch.save_file(source, tmp_path / "a.safetensors")
    for file, form in FORMS.items():
        torch.save(form(source), tmp_path / file)
    wanted, found = started(name, tmp_path / "bare.pth")
    assert found.notes == ()
    for file in (*FORMS, "a.safetensors"):
        weights, same = started(name, tmp_path / file)
        assert all(torch.equal(value, wanted[key]) for key, value in weights.items()), file
        assert set(same.unused) == set(found.unused)
        assert (same.notes == ()) == (file == "a.safetensors"), "what was chosen is said"


def test_clip_as_torchscript_is_read_as_data(tmp_path):
    source = source_of("mmda")
    holder = nn.Module()
    holder.visual = ClipVision(64, 16, 64, 2, 1, 32)
    holder.load_state_dict({n: v for n, v in source.items() if n.startswith("visual.")})
    holder.forward = holder.visual.forward
    with torch.no_grad():
        script = torch.jit.trace(holder, torch.rand(1, 3, 64, 64), check_trace=False)
    script.save(str(tmp_path / "ViT-B-16.pt"))
    torch.save(source, tmp_path / "bare.pth")
    wanted, _ = started("mmda", tmp_path / "bare.pth")
    weights, _ = started("mmda", tmp_path / "ViT-B-16.pt")
    assert all(torch.equal(value, wanted[key]) for key, value in weights.items())


def test_averaged_and_raw_weights_in_one_file_ask_which(tmp_path):
    source = source_of("mmdg")
    path = tmp_path / "both.pth"
    torch.save({**source, "ema": other(source)}, path)
    with pytest.raises(
        CheckpointError,
        match=r"averaged weights of torchvision's ViT under 'ema' and raw ones at the top of the "
        r"file, which differ: choose with --weights ema or --weights raw",
    ):
        started("mmdg", path)
    raw, _ = started("mmdg", path, "raw")
    averaged, _ = started("mmdg", path, "ema")
    assert torch.equal(raw["class_token2"], source["class_token"])
    assert torch.equal(averaged["class_token2"], source["class_token"] + 1)
    with pytest.raises(CheckpointError, match=r"holds no weights 'teacher' of torchvision's ViT"):
        started("mmdg", path, "teacher")


@pytest.mark.parametrize("name", ["mmdgpp", "minifasnet-v2"])
def test_a_checkpoint_of_the_model_itself_sets_all_of_it(name, tmp_path):
    family = get_family(name)
    config = list(family.configs.values())[-1]
    torch.manual_seed(7)
    trained = family.build(config).state_dict()
    tower = {n: v for n, v in source_of("mmdgpp").items() if "visual" not in n and v.dim()}
    research = under("model.", tower) if name == "mmdgpp" else {}
    torch.save({"model": under("module.", {**trained, **research})}, tmp_path / "own.pth")
    (tmp_path / "merges.gz").write_bytes(gzip.compress(b"#\na b\n"))
    for vocabulary in (None, tmp_path / "merges.gz"):
        module = family.build(config)
        initial = InitialWeights.load(tmp_path / "own.pth", vocabulary)
        found = initialize(module, family, initial)
        assert all(torch.equal(v, trained[n]) for n, v in module.state_dict().items())
        assert set(found.loaded) == set(trained) and not found.fresh
        assert found.notes[0] == "weights are those under 'model.module.'"
        assert found.notes[-1].startswith("all initial values are this checkpoint's")
        assert ("token_embedding.weight" in found.text) == bool(research and vocabulary)


def test_another_models_checkpoint_is_no_start_of_a_model_without_one(tmp_path):
    torch.save(source_of("mmda"), tmp_path / "clip.pth")
    family = get_family("minifasnet-v2")
    with pytest.raises(TrainingError, match="give a checkpoint of that model, or leave out"):
        initialize(
            family.build(family.default_config),
            family,
            InitialWeights.load(tmp_path / "clip.pth"),
        )
