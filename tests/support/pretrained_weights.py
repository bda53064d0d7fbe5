"""Small weights under torchvision's and OpenAI's names."""

from __future__ import annotations

import torch
from torch import Tensor

from fasdk_engines.models.clip import ClipText, ClipVision
from fasdk_engines.models.layers import EncoderBlock
from fasdk_engines.models.registry import get_family

WIDTH, DEPTH, PATCH, TOKENS, FEATURE = 64, 2, 16, 17, 32


def torchvision_vit(mlp_width: int, depth: int = DEPTH) -> dict[str, Tensor]:
    """A ViT's state dict as torchvision names it."""
    torch.manual_seed(1)
    found = {
        "class_token": torch.randn(1, 1, WIDTH),
        "conv_proj.weight": torch.randn(WIDTH, 3, PATCH, PATCH),
        "conv_proj.bias": torch.randn(WIDTH),
        "encoder.pos_embedding": torch.randn(1, TOKENS, WIDTH),
        "encoder.ln.weight": torch.randn(WIDTH),
        "encoder.ln.bias": torch.randn(WIDTH),
        "heads.head.weight": torch.randn(10, WIDTH),
        "heads.head.bias": torch.randn(10),
    }
    for index in range(depth):
        block = EncoderBlock(WIDTH, 4, mlp_width)
        for name, value in block.state_dict().items():
            found[f"encoder.layers.encoder_layer_{index}.{name}"] = value.clone()
    return found


def openai_clip(feature_width: int, *, half: bool = True) -> dict[str, Tensor]:
    """A CLIP's state dict as OpenAI names it, in half precision as they publish it."""
    torch.manual_seed(1)
    vision = ClipVision(64, PATCH, WIDTH, DEPTH, 1, feature_width)
    text = ClipText(515, 77, 64, 2, 1, feature_width)
    found = {f"visual.{name}": value.clone() for name, value in vision.state_dict().items()}
    found |= {name: value.clone() for name, value in text.state_dict().items()}
    if half:
        found = {name: value.half() for name, value in found.items()}
    return found | {"input_resolution": torch.tensor(64), "context_length": torch.tensor(77)}


def source_of(name: str) -> dict[str, Tensor]:
    config = get_family(name).configs["tiny"]
    if name in ("mmdg", "bigmoe"):
        return torchvision_vit(config.mlp_width, config.depth)
    return openai_clip(config.feature_width)
