"""CLIP's visual and text towers under OpenAI's parameter names (Radford et al., ICML 2021).

The visual tower carries MMDG++ and MMDA; the text tower only steers their training.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from fasdk_engines.models.layers import QuickGelu, SelfAttention


class ClipBlock(nn.Module):
    """One pre-norm block's parameters; models that put adapters inside run the parts.

    Args:
        width: Number of channels of a token.
        heads: Attention heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        parts = {
            "c_fc": nn.Linear(width, 4 * width),
            "gelu": QuickGelu(),
            "c_proj": nn.Linear(4 * width, width),
        }
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform float [B, N, width]; `mask` [N, N] is added to the scores."""
        x = x + self.attn(self.ln_1(x), mask)
        transformed: Tensor = x + self.mlp(self.ln_2(x))
        return transformed


class ClipTransformer(nn.Module):
    """A stack of blocks.

    Args:
        width: Number of channels of a token.
        heads: Number of attention heads.
        depth: Number of blocks.
    """

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(ClipBlock(width, heads) for _ in range(depth)))

    @property
    def blocks(self) -> list[ClipBlock]:
        """The blocks, in order."""
        return [block for block in self.resblocks if isinstance(block, ClipBlock)]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform float [B, N, width]."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class ClipVision(nn.Module):
    """CLIP's visual tower; ViT-B/16 is image_size 224, patch 16, width 768, depth 12, heads 12.

    Args:
        image_size: Side of the square input in pixels, a multiple of `patch_size`.
        patch_size: Side of a patch in pixels.
        width: Number of channels of a token.
        depth: Number of blocks.
        heads: Number of attention heads.
        feature_width: Width of an image's feature.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        feature_width: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        scale = width**-0.5
        tokens = (image_size // patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = ClipTransformer(width, heads, depth)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, feature_width))

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature [B, feature_width] of images [B, 3, H, W]."""
        squares = self.conv1(image).flatten(2).transpose(1, 2)
        class_token = self.class_embedding.expand(image.shape[0], 1, -1)
        tokens = torch.cat([class_token, squares], dim=1) + self.positional_embedding
        tokens = self.transformer(self.ln_pre(tokens))
        feature: Tensor = self.ln_post(tokens[:, 0]) @ self.proj
        return feature


class ClipText(nn.Module):
    """CLIP's text tower, its parameters named as at the top of CLIP's state dict.

    Args:
        vocabulary: Number of token ids; OpenAI's is 49,408.
        context: Longest text in tokens; OpenAI's is 77.
        width: Number of channels of a token.
        depth: Number of blocks.
        heads: Number of attention heads.
        feature_width: Width of a text's feature.
    """

    def __init__(
        self, vocabulary: int, context: int, width: int, depth: int, heads: int, feature_width: int
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width).normal_(std=0.01))
        self.transformer = ClipTransformer(width, heads, depth)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(
            torch.empty(width, feature_width).normal_(std=width**-0.5)
        )
        self.logit_scale = nn.Parameter(torch.tensor(2.6592600))  # log(1 / 0.07)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, embeddings: Tensor, last: Tensor) -> Tensor:
        """Return the feature of each text.

        Args:
            embeddings: [B, context, width], token embeddings, learned prompts put in their places.
            last: int64 [B], position of each text's end token.

        Returns:
            [B, feature_width], not normalized.
        """
        context = embeddings.shape[1]
        mask = torch.full((context, context), float("-inf"), device=embeddings.device).triu(1)
        hidden = self.transformer(embeddings + self.positional_embedding[:context], mask)
        rows = torch.arange(len(hidden), device=hidden.device)
        feature: Tensor = self.ln_final(hidden[rows, last]) @ self.text_projection
        return feature
