"""Deployed form of MMDG++: the same function up to rounding, in few large operators.

Tokens are kept as one matrix [N * 3 * B, width], token first, then modality, then capture: every
linear layer is one matrix product over all three modalities. What is constant is folded, as in
`mmdg/deployed.py`. Inside an adapter, successive linear maps without anything between them become
one, both norms' gains go into what reads them, and since a modality's two adapters are one set of
weights with the same keys and values, they share one attention and one output product. The last
block computes only the class token after its attention.
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
from fasdk_engines.models.mmdgpp.config import MODALITIES

if TYPE_CHECKING:
    from fasdk_engines.models.clip import ClipBlock
    from fasdk_engines.models.mmdgpp.config import MmdgppConfig

    # For annotations alone: the published form imports this module.
    from fasdk_engines.models.mmdgpp.published import Mmdgpp, SelectiveAdapter, TokenSelection

_MODALITIES = len(MODALITIES)
# Each modality asks the one after it, then the one before it; stacked in this order.
_ASKED = tuple(
    (receives + step) % _MODALITIES for step in (1, 2) for receives in range(_MODALITIES)
)


class DeployedMmdgpp(nn.Module):
    """MMDG++ for export; holds its own copy of the weights.

    Args:
        published: The trained model, left as it is.
    """

    def __init__(self, published: Mmdgpp) -> None:
        super().__init__()
        config = published.config
        self.config = config
        visual = published.model.visual
        self.patchify = constant(visual.conv1.weight.flatten(1).T)
        positions = []
        for index in range(_MODALITIES):
            position = published.get_parameter(f"pos_{index + 1}").detach().clone()
            position[0] += published.class_token(index).detach()
            positions.append(position)
        self.position = constant(torch.stack(positions, dim=1)[:, :, None, :])
        self.first_norm = copy.deepcopy(visual.ln_pre)
        blocks = visual.transformer.blocks
        self.blocks = nn.ModuleList(
            _Block(
                config,
                block,
                [published.adapter(receives, index) for receives in range(_MODALITIES)],
                last=index == len(blocks) - 1,
            )
            for index, block in enumerate(blocks)
        )
        self.final_norm = copy.deepcopy(visual.ln_post)
        self.project = constant(
            torch.stack([published.get_parameter(f"visual_proj_{i}") for i in (1, 2, 3)])
        )
        self.classify = copy.deepcopy(published.fc_all[0])
        self.register_buffer("asked", torch.tensor(_ASKED), persistent=False)

    def forward(
        self, rgb: Tensor, depth: Tensor, ir: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        here = present.transpose(0, 1)[:, :, None] > 0.5
        tokens = self._embed((rgb, depth, ir), here)
        answered = (present[:, self.get_buffer("asked")] > 0.5).reshape(-1, 2, _MODALITIES, 1)
        for block in self.blocks[:-1]:
            tokens, _ = block(tokens, answered)
        classes, certainty = self.blocks[-1](tokens, answered)
        features = self.final_norm(classes).reshape(_MODALITIES, -1, self.config.width)
        features = features @ self.project
        features = torch.where(here, features / features.norm(dim=-1, keepdim=True), 0.0)
        joined = features.transpose(0, 1).reshape(-1, _MODALITIES * self.config.feature_width)
        return self.classify(joined), torch.where(present > 0.5, certainty, 0.0)

    def _embed(self, images: tuple[Tensor, ...], here: Tensor) -> Tensor:
        """Return [N * 3 * B, width]."""
        stacked = torch.where(here[:, :, :, None, None], torch.stack(images), 0.0)
        size, width = self.config.image_size, self.config.width
        squares = patches(stacked.reshape(-1, 3, size, size), self.config.patch_size)
        embedded = squares @ self.patchify
        # A row of zeros in front is where the position table adds the class tokens.
        tokens = functional.pad(embedded, (0, 0, 0, 0, 1, 0))
        tokens = tokens.reshape(self.config.tokens, _MODALITIES, -1, width) + self.position
        normed: Tensor = self.first_norm(tokens.reshape(-1, width))
        return normed


class _Block(nn.Module):
    """One transformer block with the adapters of its three modalities."""

    def __init__(
        self,
        config: MmdgppConfig,
        block: ClipBlock,
        adapters: list[SelectiveAdapter],
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.last = last
        self.ln_1 = copy.deepcopy(block.ln_1)
        self.attention = StackedAttention(block.attn, config.tokens)
        self.ln_2 = copy.deepcopy(block.ln_2)
        self.expand = constant(block.mlp.get_parameter("c_fc.weight").T)
        self.expand_bias = constant(block.mlp.get_parameter("c_fc.bias"))
        self.contract = constant(block.mlp.get_parameter("c_proj.weight").T)
        self.adapters = _Adapters(
            config, adapters, block.mlp.get_parameter("c_proj.bias").detach(), last=last
        )

    def forward(self, tokens: Tensor, answered: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens after the block and, from the last, the certainty [B, 3].

        Args:
            tokens: [N * 3 * B, width].
            answered: bool [B, 2, 3, 1], whether the modality each adapter asks is there.
        """
        hidden = tokens + self.attention(self.ln_1(tokens))
        normed = self.ln_2(hidden)
        received, certainty = self.adapters(normed, answered)
        if self.last:
            hidden, normed = self._class_rows(hidden), self._class_rows(normed)
        inner = quick_gelu(torch.addmm(self.expand_bias, normed, self.expand))
        # The residual rides along as each product's addend.
        residual = torch.addmm(hidden, received, self.adapters.up)
        return torch.addmm(residual, inner, self.contract), certainty

    def _class_rows(self, x: Tensor) -> Tensor:
        return x.reshape(self.config.tokens, -1, self.config.width)[0]


class _Adapters(nn.Module):
    """A block's adapters side by side: channels [asked, receives, channel], 6 * dim wide."""

    def __init__(
        self,
        config: MmdgppConfig,
        adapters: list[SelectiveAdapter],
        output_bias: Tensor,
        *,
        last: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.last = last
        dim = config.adapter_dim
        downs = [a.adapter_down_k_v for a in adapters] + [a.adapter_down_q for a in adapters]
        self.down = constant(torch.cat([d.weight for d in downs]).T)
        self.down_bias = constant(torch.cat([d.bias.detach() for d in downs]))
        # Of the 3 x 6 groups of channels, own ones first: which modality's rows, which columns.
        own = [receives * 6 + receives for receives in range(_MODALITIES)]
        other = [asked * 6 + 3 + index % _MODALITIES for index, asked in enumerate(_ASKED)]
        self.register_buffer("groups", torch.tensor(own + other), persistent=False)
        norms = [a.ln_k_v for a in adapters] + [a.ln_q for a in adapters] * 2
        self.norm_eps = norms[0].eps
        self.gain = constant(torch.stack([n.weight for n in norms]))
        self.shift = constant(torch.stack([n.bias for n in norms]))
        self.select = _Selection(config, adapters)
        self.proj = constant(block_diagonal([a.cross_attention.proj.weight for a in adapters] * 2))
        self.proj_bias = constant(
            torch.cat([a.cross_attention.proj.bias.detach() for a in adapters] * 2)
        )
        # The second norm's gain and shift go into the layer that reads it.
        self.mlp = constant(
            block_diagonal([a.adapter_mlp.weight * a.ln_q.weight for a in adapters] * 2)
        )
        shifts = [a.adapter_mlp.bias + a.adapter_mlp.weight @ a.ln_q.bias for a in adapters]
        self.mlp_bias = constant(torch.cat(shifts * 2))
        kernels = [a.adapter_conv.folded_weight() for a in adapters] * 2
        self.center = constant(block_diagonal([k[:, :, 1, 1] for k in kernels]))
        if not last:
            self.kernel = constant(torch.cat(kernels))
        # Which channels reach which modality, then one column a modality for the biases.
        mask = torch.zeros(_MODALITIES, _MODALITIES * dim + _MODALITIES)
        for receives in range(_MODALITIES):
            mask[receives, receives * dim : (receives + 1) * dim] = 1.0
            mask[receives, _MODALITIES * dim + receives] = 1.0
        self.mask = constant(mask[:, None, :])
        ups = [a.adapter_up.weight.detach().T for a in adapters]
        biases = torch.stack([output_bias + 2.0 * a.adapter_up.bias.detach() for a in adapters])
        self.up = constant(torch.cat([*ups, biases]))

    def forward(self, normed: Tensor, answered: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `up` turns into the addend of every token, and the last block's certainty.

        Args:
            normed: Normalized tokens, [N * 3 * B, width].
            answered: Whether the modality that each adapter asks is present, bool [B, 2, 3, 1].

        Returns:
            [N * 3 * B, 3 * dim + 3], of the last block [3 * B, 3 * dim + 3]; certainty [B, 3].
        """
        tokens, dim, grid = self.config.tokens, self.config.adapter_dim, self.config.grid
        own, other = self._down(normed, answered)
        queries = 1 if self.last else tokens
        mixed, certainty = self.select(own, other, queries)
        mixed = (mixed @ self.proj + self.proj_bias).reshape(queries, -1, 2, _MODALITIES, dim)
        mixed = mixed + own[:queries]
        grouped = functional.layer_norm(mixed, (dim,), eps=self.norm_eps)
        grouped = grouped.reshape(queries, -1, 6 * dim) @ self.mlp + self.mlp_bias
        mixed = mixed.reshape(queries, -1, 6 * dim) + grouped
        joined = mixed[:1] @ self.center
        if not self.last:
            squares = mixed[1:].reshape(grid, grid, -1, 6 * dim).permute(2, 3, 0, 1)
            squares = functional.conv2d(squares, self.kernel, padding=1, groups=6)
            squares = squares.permute(2, 3, 0, 1).reshape(grid * grid, -1, 6 * dim)
            joined = torch.cat([joined, squares])
        active = quick_gelu(joined)
        # One set of weights leads back up, so what was found at either neighbor adds up before it.
        both = active[:, :, : 3 * dim] + active[:, :, 3 * dim :]
        rows = functional.pad(both, (0, _MODALITIES), value=1.0)[:, None] * self.mask
        return rows.reshape(-1, self.mask.shape[-1]), certainty

    def _down(self, normed: Tensor, answered: Tensor) -> tuple[Tensor, Tensor]:
        """Return own channels [N, B, 1, 3, dim] and those of who is asked [N, B, 2, 3, dim]."""
        tokens, dim = self.config.tokens, self.config.adapter_dim
        down = quick_gelu(torch.addmm(self.down_bias, normed, self.down))
        by_capture = down.reshape(tokens, _MODALITIES, -1, 6 * dim).transpose(1, 2)
        groups = by_capture.reshape(tokens, -1, 6 * _MODALITIES, dim)
        groups = groups.index_select(2, self.get_buffer("groups"))
        groups = functional.layer_norm(groups, (dim,), eps=self.norm_eps) * self.gain + self.shift
        groups = groups.reshape(tokens, -1, 3, _MODALITIES, dim)
        own, other = groups[:, :, :1], groups[:, :, 1:]
        return own, torch.where(answered, other, own)


class _Judgment(nn.Module):
    """How sure the adapters are of every token: what decides, and so stays float32."""

    def __init__(self, config: MmdgppConfig, adapters: list[SelectiveAdapter]) -> None:
        super().__init__()
        self.config = config
        attentions = [a.cross_attention for a in adapters]
        own = [_product(a, "std_mlp_2", "q_linear_2") for a in attentions]
        other = [_product(a, "std_mlp_1", "q_linear_1") for a in attentions]
        self.spread = constant(block_diagonal(own + other * 2))

    def forward(self, own: Tensor, other: Tensor, queries: int) -> tuple[Tensor, Tensor]:
        """Return whether the other is surer [queries, B, 2, 3, 1], and certainties [N, B, 3, 3, 1].

        Args:
            own: Tokens of each modality itself, [N, B, 3 * dim].
            other: Tokens of the two other modalities, [N, B, 6 * dim].
            queries: Number of tokens that are queries, counted from the first.
        """
        tokens, dim = self.config.tokens, self.config.adapter_dim
        variance = torch.exp(torch.cat([own, other], dim=-1) @ self.spread)
        variance = variance.reshape(tokens, -1, 3, _MODALITIES, dim).mean(dim=-1, keepdim=True)
        surer = variance[:queries, :, 1:] < variance[:queries, :, :1]
        return surer, torch.exp(variance * -self.config.exp_rate)


class _Selection(nn.Module):
    """The attention, every query taken from whichever of two modalities is surer of the token."""

    def __init__(self, config: MmdgppConfig, adapters: list[SelectiveAdapter]) -> None:
        super().__init__()
        self.config = config
        attentions = [a.cross_attention for a in adapters]
        scale = (config.adapter_dim // config.adapter_heads) ** -0.5
        self.judgment = _Judgment(config, adapters)
        other = [scale * _product(a, "mean_mlp_1", "q_linear_1") for a in attentions]
        own = [scale * _product(a, "mean_mlp_2", "q_linear_2") for a in attentions]
        self.mean_other = constant(block_diagonal(other * 2))
        self.mean_own = constant(block_diagonal(own))
        keys = [a.get_parameter("k_linear.weight") for a in attentions]
        values = [a.get_parameter("v_linear.weight") for a in attentions]
        self.key = constant(block_diagonal(keys))
        self.value = constant(block_diagonal(values))
        # Of the nine judgments, own ones first, each modality's three make its certainty.
        share = torch.zeros(9, _MODALITIES)
        for index, modality in enumerate((*range(_MODALITIES), *_ASKED)):
            share[index, modality] = 1.0 / 3.0
        self.share = constant(share)

    def forward(self, own: Tensor, other: Tensor, queries: int) -> tuple[Tensor, Tensor]:
        """Return what was found [queries, B, 6 * dim], and the certainty [B, 3].

        Args:
            own: Tokens of each modality itself, [N, B, 1, 3, dim].
            other: Tokens of the two other modalities, [N, B, 2, 3, dim].
            queries: Number of tokens that are queries, counted from the first.
        """
        config = self.config
        tokens, dim, heads = config.tokens, config.adapter_dim, config.adapter_heads
        head = dim // heads
        flat_own = own.reshape(tokens, -1, 3 * dim)
        flat_other = other.reshape(tokens, -1, 6 * dim)
        surer, certainty = self.judgment(flat_own, flat_other, queries)
        mean_own = (flat_own[:queries] @ self.mean_own).reshape(queries, -1, 1, _MODALITIES, dim)
        mean_other = flat_other[:queries] @ self.mean_other
        mean_other = mean_other.reshape(queries, -1, 2, _MODALITIES, dim)
        taken = torch.where(surer, mean_other, mean_own) * torch.where(
            surer, certainty[:queries, :, 1:], certainty[:queries, :, :1]
        )
        query = taken.reshape(queries, -1, 2, _MODALITIES * heads, head).permute(1, 3, 2, 0, 4)
        query = query.reshape(-1, 2 * queries, head)
        key = (flat_own @ self.key).reshape(tokens, -1, head).permute(1, 2, 0)
        value = (flat_own @ self.value).reshape(tokens, -1, head).transpose(0, 1)
        found = (query @ key).softmax(dim=-1) @ value
        found = found.reshape(-1, _MODALITIES * heads, 2, queries, head).permute(3, 0, 2, 1, 4)
        average = certainty.reshape(tokens, -1, 9).mean(dim=0) @ self.share
        return found.reshape(queries, -1, 6 * dim), average


def _product(attention: TokenSelection, second: str, first: str) -> Tensor:
    """Return the one weight that does what two linear maps do in turn."""
    after = attention.get_parameter(f"{second}.weight").detach()
    before = attention.get_parameter(f"{first}.weight").detach()
    return (after.double() @ before.double()).to(after.dtype)
