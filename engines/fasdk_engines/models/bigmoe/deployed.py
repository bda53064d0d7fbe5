"""Deployed form of BIG-MoE: the same function up to rounding, in few large operators.

Tokens are kept as one matrix [N * B, width], token first, then capture: the class token, then place
by place its three modalities, so that what an expert sees lies side by side; attention does not
mind the order. What is constant is folded: the prompt of a complete capture, class token and patch
bias into the positions, the queries' and keys' product, gains into what reads them, the central
difference into the kernels, two tables of experts into one. Only the class token of the last
block is read, so its adapter, its patches and the last prompt update are gone.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.bigmoe.config import MODALITIES
from fasdk_engines.models.deployed_layers import (
    ClassTokenAttention,
    StackedAttention,
    constant,
    patches,
    quick_gelu,
)
from fasdk_engines.models.expert_selection import ProductKeySelection
from fasdk_engines.models.layers import EncoderBlock

if TYPE_CHECKING:
    from fasdk_engines.models.bigmoe.config import BigMoeConfig

    # For annotations alone: the published form imports this module.
    from fasdk_engines.models.bigmoe.published import (
        BigMoe,
        ExpertAdapter,
        ProductKeyExperts,
        PromptLearner,
        PromptUpdate,
    )

_MODALITIES = len(MODALITIES)


class DeployedBigMoe(nn.Module):
    """BIG-MoE for export; holds its own copy of the weights.

    Args:
        published: The trained model, left as it is.
    """

    def __init__(self, published: BigMoe) -> None:
        super().__init__()
        config = published.config
        self.config = config
        patchify = published.conv_proj
        self.patchify = constant(patchify.weight.detach().flatten(1).T)
        position = published.pos_embedding.detach()[0].clone()
        position[0] += published.class_token.detach()[0, 0]
        position[1:] += patchify.get_parameter("bias").detach()
        by_modality = position[1:].reshape(_MODALITIES, -1, config.width)
        by_place = by_modality.transpose(0, 1).flatten(0, 1)
        self.position = constant(torch.cat([position[:1], by_place])[:, None])
        depth = config.depth
        # With a single block only the class token is read, which no prompt reaches.
        self.prompt = _Prompt(config, published.VP_learner) if depth > 1 else None
        parts = [*zip(published.ViT_Encoder, published.adaptors, strict=True)]
        self.blocks = nn.ModuleList(
            _Block(config, block, adapter, hands_on_prompt=index < depth - 2)  # type: ignore[arg-type]
            for index, (block, adapter) in enumerate(parts[:-1])
        )
        self.last = _LastBlock(config, parts[-1][0])  # type: ignore[arg-type]
        self.classify = copy.deepcopy(published.fc[0])

    def forward(self, rgb: Tensor, ir: Tensor, depth: Tensor) -> tuple[Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        images = (rgb, ir, depth)
        tokens = self._embed(images)
        prompt = rgb if self.prompt is None else self.prompt(images)
        for block in self.blocks:
            tokens, prompt = block(tokens, prompt)
        return (self.classify(self.last(tokens)),)

    def _embed(self, images: tuple[Tensor, ...]) -> Tensor:
        """Return [N * B, width]."""
        squares = torch.stack([patches(image, self.config.patch_size) for image in images], dim=1)
        embedded = (squares @ self.patchify).flatten(0, 1)
        # A row of zeros in front is where the position table adds the class token.
        tokens = functional.pad(embedded, (0, 0, 0, 0, 1, 0))
        return (tokens + self.position).reshape(-1, self.config.width)


class _Prompt(nn.Module):
    """The first visual prompt, all that no pixel changes folded into one map."""

    def __init__(self, config: BigMoeConfig, learner: PromptLearner) -> None:
        super().__init__()
        self.patch = config.patch_size
        self.kernel = constant(learner.conv_d.folded_weight())
        weight = learner.conv_proj.weight.detach()
        drawn = 3
        self.patchify = constant(weight[:, :drawn])
        fixed = torch.cat([learner.modality_prompt.detach()[0], learner.P_s.detach()])[None]
        bias = learner.conv_proj.get_parameter("bias").detach()
        self.fixed = constant(
            functional.conv2d(fixed, weight[:, drawn:], bias, stride=config.patch_size)
        )

    def forward(self, images: tuple[Tensor, ...]) -> Tensor:
        """Return the prompt [B, prompt_width, G, G]."""
        drawn = quick_gelu(functional.conv2d(torch.cat(images, dim=1), self.kernel, padding=1))
        return functional.conv2d(drawn, self.patchify, stride=self.patch) + self.fixed


class _Perceptron(nn.Module):
    """A block's two wide layers."""

    def __init__(self, block: EncoderBlock) -> None:
        super().__init__()
        self.expand = constant(block.mlp.get_parameter("0.weight").T)
        self.expand_bias = constant(block.mlp.get_parameter("0.bias"))
        self.contract = constant(block.mlp.get_parameter("3.weight").T)
        self.contract_bias = constant(block.mlp.get_parameter("3.bias"))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.gelu(x @ self.expand + self.expand_bias)
        return torch.addmm(self.contract_bias, inner, self.contract)


class _Block(nn.Module):
    """One transformer block with its adapter."""

    def __init__(
        self,
        config: BigMoeConfig,
        block: EncoderBlock,
        adapter: ExpertAdapter,
        *,
        hands_on_prompt: bool,
    ) -> None:
        super().__init__()
        self.config = config
        self.ln_1 = copy.deepcopy(block.ln_1)
        self.attention = StackedAttention(block.self_attention, config.tokens)
        self.ln_2 = copy.deepcopy(block.ln_2)
        self.mlp = _Perceptron(block)
        self.adapter = _Adapter(config, adapter, hands_on_prompt=hands_on_prompt)
        share = torch.full((config.tokens, 1, 1), 2.0)
        share[0] = 3.0
        self.share = constant(share)

    def forward(self, tokens: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens [N * B, width] after the block, and the next prompt."""
        normed = self.ln_1(tokens)
        hidden = self.ln_2(normed + self.attention(normed))
        addend, prompt = self.adapter(hidden, prompt)
        by_token = (self.config.tokens, -1, self.config.width)
        kept = (hidden.reshape(by_token) * self.share).reshape(-1, self.config.width)
        return self.mlp(hidden) + (kept + addend), prompt


class _LastBlock(nn.Module):
    """The last block for the class token alone, whose adapter hands it back itself."""

    def __init__(self, config: BigMoeConfig, block: EncoderBlock) -> None:
        super().__init__()
        self.config = config
        self.ln_1 = copy.deepcopy(block.ln_1)
        self.attention = ClassTokenAttention(block.self_attention, config.tokens)
        self.ln_2 = copy.deepcopy(block.ln_2)
        self.mlp = _Perceptron(block)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the class tokens [B, width]."""
        normed = self.ln_1(tokens)
        class_rows = normed.reshape(self.config.tokens, -1, self.config.width)[0]
        hidden = self.ln_2(class_rows + self.attention(normed))
        last: Tensor = self.mlp(hidden) + 3.0 * hidden
        return last


class _Adapter(nn.Module):
    """Adapter of one block: the patches' addend and the next prompt."""

    def __init__(
        self, config: BigMoeConfig, adapter: ExpertAdapter, *, hands_on_prompt: bool
    ) -> None:
        super().__init__()
        self.config = config
        self.down = constant(adapter.C_down.weight.T)
        self.down_bias = constant(adapter.C_down.bias)
        self.own = constant(adapter.G_down.weight.T)
        self.own_bias = constant(adapter.G_down.bias)
        self.asked = constant(adapter.conv_VP.weight[:, :, None, None])
        self.asked_bias = constant(adapter.conv_VP.bias)
        self.gating = _Gating(config, adapter.adaptor)
        self.experts = _Experts(config, adapter.adaptor)
        # The bias is one more row, read by a column of ones; the class token reads zeros.
        self.up = constant(
            torch.cat([adapter.conv_up.weight.detach().T, adapter.conv_up.bias.detach()[None]])
        )
        self.update = _PromptUpdate(config, adapter.VP_block) if hands_on_prompt else None

    def forward(self, hidden: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Return the addend of tokens [N * B, width], and the next prompt [B, C, G, G]."""
        config = self.config
        places, dim = config.grid**2, config.adapter_dim
        channels = quick_gelu(torch.addmm(self.down_bias, hidden, self.down))
        by_place = channels.reshape(config.tokens, -1, dim)[1:].reshape(
            places, _MODALITIES, -1, dim
        )
        content = by_place.transpose(1, 2).reshape(-1, config.content_width)
        own = quick_gelu(torch.addmm(self.own_bias, content, self.own))
        asked = quick_gelu(functional.conv2d(prompt, self.asked, self.asked_bias))
        asked = asked.permute(2, 3, 0, 1).reshape(-1, dim)
        gate = torch.cat([own, asked], dim=-1)
        indices, shares = self.gating(gate)
        answered = self.experts(content, indices, shares)
        answered = answered.reshape(places, -1, _MODALITIES, dim).transpose(1, 2)
        answered = functional.pad(
            answered.reshape(places * _MODALITIES, -1, dim), (0, 1), value=1.0
        )
        answered = functional.pad(answered, (0, 0, 0, 0, 1, 0)).reshape(-1, dim + 1)
        if self.update is not None:
            prompt = self.update(prompt, gate)
        return quick_gelu(answered @ self.up), prompt


class _UnitLength(nn.Module):
    """Rows over their length, in float32: squares of small values vanish in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().sum(dim=-1, keepdim=True).sqrt().clamp_min(1e-12)


class _Gating(nn.Module):
    """Selection of experts and their shares. Its nodes stay float32 in half precision."""

    def __init__(self, config: BigMoeConfig, experts: ProductKeyExperts) -> None:
        super().__init__()
        self.config = config
        gate, heads = config.gate_width, config.expert_heads
        gain = experts.norm_gate.gamma.detach().double() * math.sqrt(gate)
        queries = experts.to_queries[0].get_parameter("weight").detach().double() * gain
        by_half = queries.reshape(2, heads, -1, gate)
        keys = torch.einsum("shdg,hksd->gshk", by_half, experts.keys.detach().double())
        self.unit = _UnitLength()
        self.keys = constant(keys.reshape(gate, -1).float())
        self.selection = ProductKeySelection(config.keys, heads, config.experts_per_head)

    def forward(self, gate: Tensor) -> tuple[Tensor, Tensor]:
        """Choose for `gate` [Q, gate_width]; expert indices and their shares, [Q, heads, k]."""
        split = (-1, 2, self.config.expert_heads, self.config.keys)
        halves = (self.unit(gate) @ self.keys).reshape(split)
        indices, scores = self.selection(halves[:, 0], halves[:, 1])
        return indices, scores.softmax(dim=-1)


class _Experts(nn.Module):
    """Experts of one hidden unit each, both their layers in one table."""

    def __init__(self, config: BigMoeConfig, experts: ProductKeyExperts) -> None:
        super().__init__()
        self.unit = _UnitLength()
        self.width = config.content_width
        self.count = config.expert_heads * config.experts_per_head
        gain = experts.norm.gamma.detach() * math.sqrt(self.width)
        down = experts.weight_down_embed.weight.detach() * gain
        self.table = constant(torch.cat([down, experts.weight_up_embed.weight.detach()], dim=1))

    def forward(self, content: Tensor, indices: Tensor, shares: Tensor) -> Tensor:
        """Answer [Q, content_width] by the experts [Q, heads, k] in proportion to `shares`."""
        weights = self.table[indices.reshape(-1, self.count)]
        hidden = weights[..., : self.width] @ self.unit(content)[..., None]
        scaled = functional.gelu(hidden.reshape(-1, self.count)) * shares.reshape(-1, self.count)
        return (scaled[:, None] @ weights[..., self.width :])[:, 0]


class _PromptUpdate(nn.Module):
    """The next block's prompt, its map transposed against the patches as trained weights ask."""

    def __init__(self, config: BigMoeConfig, update: PromptUpdate) -> None:
        super().__init__()
        self.grid = config.grid
        self.gate_width = config.gate_width
        self.own = constant(update.conv_VP.folded_weight())
        self.asked = constant(update.conv_gate.folded_weight())
        self.compose = constant(update.conv_compose.folded_weight())
        taps = update.attn.conv.weight.detach()[0, 0]
        channels = 2 * config.prompt_width
        band = sum(
            torch.diag(taps[1 + shift].expand(channels - abs(shift)), -shift)
            for shift in (-1, 0, 1)
        )
        self.band = constant(torch.as_tensor(band))

    def forward(self, prompt: Tensor, gate: Tensor) -> Tensor:
        """Return the next prompt from this one [B, C, G, G] and `gate` [G * G * B, gate_width]."""
        asked = gate.reshape(self.grid, self.grid, -1, self.gate_width).permute(2, 3, 1, 0)
        own = quick_gelu(functional.conv2d(prompt.transpose(2, 3), self.own, padding=1))
        asked = quick_gelu(functional.conv2d(asked, self.asked, padding=1))
        joined = torch.cat([own, asked], dim=1)
        weights = (joined.mean(dim=(2, 3)) @ self.band).sigmoid()
        joined = joined * weights[:, :, None, None]
        return quick_gelu(functional.conv2d(joined, self.compose, padding=1))
