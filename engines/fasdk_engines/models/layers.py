"""Layers shared by the published forms, with the parameter names of their checkpoints."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

# (regular expression, replacement): names of `EncoderBlock` in torchvision before 0.12.
TORCHVISION_OLDER_NAMES = (
    (r"\.mlp\.linear_1\.", ".mlp.0."),
    (r"\.mlp\.linear_2\.", ".mlp.3."),
)


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), element-wise."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return x * torch.sigmoid(1.702 * x)


class CentralDifferenceConv(nn.Module):
    """3x3 convolution minus `theta` times its response to a constant (Yu et al., CVPR 2020).

    Args:
        channels: Number of input channels.
        theta: Share of the central difference, in [0, 1].
        out_channels: Output channels; as many as there are input channels unless given.
    """

    def __init__(self, channels: int, theta: float, out_channels: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels or channels, 3, padding=1, bias=False)
        self.theta = theta

    def forward(self, x: Tensor) -> Tensor:
        """Convolve float [B, C, H, W], zero-padded."""
        total = self.conv.weight.sum((2, 3), keepdim=True)
        difference: Tensor = self.conv(x) - self.theta * functional.conv2d(x, total)
        return difference

    def folded_weight(self) -> Tensor:
        """Return the one 3x3 kernel [out, in, 3, 3] that does the same."""
        weight = self.conv.weight.detach().double()
        folded = weight.clone()
        folded[:, :, 1, 1] -= self.theta * weight.sum((2, 3))
        return folded.to(self.conv.weight.dtype)


def convolve_tokens(conv: CentralDifferenceConv, tokens: Tensor) -> Tensor:
    """Convolve an adapter's tokens: the patches as one map, the class token as a map of one pixel.

    Args:
        conv: Convolution of the adapter.
        tokens: float [B, 1 + G * G, C], class token first.

    Returns:
        float [B, 1 + G * G, C].
    """
    batch, count, dim = tokens.shape
    grid = math.isqrt(count - 1)
    patches = tokens[:, 1:].reshape(batch, grid, grid, dim).permute(0, 3, 1, 2)
    patches = conv(patches).permute(0, 2, 3, 1).reshape(batch, -1, dim)
    class_token = tokens[:, :1].reshape(batch, 1, 1, dim).permute(0, 3, 1, 2)
    class_token = conv(class_token).reshape(batch, 1, dim)
    return torch.cat([class_token, patches], dim=1)


class SelfAttention(nn.Module):
    """Multi-head self-attention with torch's parameter names, queries, keys and values stacked.

    Args:
        width: Number of channels of a token.
        heads: Number of heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend over float [B, N, width], same shape; `mask` [N, N] is added to the scores."""
        batch, tokens, width = x.shape
        stacked = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        split = stacked.reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        projected: Tensor = self.out_proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class EncoderBlock(nn.Module):
    """One pre-norm ViT block's parameters under torchvision's names; the model runs the parts.

    Args:
        width: Number of channels of a token.
        heads: Number of attention heads.
        mlp_width: Hidden width of the perceptron.
    """

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        expand, contract = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        for layer in (expand, contract):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)
        # Position 2 is a dropout of probability 0 in torchvision; `mlp.3` keeps its name.
        self.mlp = nn.Sequential(expand, nn.GELU(), nn.Identity(), contract)
