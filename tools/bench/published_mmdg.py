"""Published MMDG (github.com/OMGGGGG/mmdg), run from a checkout for comparison."""

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
    layers under torchvision's names, dropout that is always on, and nothing for what it never
    calls.

    Args:
        folder: A checkout of its repository.

    Raises:
        SystemExit: The folder holds no models/u_adapter.py.
    """
    stand_ins: dict[str, dict[str, Any]] = {
        "baal": {},
        "baal.bayesian": {},
        "baal.bayesian.dropout": {"Dropout": _AlwaysDropout},
        "timm": {},
        "torchsnooper": {},
        "torchvision": {"models": types.SimpleNamespace(vit_b_16=lambda **_: VitB16())},
    }
    for name, members in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules.setdefault(name, module)
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    path = folder / "models" / "u_adapter.py"
    spec = importlib.util.spec_from_file_location("published_mmdg_code", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path} is not there: give a checkout of the published repository")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.MMDG().eval()
    for name, parameter in model.named_parameters():
        if "adapter_up" in name:  # published as zeros, which would hide the adapters
            nn.init.normal_(parameter, std=0.3)
    return model


def forward(model: nn.Module, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
    """Return the logits [B, 2] of one published evaluation forward."""
    logits: Tensor = model(rgb, depth, ir)["out_all"]
    return logits


class _AlwaysDropout(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.p, training=True)
