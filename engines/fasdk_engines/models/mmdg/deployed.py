"""Deployed form of MMDG: the same function up to rounding, in few large operators.

Tokens are kept as one matrix [N * 3 * B, width], token first, then modality, then capture: every
linear layer is one matrix product over all three modalities, and attention reads its heads in
place. What is constant is folded: the class token and the patch bias into the positions, the
query's scale, the value's bias (attention weights sum to 1), the key's bias away (softmax ignores
what is equal along a row), the central difference into the kernel, the adapters' output biases
into one product. The last block computes only the class token after its attention.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.deployed_layers import (
    StackedAttention,
    block_diagonal,
    constant,
    patches,
    quick_gelu,
)
from fasdk_engines.models.layers import EncoderBlock
from fasdk_engines.models.mmdg.config import DIRECTIONS, MODALITIES
from fasdk_engines.models.mmdg.expectation import shortened

if TYPE_CHECKING:
    from fasdk_engines.models.mmdg.config import MmdgConfig

    # For annotations alone: the published form imports this module.
    from fasdk_engines.models.mmdg.published import Mmdg, UncertaintyAdapter

_MODALITIES = len(MODALITIES)


class DeployedMmdg(nn.Module):
    """MMDG for export; holds its own copy of the weights.

    Args:
        published: The trained model, left as it is.
    """

    def __init__(self, published: Mmdg) -> None:
        super().__init__()
        config = published.config
        self.config = config
        self.patchify = nn.ParameterList()
        positions = []
        for index in (1, 2, 3):
            conv = getattr(published, f"conv_proj{index}")
            self.patchify.append(constant(conv.weight.detach().flatten(1).T))
            position = getattr(published, f"pos_embedding{index}").detach()[0].clone()
            position[0] += getattr(published, f"class_token{index}").detach()[0, 0]
            position[1:] += conv.bias.detach()
            positions.append(position)
        self.position = constant(torch.stack(positions, dim=1)[:, :, None, :])
        blocks = published.blocks
        self.blocks = nn.ModuleList(
            _Block(config, block, published.adapters(index), last=index == len(blocks) - 1)
            for index, block in enumerate(blocks)
        )
        self.final_norm = copy.deepcopy(published.ViT_Encoder[-1])
        self.classify = copy.deepcopy(published.fc_all[0])

    def forward(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        tokens = self._embed((rgb, depth, ir))
        certainty = tokens
        for block in self.blocks:
            tokens, certainty = block(tokens)
        width = self.config.width
        classes = self.final_norm(tokens).reshape(_MODALITIES, -1, width)
        logits = self.classify(classes.transpose(0, 1).reshape(-1, _MODALITIES * width))
        certainty = certainty.reshape(self.config.tokens, _MODALITIES, -1).mean(dim=0)
        return logits, certainty.transpose(0, 1)

    def _embed(self, images: tuple[Tensor, ...]) -> Tensor:
        """Return [N * 3 * B, width]."""
        patch, width = self.config.patch_size, self.config.width
        embedded = []
        for image, weight in zip(images, self.patchify, strict=True):
            embedded.append((patches(image, patch) @ weight)[:, None])
        # A row of zeros in front is where the position table adds the class tokens.
        tokens = functional.pad(torch.cat(embedded, dim=1), (0, 0, 0, 0, 0, 0, 1, 0))
        return (tokens + self.position).reshape(-1, width)


class _Block(nn.Module):
    """One transformer block with its four adapters."""

    def __init__(
        self,
        config: MmdgConfig,
        block: EncoderBlock,
        adapters: list[UncertaintyAdapter],
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.last = last
        self.ln_1 = copy.deepcopy(block.ln_1)
        self.attention = StackedAttention(block.self_attention, config.tokens)
        self.certainty = shortened(config.certainty)
        self.ln_2 = copy.deepcopy(block.ln_2)
        self.expand = constant(block.mlp.get_parameter("0.weight").T)
        self.expand_bias = constant(block.mlp.get_parameter("0.bias"))
        self.contract = constant(block.mlp.get_parameter("3.weight").T)
        self.adapters = _Adapters(config, adapters, block.mlp.get_parameter("3.bias").detach())

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens after the block and their certainty [N * 3 * B, 1]."""
        normed = self.ln_1(tokens)
        attended = self.attention(normed)
        certainty = self._mean_certainty(attended)
        hidden = tokens + attended
        normed = self.ln_2(hidden)
        if self.last:
            received = self.adapters.class_token(normed, certainty)
            hidden, normed = self._class_rows(hidden), self._class_rows(normed)
        else:
            received = self.adapters(normed, certainty)
        inner = functional.gelu(normed @ self.expand + self.expand_bias)
        # The residual rides along as each product's addend.
        residual = torch.addmm(hidden, received, self.adapters.up)
        return torch.addmm(residual, inner, self.contract), certainty

    def _mean_certainty(self, attended: Tensor) -> Tensor:
        rates, weights = self.certainty.rates, self.certainty.weights
        if not rates:  # a dropout of probability 0: always certain
            return torch.full_like(attended[:, :1], self.certainty.floor)
        magnitude = attended.abs()
        total = weights[0] * torch.exp(magnitude * -rates[0]).mean(dim=-1, keepdim=True)
        for rate, weight in zip(rates[1:], weights[1:], strict=True):
            total = total + weight * torch.exp(magnitude * -rate).mean(dim=-1, keepdim=True)
        return total + self.certainty.floor

    def _class_rows(self, x: Tensor) -> Tensor:
        return x.reshape(self.config.tokens, -1, self.config.width)[0]


class _Adapters(nn.Module):
    """The four adapters of a block side by side: channels [direction, channel], 4 * dim wide."""

    def __init__(
        self, config: MmdgConfig, adapters: list[UncertaintyAdapter], output_bias: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        dim, four = config.adapter_dim, len(DIRECTIONS)
        attentions = [a.cross_attention for a in adapters]
        downs = [a.adapter_down_1 for a in adapters] + [a.adapter_down_2 for a in adapters]
        self.down = constant(torch.cat([d.weight.detach() for d in downs]).T)
        self.down_bias = constant(torch.cat([d.bias.detach() for d in downs]))
        scale = (dim // config.adapter_heads) ** -0.5
        self.query = constant(block_diagonal([a.q_linear.weight * scale for a in attentions]))
        self.key = constant(block_diagonal([a.k_linear.weight for a in attentions]))
        self.value = constant(block_diagonal([a.v_linear.weight for a in attentions]))
        self.proj = constant(block_diagonal([a.proj.weight for a in attentions]))
        self.proj_bias = constant(torch.cat([a.proj.bias.detach() for a in attentions]))
        self.norm_eps = adapters[0].ln_before.eps
        self.gain = constant(torch.stack([a.ln_before.weight.detach() for a in adapters]))
        self.shift = constant(torch.stack([a.ln_before.bias.detach() for a in adapters]))
        kernels = [a.adapter_conv.folded_weight() for a in adapters]
        self.kernel = constant(torch.cat(kernels))
        self.center = constant(block_diagonal([k[:, :, 1, 1] for k in kernels]))
        # Which channels reach which modality, then one column a modality for the biases.
        mask = torch.zeros(_MODALITIES, four * dim + _MODALITIES)
        biases = output_bias.repeat(_MODALITIES, 1)
        for index, (receives, _) in enumerate(DIRECTIONS):
            mask[receives, index * dim : (index + 1) * dim] = 1.0
            biases[receives] += adapters[index].adapter_up.bias.detach()
        mask[:, four * dim :] = torch.eye(_MODALITIES)
        self.mask = constant(mask[:, None, :])
        ups = [a.adapter_up.weight.detach().T for a in adapters]
        self.up = constant(torch.cat([*ups, biases]))

    def forward(self, normed: Tensor, certainty: Tensor) -> Tensor:
        """Return what `up` turns into the addend of every token.

        Args:
            normed: [N * 3 * B, width].
            certainty: [N * 3 * B, 1].

        Returns:
            [N * 3 * B, 4 * dim + 3].
        """
        config = self.config
        own, other, certain = self._down(normed, certainty)
        mixed = self._attend(own, other, certain, config.tokens)
        dim, four, grid = config.adapter_dim, len(DIRECTIONS), config.grid
        patches = mixed[1:].reshape(grid, grid, -1, four * dim).permute(2, 3, 0, 1)
        patches = functional.conv2d(patches, self.kernel, padding=1, groups=four)
        patches = patches.permute(2, 3, 0, 1).reshape(grid * grid, -1, four * dim)
        return self._spread(torch.cat([mixed[:1] @ self.center, patches]))

    def class_token(self, normed: Tensor, certainty: Tensor) -> Tensor:
        """Return the same for the class tokens alone, [3 * B, 4 * dim + 3]."""
        own, other, certain = self._down(normed, certainty)
        return self._spread(self._attend(own, other[:1], certain[:1], 1) @ self.center)

    def _down(self, normed: Tensor, certainty: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return own and other modality's channels [N, B, 4 * dim], and certainty [N, B, 4, 1]."""
        tokens, dim, four = self.config.tokens, self.config.adapter_dim, len(DIRECTIONS)
        down = quick_gelu(torch.addmm(self.down_bias, normed, self.down))
        by_modality = down.reshape(tokens, _MODALITIES, -1, 2 * four * dim)
        factor = certainty.reshape(tokens, _MODALITIES, -1, 1)
        own, other, certain = [], [], []
        for index, (receives, asked) in enumerate(DIRECTIONS):
            start = index * dim
            own.append(by_modality[:, receives, :, start : start + dim])
            other.append(by_modality[:, asked, :, four * dim + start : four * dim + start + dim])
            certain.append(factor[:, asked])
        return torch.cat(own, -1), torch.cat(other, -1), torch.stack(certain, -2)

    def _attend(self, own: Tensor, other: Tensor, certain: Tensor, queries: int) -> Tensor:
        """Return the normalized mixture [queries, B, 4 * dim]."""
        tokens, dim, four = self.config.tokens, self.config.adapter_dim, len(DIRECTIONS)
        head = dim // self.config.adapter_heads
        asked = (other @ self.query).reshape(queries, -1, four, dim) * certain
        query = asked.reshape(queries, -1, head).transpose(0, 1)
        key = (own @ self.key).reshape(tokens, -1, head).permute(1, 2, 0)
        value = (own @ self.value).reshape(tokens, -1, head).transpose(0, 1)
        weights = (query @ key).softmax(dim=-1)
        mixed = (weights @ value).transpose(0, 1).reshape(queries, -1, four * dim)
        mixed = mixed @ self.proj + self.proj_bias + own[:queries]
        grouped = functional.layer_norm(
            mixed.reshape(queries, -1, four, dim), (dim,), eps=self.norm_eps
        )
        return (grouped * self.gain + self.shift).reshape(queries, -1, four * dim)

    def _spread(self, joined: Tensor) -> Tensor:
        """Return [Q, B, 4 * dim] as rows for every modality, with the columns of the biases."""
        activated = functional.pad(quick_gelu(joined), (0, _MODALITIES), value=1.0)
        return (activated[:, None] * self.mask).reshape(-1, self.mask.shape[-1])
