"""Layers of deployed forms: folded constants, and attention over stacked images.

A deployed form keeps its tokens as one matrix [N * S, width], token first, then sequence (modality,
then capture), so that every linear layer is one matrix product over all of them and attention reads
its heads in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_engines.models.layers import SelfAttention


def constant(value: Tensor) -> nn.Parameter:
    """Return a weight of a deployed form: a copy that is never trained."""
    return nn.Parameter(value.detach().clone().contiguous(), requires_grad=False)


def block_diagonal(weights: Sequence[Tensor]) -> Tensor:
    """Return [out, in] weights as one block-diagonal matrix [all in, all out]."""
    diagonal: Tensor = torch.block_diag(*(w.detach().T for w in weights))  # type: ignore[no-untyped-call]
    return diagonal


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x), element-wise."""
    return x * torch.sigmoid(1.702 * x)


def patches(image: Tensor, patch: int) -> Tensor:
    """Return the squares of an image as rows, patch first: [G * G, B, 3 * patch * patch].

    Args:
        image: [B, 3, H, W], H = W a multiple of `patch`.
        patch: Side of a square in pixels; G is how many there are along a side.
    """
    grid = int(image.shape[2]) // patch  # a constant of the graph; only the batch varies
    squares = image.reshape(-1, 3, grid, patch, grid, patch).permute(2, 4, 0, 1, 3, 5)
    return squares.reshape(grid * grid, -1, 3 * patch * patch)


class StackedAttention(nn.Module):
    """Multi-head self-attention on [N * S, width], its constants folded.

    The query carries the scale; the value's bias moves behind the weights, which sum to 1, and so
    into the output's bias; the key's bias adds the same to a whole row of scores, which softmax
    ignores.

    Args:
        attention: The trained layer, left as it is.
        tokens: Number of tokens N of each image.
    """

    def __init__(self, attention: SelfAttention, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.heads = attention.heads
        self.width = attention.in_proj_weight.shape[1]
        query, key, value = attention.in_proj_weight.detach().chunk(3)
        query_bias, _, value_bias = attention.in_proj_bias.detach().chunk(3)
        scale = (self.width // self.heads) ** -0.5
        out = attention.out_proj
        self.query = constant(query.T * scale)
        self.query_bias = constant(query_bias * scale)
        self.key = constant(key.T)
        self.value = constant(value.T)
        self.out = constant(out.weight.detach().T)
        folded = out.bias.detach().double() + out.weight.detach().double() @ value_bias.double()
        self.out_bias = constant(folded.to(out.bias.dtype))

    def forward(self, normed: Tensor) -> Tensor:
        """Attend over [N * S, width]; same shape."""
        tokens, head = self.tokens, self.width // self.heads
        query = torch.addmm(self.query_bias, normed, self.query).reshape(tokens, -1, head)
        key = (normed @ self.key).reshape(tokens, -1, head)
        value = (normed @ self.value).reshape(tokens, -1, head)
        weights = (query.transpose(0, 1) @ key.permute(1, 2, 0)).softmax(dim=-1)
        mixed = (weights @ value.transpose(0, 1)).transpose(0, 1).reshape(-1, self.width)
        return torch.addmm(self.out_bias, mixed, self.out)


class ClassTokenAttention(StackedAttention):
    """Attention for the class tokens alone, for a last block whose other outputs are not read.

    With one query per sequence, keys and values need not be formed: the query is multiplied by the
    key's weights and then by the tokens, and the value's weights are applied to the weighted sum.
    """

    def __init__(self, attention: SelfAttention, tokens: int) -> None:
        super().__init__(attention, tokens)
        head = self.width // self.heads
        by_head = (self.width, self.heads, head)
        self.key = constant(self.key.reshape(by_head).permute(1, 2, 0))  # [heads, head, width]
        self.value = constant(self.value.reshape(by_head).permute(1, 0, 2))  # [heads, width, head]

    def forward(self, normed: Tensor) -> Tensor:
        """Attend over [N * S, width] from token 0; return [S, width]."""
        head = self.width // self.heads
        by_token = normed.reshape(self.tokens, -1, self.width)
        query = torch.addmm(self.query_bias, by_token[0], self.query)
        asked = query.reshape(-1, self.heads, head).transpose(0, 1) @ self.key  # [heads, S, width]
        weights = (asked.transpose(0, 1) @ by_token.permute(1, 2, 0)).softmax(dim=-1)
        mixed = (weights @ by_token.transpose(0, 1)).transpose(0, 1) @ self.value
        return torch.addmm(self.out_bias, mixed.transpose(0, 1).reshape(-1, self.width), self.out)
