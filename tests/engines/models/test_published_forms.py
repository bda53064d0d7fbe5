"""Checkpoints as each published training script, and each framework it uses, saves them."""

from __future__ import annotations

import argparse
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from fasdk.errors import CheckpointError
from fasdk_engines.models.checkpoint import load_checkpoint, load_into
from fasdk_engines.models.registry import get_family

TIED, KEPT = "model.visual.class_embedding", "class_token_1"


def network(name: str, seed: int) -> nn.Module:
    """A small network of a family; MMDG++'s class token is one parameter under two names."""
    family = get_family(name)
    torch.manual_seed(seed)
    module = family.build(list(family.configs.values())[-1])
    if name == "mmdgpp":
        module.class_token_1 = module.model.visual.class_embedding
    return module


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return OrderedDict((prefix + name, value) for name, value in tensors.items())


def mmda_best(module: nn.Module, folder: Path) -> Path:
    """MMDA, train.py: the unwrapped model's state dict, a file a head; the text tower is in it."""
    text = {
        "model.transformer.resblocks.0.ln_1.weight": torch.ones(4),
        "model.logit_scale": torch.tensor(4.6),
    }
    torch.save({**module.state_dict(), **text}, folder / "align7_best_AUC.pt")
    return folder / "align7_best_AUC.pt"


def dadm_best(module: nn.Module, folder: Path) -> Path:
    """DADM, step.py: a bare state dict."""
    torch.save(module.state_dict(), folder / "best_HTER.pt")
    return folder / "best_HTER.pt"


def utils_save_checkpoint(module: nn.Module, folder: Path) -> Path:
    """MMDA and DADM, utils_FAS_MultiModal.save_checkpoint: any dictionary, and a copy of it."""
    optimizer = torch.optim.Adam(module.parameters())
    state = {"epoch": 3, "state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, folder / "checkpoint.pth.tar")
    shutil.copyfile(folder / "checkpoint.pth.tar", folder / "model_best.pth.tar")
    return folder / "model_best.pth.tar"


def utils_save(module: nn.Module, folder: Path) -> Path:
    """MMDA and DADM, utils_FAS_MultiModal.save: a state dict under whatever name it is given."""
    torch.save(module.state_dict(), folder / "MMDG_P1_seed42")
    return folder / "MMDG_P1_seed42"


def flex_modal(module: nn.Module, folder: Path) -> Path:
    """Flex-Modal-FAS: a state dict called .pkl, of a model in DataParallel."""
    torch.save(nn.DataParallel(module).state_dict(), folder / "FlexModal_20.pkl")
    return folder / "FlexModal_20.pkl"


def silent_face(module: nn.Module, folder: Path) -> Path:
    """Silent-Face, train_main.py: DataParallel of the network beside its Fourier branch."""
    branch = {"module.FTGenerator.ft.0.weight": torch.rand(128, 128, 3, 3)}
    path = folder / "2026-01-01-00-00_Anti_Spoofing_2.7_80x80_model_iter-100.pth"
    torch.save({**under("module.model.", module.state_dict()), **branch}, path)
    return path


def distributed_with_arguments(module: nn.Module, folder: Path) -> Path:
    """A script's own dictionary: DistributedDataParallel, its arguments and its best figure."""
    state = {
        "model": under("module.", module.state_dict()),
        "args": argparse.Namespace(lr=5e-6, train_dataset=["C", "P", "S"], out=folder),
        "best_HTER": np.float64(0.2051),
        "auc": np.float32(0.9),
    }
    torch.save(state, folder / "latest")
    return folder / "latest"


def deepspeed(module: nn.Module, folder: Path) -> Path:
    """DeepSpeed, the plugin of MMDA's Accelerator: the model's part of a saved state."""
    state = {
        "module": module.state_dict(),
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [OrderedDict((n, p.shape) for n, p in module.named_parameters())],
        "shared_params": {},
        "sparse_tensor_module_names": set(),
        "global_steps": 100,
        "ds_config": {"train_batch_size": 24, "zero_optimization": {"stage": 2}},
        "ds_version": "0.14.4",
    }
    path = folder / "pytorch_model" / "mp_rank_00_model_states.pt"
    path.parent.mkdir()
    torch.save(state, path)
    return path


def safetensors_model(module: nn.Module, folder: Path) -> Path:
    """Accelerate's save_model and safetensors' save_model: of tied tensors the first by name."""
    safetensors.torch.save_model(module, str(folder / "model.safetensors"))
    return folder / "model.safetensors"


def compiled_safetensors(module: nn.Module, folder: Path) -> Path:
    """The same of a compiled model."""
    holder = nn.Module()
    holder._orig_mod = module
    safetensors.torch.save_model(holder, str(folder / "model.safetensors"))
    return folder / "model.safetensors"


def lightning(module: nn.Module, folder: Path) -> Path:
    """Lightning: the state dict of a module that holds the network."""
    state = {
        "state_dict": under("net.", module.state_dict()),
        "hyper_parameters": {"lr": np.float64(5e-5)},
        "pytorch-lightning_version": "2.5.0",
    }
    torch.save(state, folder / "epoch=7-step=900.ckpt")
    return folder / "epoch=7-step=900.ckpt"


Writer = Callable[[nn.Module, Path], Path]
FORMS: tuple[tuple[str, Writer, str], ...] = (
    ("mmda", mmda_best, ""),
    ("mmdg", dadm_best, ""),
    ("mmda", utils_save_checkpoint, "'state_dict.'"),
    ("mmdg", utils_save, ""),
    ("mmdg", flex_modal, "'module.'"),
    ("minifasnet-v2", silent_face, "'module.model.'"),
    ("bigmoe", distributed_with_arguments, "'model.module.'"),
    ("mmda", deepspeed, "'module.'"),
    ("mmdgpp", dadm_best, ""),
    ("mmdgpp", safetensors_model, ""),
    ("mmdgpp", compiled_safetensors, "'_orig_mod.'"),
    ("bigmoe", lightning, "'state_dict.net.'"),
)


@pytest.mark.parametrize(
    ("name", "write", "place"), FORMS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_published_scripts_file_loads_whole(name, write, place, tmp_path):
    module, other = network(name, seed=0), get_family(name)
    path = write(module, tmp_path)
    loaded = other.build(list(other.configs.values())[-1])
    notes = load_into(loaded, load_checkpoint(path), other)
    wanted = module.state_dict()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, wanted[key]), key
    said = [note for note in notes if note.startswith("weights are those under")]
    assert said == ([f"weights are those under {place}"] if place else [])


def test_safetensors_keeps_a_tied_tensor_under_one_name_and_it_is_found_under_either(tmp_path):
    module = network("mmdgpp", seed=0)
    path = safetensors_model(module, tmp_path)
    kept = safetensors.torch.load_file(path)
    assert KEPT in kept and TIED not in kept, "the case at hand"
    kept[TIED] = kept.pop(KEPT)
    safetensors.torch.save_file(kept, tmp_path / "other.safetensors")
    family = get_family("mmdgpp")
    for file in (path, tmp_path / "other.safetensors"):
        loaded = family.build(list(family.configs.values())[-1])
        load_into(loaded, load_checkpoint(file), family)
        assert torch.equal(loaded.model.visual.class_embedding, module.model.visual.class_embedding)


def test_a_pickled_model_is_code_and_its_message_has_the_command(tmp_path):
    torch.save(network("mmdg", seed=0), tmp_path / "mmdg.pth")
    with pytest.raises(CheckpointError, match=r"contains code .*`python -c .*then build from"):
        load_checkpoint(tmp_path / "mmdg.pth")
