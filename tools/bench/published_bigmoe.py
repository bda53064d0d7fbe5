"""Published BIG-MoE (github.com/murInJ/BIG-MoE), run from a checkout for comparison."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vit_b_16 import VitB16


def load(folder: Path) -> nn.Module:
    """Return the published model on random weights, from its own file.

    What the file imports and this environment lacks is stood in for: a ViT-B/16 of torch's own
    layers under torchvision's names, and the three einops and einx patterns it uses, each as the
    torch call those libraries would make.

    Args:
        folder: A checkout of its repository.

    Raises:
        SystemExit: The folder holds no models/BIG_MoE.py.
    """
    stand_ins: dict[str, dict[str, Any]] = {
        "einx": {"add": _outer_add},
        "einops": {"einsum": _named_einsum},
        "einops.layers": {},
        "einops.layers.torch": {"Rearrange": _SplitQueries},
        "torchvision": {"models": types.SimpleNamespace(vit_b_16=lambda **_: VitB16())},
    }
    for name, members in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules.setdefault(name, module)
    path = folder / "models" / "BIG_MoE.py"
    spec = importlib.util.spec_from_file_location("published_bigmoe_code", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path} is not there: give a checkout of the published repository")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.BIG_MoE().eval()
    for name, parameter in model.named_parameters():
        if name.startswith("VP_learner.") and parameter.ndim in (3, 4) and "conv" not in name:
            nn.init.normal_(parameter, std=0.3)  # published as zeros: no constant prompt at all
    return model


def forward(model: nn.Module, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
    """Return the logits [B, 2] of one published evaluation forward."""
    logits: Tensor = model(rgb, ir, depth)["MIX"]
    return logits


def _outer_add(pattern: str, first: Tensor, second: Tensor) -> Tensor:
    if pattern != "... i, ... j -> ... (i j)":
        raise NotImplementedError(pattern)
    return (first[..., :, None] + second[..., None, :]).flatten(-2)


def _named_einsum(first: Tensor, second: Tensor, pattern: str) -> Tensor:
    # Its axes are all of one letter, as torch wants them.
    return torch.einsum(pattern.replace(" ", ""), first, second)


class _SplitQueries(nn.Module):
    """b n (p h d) -> p b n h d."""

    def __init__(self, pattern: str, p: int, h: int) -> None:
        super().__init__()
        if pattern != "b n (p h d) -> p b n h d":
            raise NotImplementedError(pattern)
        self.parts, self.heads = p, h

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        return x.reshape(batch, tokens, self.parts, self.heads, -1).permute(2, 0, 1, 3, 4)
