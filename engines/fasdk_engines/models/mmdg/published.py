"""Published form of MMDG: a ViT shared by RGB, depth and IR, joined by U-Adapters.

Lin et al., Suppress and Rebalance: Towards Generalized Multi-Modal Face Anti-Spoofing, CVPR 2024.
The published evaluation samples dropout to estimate how certain each token is; here that is its
exact expectation (`expectation.py`), so a score is a function of the capture alone.

`certainty` is the last block's, averaged over a modality's tokens. By its form, exp(-c |x|) of what
attention gives, it is high where that is quiet: spoilt depth does not lower it and noisy infrared
raises it, so it does not tell whether a sensor works. It is no probability, not comparable between
models or modalities, and says nothing about whether the face is genuine. A modality filled with its
missing value still gets a number; `modalities` in a decision says what was really there.
"""

from __future__ import annotations

from itertools import starmap

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.layers import (
    CentralDifferenceConv,
    EncoderBlock,
    QuickGelu,
    convolve_tokens,
)
from fasdk_engines.models.mmdg.config import MmdgConfig
from fasdk_engines.models.mmdg.deployed import DeployedMmdg


class CrossAttention(nn.Module):
    """Attention of one modality's queries over another's tokens, sharpened by certainty (eq. 4)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(dim, dim, bias=False)
        self.k_linear = nn.Linear(dim, dim, bias=False)
        self.v_linear = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, other: Tensor, own: Tensor, certainty: Tensor) -> Tensor:
        """Attend; `other` and `own` are [B, N, dim], `certainty` [B, N] is one factor a query."""
        batch, tokens, dim = other.shape

        def split(x: Tensor) -> Tensor:
            return x.reshape(batch, tokens, self.heads, -1).transpose(1, 2)

        query, key, value = (
            split(self.q_linear(other)),
            split(self.k_linear(own)),
            split(self.v_linear(own)),
        )
        # One factor a query scales its whole row of scores, so it may scale the query itself.
        mixed = functional.scaled_dot_product_attention(
            query * certainty[:, None, :, None], key, value
        )
        attended = mixed.transpose(1, 2).reshape(batch, tokens, dim)
        projected: Tensor = self.proj(attended)
        return projected


class UncertaintyAdapter(nn.Module):
    """U-Adapter: what one modality takes over from another, weighed by the other's certainty."""

    def __init__(self, config: MmdgConfig) -> None:
        super().__init__()
        dim = config.adapter_dim
        self.adapter_conv = CentralDifferenceConv(dim, config.adapter_theta)
        self.cross_attention = CrossAttention(dim, config.adapter_heads)
        self.ln_before = nn.LayerNorm(dim)
        self.adapter_down_1 = nn.Linear(config.width, dim)
        self.adapter_down_2 = nn.Linear(config.width, dim)
        self.adapter_up = nn.Linear(dim, config.width)
        self.act = QuickGelu()
        self.dropout = nn.Dropout(config.adapter_dropout)
        for down in (self.adapter_down_1, self.adapter_down_2):
            nn.init.xavier_uniform_(down.weight)
            nn.init.zeros_(down.bias)
        # An untrained adapter adds nothing.
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def forward(self, own: Tensor, other: Tensor, certainty: Tensor) -> Tensor:
        """Return what is added to `own`.

        Args:
            own: [B, N, width], the modality that receives.
            other: [B, N, width], the modality that is asked.
            certainty: [B, N] of the other modality's tokens, in [0, 1].
        """
        keys = self.act(self.adapter_down_1(own))
        queries = self.act(self.adapter_down_2(other))
        mixed = self.ln_before(self.cross_attention(queries, keys, certainty) + keys)
        joined = self.act(convolve_tokens(self.adapter_conv, mixed))
        received: Tensor = self.adapter_up(self.dropout(joined))
        return received


class Mmdg(PublishedModule):
    """MMDG under its published parameter names; trains and evaluates.

    Args:
        config: Settings of the model.
    """

    def __init__(self, config: MmdgConfig) -> None:
        super().__init__()
        self.config = config
        self._certainty = config.certainty
        width, patch = config.width, config.patch_size
        for index in (1, 2, 3):
            patchify = nn.Conv2d(3, width, patch, stride=patch)
            nn.init.trunc_normal_(patchify.weight, std=(3 * patch * patch) ** -0.5)
            nn.init.zeros_(patchify.get_parameter("bias"))
            setattr(self, f"conv_proj{index}", patchify)
            setattr(self, f"class_token{index}", nn.Parameter(torch.zeros(1, 1, width)))
            position = nn.Parameter(torch.empty(1, config.tokens, width).normal_(std=0.02))
            setattr(self, f"pos_embedding{index}", position)
        # Position 0 is a dropout of probability 0 in torchvision: the blocks count from 1.
        self.ViT_Encoder = nn.Sequential(
            nn.Identity(),
            *(EncoderBlock(width, config.heads, config.mlp_width) for _ in range(config.depth)),
            nn.LayerNorm(width, eps=1e-6),
        )
        self.fc_all = nn.Sequential(nn.Linear(3 * width, 2))

        def stack() -> nn.Sequential:
            return nn.Sequential(*(UncertaintyAdapter(config) for _ in range(config.depth)))

        # adapter_X_Y_2 adds to modality X what it takes from Y; 1 RGB, 2 depth, 3 IR.
        self.adapter_1_2_2 = stack()
        self.adapter_2_1_2 = stack()
        self.adapter_1_3_2 = stack()
        self.adapter_3_1_2 = stack()

    @property
    def blocks(self) -> list[EncoderBlock]:
        """The transformer blocks, in order."""
        return [layer for layer in self.ViT_Encoder if isinstance(layer, EncoderBlock)]

    def adapters(self, index: int) -> list[UncertaintyAdapter]:
        """Return a block's adapters: RGB from depth, RGB from IR, depth from RGB, IR from RGB."""
        found = (
            self.get_submodule(f"adapter_{pair}_2.{index}") for pair in ("1_2", "1_3", "2_1", "3_1")
        )
        return [adapter for adapter in found if isinstance(adapter, UncertaintyAdapter)]

    def embed(self, index: int, image: Tensor) -> Tensor:
        """Return the tokens [B, N, width] of modality `index` (0 RGB, 1 depth, 2 IR)."""
        patchify = getattr(self, f"conv_proj{index + 1}")
        class_token = getattr(self, f"class_token{index + 1}")
        patches = patchify(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([class_token.expand(image.shape[0], -1, -1), patches], dim=1)
        embedded: Tensor = tokens + getattr(self, f"pos_embedding{index + 1}")
        return embedded

    def encode(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Run the blocks.

        Args:
            inputs: float32 [B, 3, H, W] for RGB, depth, IR, normalized.

        Returns:
            Class tokens [B, 3, width], and the last block's certainty by token [B, 3, N].
        """
        rgb, depth, ir = starmap(self.embed, enumerate(inputs))
        certainties: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            hidden, certainties = [], []
            for tokens in (rgb, depth, ir):
                attended = block.self_attention(block.ln_1(tokens))
                certainties.append(self._certainty(attended).mean(dim=-1))
                hidden.append(tokens + attended)
            normed = [block.ln_2(h) for h in hidden]
            rgb, depth, ir = (h + block.mlp(y) for h, y in zip(hidden, normed, strict=True))
            y_rgb, y_depth, y_ir = normed
            c_rgb, c_depth, c_ir = certainties
            from_depth, from_ir, into_depth, into_ir = self.adapters(index)
            rgb = rgb + from_depth(y_rgb, y_depth, c_depth) + from_ir(y_rgb, y_ir, c_ir)
            depth = depth + into_depth(y_depth, y_rgb, c_rgb)
            ir = ir + into_ir(y_ir, y_rgb, c_rgb)
        classes = torch.stack([rgb[:, 0], depth[:, 0], ir[:, 0]], dim=1)
        final_norm = self.ViT_Encoder[-1]
        return final_norm(classes), torch.stack(certainties, dim=1)

    def features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier sees and what ReGrad weighs gradients by.

        Args:
            inputs: float32 [B, 3, H, W] for RGB, depth, IR, normalized.

        Returns:
            Class tokens [B, 3, width], and the last block's certainty of each [B, 3].
        """
        features, certainty = self.encode(*inputs)
        return features, certainty[:, :, 0]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        features, certainty = self.encode(*inputs)
        return self.fc_all(features.flatten(1)), certainty.mean(dim=2)

    def deployed(self) -> nn.Module:
        """Return the same function rearranged for speed."""
        return DeployedMmdg(self).eval()
