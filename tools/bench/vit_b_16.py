"""ViT-B/16 of torch's own layers under torchvision's names, for published code."""

from __future__ import annotations

import torch
from torch import nn


class _VitBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(768, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(768, 12, batch_first=True)
        self.dropout = nn.Dropout(0.0)
        self.ln_2 = nn.LayerNorm(768, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(768, 3072),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(3072, 768),
            nn.Dropout(0.0),
        )


class VitB16(nn.Module):
    """Its parts under torchvision's names; the published models run them themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 768, 16, stride=16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 768))
        self.encoder = nn.Module()
        self.encoder.dropout = nn.Dropout(0.0)
        self.encoder.layers = nn.Sequential(*(_VitBlock() for _ in range(12)))
        self.encoder.ln = nn.LayerNorm(768, eps=1e-6)
