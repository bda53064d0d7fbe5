"""Published MMDA (github.com/murInJ/MMDA), run from a checkout for comparison."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def load(folder: Path) -> nn.Module:
    """Return the published model on random weights, from its own files.

    Its files run as they are, text tower, tokenizer and all alignment stages included. What they
    import and this environment lacks is stood in for by plain torch, which is no slower; CLIP's
    weights are random instead of downloaded.

    Args:
        folder: A checkout of its repository.

    Raises:
        SystemExit: The folder holds no models/framework/MMDA.py.
    """
    path = folder / "models" / "framework" / "MMDA.py"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: give a checkout of the published repository")
    lent = {name: _module(name, members) for name, members in _stand_ins().items()}
    lent = {name: module for name, module in lent.items() if name not in sys.modules}
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    sys.path.insert(0, str(folder))
    sys.modules.update(lent)
    try:
        clip = importlib.import_module("models.network.clip.clip")
        towers = importlib.import_module("models.network.clip.model")
        published = importlib.import_module("models.framework.MMDA")
    finally:
        sys.path.remove(str(folder))
        for name in lent:  # others look for the real ones
            del sys.modules[name]
    clip.__dict__["load"] = lambda *_: (towers.CLIP(*_VIT_B_16), None)
    model: nn.Module = published.MMDA().eval()
    for parameter in model.parameters():
        if not parameter.any():  # zeros would hide what they belong to
            nn.init.normal_(parameter, std=0.02)
    return model


def forward(model: nn.Module, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
    """Return the logits [B, 2] of one published evaluation forward, all captures of one domain.

    The model draws at random which second experts it uses, so two forwards may differ.
    """
    logits: Tensor = model(rgb, depth, ir, torch.zeros(len(rgb), 1))["cls"]
    return logits


# Feature width; image side, blocks, width and patch; text length, vocabulary, width, heads, blocks.
_VIT_B_16 = (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
_Chosen = namedtuple("_Chosen", ["values", "indices", "coor_descent_values"])


def _stand_ins() -> dict[str, dict[str, Any]]:
    """Return, by module name, the members the published files use of what may not be installed."""
    transforms = dict.fromkeys(("Compose", "Resize", "CenterCrop", "ToTensor", "Normalize"))
    image = types.SimpleNamespace(BICUBIC=None)
    interpolation = types.SimpleNamespace(BICUBIC=None)
    unused = dict.fromkeys(("repeat", "pack", "unpack"))
    return {
        "beartype": {"beartype": lambda function: function},
        "colt5_attention": {"topk": _topk},
        "einops": {"rearrange": _rearrange, "reduce": _reduce, **unused},
        "einx": {"divide": _divide, "multiply": _multiply},
        "ftfy": {"fix_text": lambda text: text},  # plain ASCII has nothing to mend
        "PIL": {"Image": image},
        "regex": {
            "IGNORECASE": re.IGNORECASE,
            "compile": _compile,
            "findall": re.findall,
            "sub": re.sub,
        },
        "torchvision": {},
        "tqdm": {"tqdm": None},
        "torchvision.transforms": {**transforms, "InterpolationMode": interpolation},
    }


def _module(name: str, members: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    return module


def _topk(x: Tensor, k: int, **_: bool) -> _Chosen:
    values, indices = x.topk(k, dim=-1)
    return _Chosen(values, indices, None)


_REARRANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "... k -> k ...": lambda x: x.movedim(-1, 0),
    "... -> ... 1": lambda x: x[..., None],
    "b e n d -> e b n d": lambda x: x.transpose(0, 1),
    "e b n d -> b e n d": lambda x: x.transpose(0, 1),
}
_SUMMED: dict[str, Callable[[Tensor], Tensor]] = {
    "k ... -> 1 ...": lambda x: x.sum(0, keepdim=True),
    "... n e -> ... 1 e": lambda x: x.sum(-2, keepdim=True),
    "... n e -> ... n": lambda x: x.sum(-1),
    "k b n e c -> b n e c": lambda x: x.sum(0),
}


def _rearrange(x: Tensor, pattern: str) -> Tensor:
    return _REARRANGED[pattern](x)


def _reduce(x: Tensor, pattern: str, reduction: str) -> Tensor:
    if reduction != "sum":
        raise NotImplementedError(f"{reduction}: evaluation only sums")
    return _SUMMED[pattern](x)


def _divide(_: str, gates: Tensor, threshold: Tensor) -> Tensor:
    """Divide [k, b, n] by [k]."""
    return gates / threshold[:, None, None]


def _multiply(_: str, gates: Tensor, mask: Tensor, expert: Tensor, slot: Tensor) -> Tensor:
    """Multiply [k, b, n] twice, [k, b, n, e] and [k, b, n, c] into [k, b, n, e, c]."""
    return (gates * mask)[..., None, None] * expert[..., None] * slot[..., None, :]


def _compile(pattern: str, flags: int) -> re.Pattern[str]:
    """Compile the tokenizer's pattern, whose classes of letters and numbers `re` lacks."""
    whole = pattern.replace(r"[^\s\p{L}\p{N}]", r"(?:[^\s\w]|_)").replace(r"[\p{L}]", r"[^\W\d_]")
    return re.compile(whole.replace(r"[\p{N}]", r"\d"), flags)
