"""Published MMDG++ (github.com/lxbuaa/mmdg_plus_plus), run from a checkout for comparison."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections import OrderedDict
from importlib.machinery import SourceFileLoader
from pathlib import Path

import torch
from torch import Tensor, nn


def load(folder: Path) -> nn.Module:
    """Return the published model on random weights, from its own file.

    What the file imports and this environment lacks is stood in for: CLIP ViT-B/16 of torch's own
    layers under CLIP's names, the text tower holding its weights only, since evaluation never
    calls it, and a tracing decorator that traces nothing.

    Args:
        folder: A checkout of its repository.

    Raises:
        SystemExit: The folder holds no models/mmdg_plus_plus.
    """
    path = folder / "models" / "mmdg_plus_plus"  # a Python file without a suffix
    if not path.is_file():
        raise SystemExit(f"{path} is not there: give a checkout of the published repository")
    clip = types.ModuleType("clip")
    clip.__dict__["load"] = lambda *_, **__: (_Clip(), None)
    snooper = types.ModuleType("torchsnooper")
    snooper.__dict__["snoop"] = lambda *_, **__: lambda function: function
    sys.modules.setdefault("clip", clip)
    sys.modules.setdefault("torchsnooper", snooper)
    loader = SourceFileLoader("published_mmdgpp_code", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    if spec is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    model: nn.Module = module.MMDG_PP().eval()
    for name, parameter in model.named_parameters():
        if "adapter_up" in name:  # published as zeros, which would hide the adapters
            nn.init.normal_(parameter, std=0.3)
    return model


def forward(model: nn.Module, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
    """Return the logits [B, 2] of one published evaluation forward."""
    logits: Tensor = model.forward_test(rgb, depth, ir)["out_all"]  # type: ignore[operator]
    return logits


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        layers = {
            "c_fc": nn.Linear(width, 4 * width),
            "gelu": _QuickGelu(),
            "c_proj": nn.Linear(4 * width, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)

    def attention(self, x: Tensor) -> Tensor:
        attended: Tensor = self.attn(x, x, x, need_weights=False)[0]
        return attended


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.resblocks = nn.Sequential(*(_Block(width, heads) for _ in range(layers)))


class _Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        scale = 768**-0.5
        self.conv1 = nn.Conv2d(3, 768, 16, stride=16, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(768))
        self.positional_embedding = nn.Parameter(scale * torch.randn(197, 768))
        self.ln_pre = nn.LayerNorm(768)
        self.transformer = _Transformer(768, 12, 12)
        self.ln_post = nn.LayerNorm(768)
        self.proj = nn.Parameter(scale * torch.randn(768, 512))


class _Clip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = _Visual()
        self.transformer = _Transformer(512, 8, 12)
        self.token_embedding = nn.Embedding(49408, 512)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(77, 512))
        self.ln_final = nn.LayerNorm(512)
        self.text_projection = nn.Parameter(512**-0.5 * torch.randn(512, 512))
        self.logit_scale = nn.Parameter(torch.tensor(2.6592600))
