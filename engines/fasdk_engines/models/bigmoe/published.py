"""Published form of BIG-MoE: a ViT over all modalities' patches with product-key expert adapters.

BIG-MoE: Bypass Isolated Gating MoE for Multimodal Face Anti-Spoofing, ICASSP 2025
(arXiv:2412.18065). Experts are selected by rank, so the function is not continuous
(`expert_selection.py`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.bigmoe.config import MODALITIES, BigMoeConfig
from fasdk_engines.models.bigmoe.deployed import DeployedBigMoe
from fasdk_engines.models.expert_selection import ProductKeySelection
from fasdk_engines.models.layers import CentralDifferenceConv, EncoderBlock, QuickGelu


class RootMeanSquareNorm(nn.Module):
    """x over its root mean square, times a gain (Zhang and Sennrich, NeurIPS 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis."""
        unit: Tensor = functional.normalize(x, dim=-1)
        return unit * self.gamma * math.sqrt(x.shape[-1])


class ProductKeyExperts(nn.Module):
    """Experts of one hidden unit each, picked by product keys (He, Mixture of a Million Experts).

    Args:
        config: The model's settings.
    """

    def __init__(self, config: BigMoeConfig) -> None:
        super().__init__()
        self.config = config
        gate, content, key = config.gate_width, config.content_width, config.adapter_dim
        self.norm = RootMeanSquareNorm(content)
        self.norm_gate = RootMeanSquareNorm(gate)
        # Both tables start from N(0, 1), as published.
        self.weight_down_embed = nn.Embedding(config.experts, content)
        self.weight_up_embed = nn.Embedding(config.experts, content)
        queries = nn.Linear(gate, 2 * config.expert_heads * key, bias=False)
        self.to_queries = nn.Sequential(queries)
        shape = (config.expert_heads, config.keys, 2, key)
        self.keys = nn.Parameter(torch.empty(shape).normal_(std=0.02))
        self.selection = ProductKeySelection(
            config.keys, config.expert_heads, config.experts_per_head
        )

    def forward(self, content: Tensor, gate: Tensor) -> Tensor:
        """Answer `content` [B, P, content_width] by experts `gate` [B, P, gate_width] asks for."""
        content = self.norm(content)
        asked: Tensor = self.to_queries(self.norm_gate(gate))
        queries = asked.reshape(-1, 2, self.config.expert_heads, self.config.adapter_dim)
        halves = torch.einsum("qshd,hksd->sqhk", queries, self.keys)
        indices, scores = self.selection(halves[0], halves[1])
        flat = content.reshape(-1, self.config.content_width)
        hidden = torch.einsum("qc,qhkc->qhk", flat, self.weight_down_embed(indices))
        hidden = functional.gelu(hidden) * scores.softmax(dim=-1)
        answered = torch.einsum("qhk,qhkc->qc", hidden, self.weight_up_embed(indices))
        return answered.reshape(content.shape)


class ChannelAttention(nn.Module):
    """Scale channels by a convolution over their means (ECA: Wang et al., CVPR 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale [B, C, H, W]."""
        weights: Tensor = self.conv(x.mean(dim=(2, 3))[:, None])[:, 0].sigmoid()
        return x * weights[:, :, None, None]


class PromptUpdate(nn.Module):
    """The next block's visual prompt, from this one's and from what its gate saw.

    Source: its map is built width first and read height first, so the prompt is transposed once a
    block against the patches; trained weights rely on that.
    """

    def __init__(self, config: BigMoeConfig) -> None:
        super().__init__()
        width, theta = config.prompt_width, config.adapter_theta
        self.grid = config.grid
        self.conv_VP = CentralDifferenceConv(width, theta)
        self.conv_gate = CentralDifferenceConv(config.gate_width, theta, width)
        self.attn = ChannelAttention()
        self.conv_compose = CentralDifferenceConv(2 * width, theta, width)
        self.act = QuickGelu()
        self.drop = nn.Dropout(config.adapter_dropout)

    def forward(self, prompt: Tensor, gate: Tensor) -> Tensor:
        """Return the next prompt [B, P, prompt_width]."""

        def as_map(x: Tensor) -> Tensor:
            return x.reshape(-1, self.grid, self.grid, x.shape[-1]).permute(0, 3, 2, 1)

        own = self.act(self.conv_VP(as_map(prompt)))
        asked = self.act(self.conv_gate(as_map(gate)))
        joined = self.drop(self.attn(torch.cat([own, asked], dim=1)))
        composed: Tensor = self.act(self.conv_compose(joined)).flatten(2).transpose(1, 2)
        return composed


class ExpertAdapter(nn.Module):
    """Adapter of one block: the patches' addend and the next prompt."""

    def __init__(self, config: BigMoeConfig) -> None:
        super().__init__()
        dim, content = config.adapter_dim, config.content_width
        self.G_down = nn.Linear(content, dim)
        self.C_down = nn.Linear(config.width, dim)
        self.adaptor = ProductKeyExperts(config)
        self.conv_up = nn.Linear(dim, config.width)
        self.act = QuickGelu()
        self.VP_block = PromptUpdate(config)
        self.conv_VP = nn.Linear(config.prompt_width, dim)
        self.drop = nn.Dropout(config.adapter_dropout)

    def forward(self, patches: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches' addend, same shape, and the next prompt.

        Args:
            patches: Patch tokens, [B, 3 * P, width], modality first.
            prompt: Visual prompt, [B, P, prompt_width].
        """
        modalities = len(MODALITIES)
        channels = self.act(self.C_down(patches)).unflatten(1, (modalities, -1))
        content = channels.transpose(1, 2).flatten(2)
        gate = torch.cat([self.act(self.G_down(content)), self.act(self.conv_VP(prompt))], dim=-1)
        answered = self.adaptor(content, gate).unflatten(2, (modalities, -1))
        addend = self.act(self.conv_up(self.drop(answered.transpose(1, 2).flatten(1, 2))))
        return addend, self.VP_block(prompt, gate)


class PromptLearner(nn.Module):
    """The first visual prompt: from the images, from which modalities are blanked, and a constant.

    Source: the published code passes what is blanked in training only; evaluation always takes
    the prompt of a complete capture, whatever is missing.
    """

    def __init__(self, config: BigMoeConfig) -> None:
        super().__init__()
        modalities = len(MODALITIES)
        size = (3, config.image_size, config.image_size)
        self.conv_d = CentralDifferenceConv(3 * modalities, config.adapter_theta, 3)
        self.modality_prompt = nn.Parameter(torch.zeros(2**modalities, *size))
        self.P_s = nn.Parameter(torch.zeros(size))
        self.act = QuickGelu()
        patch = config.patch_size
        self.conv_proj = nn.Conv2d(9, config.prompt_width, patch, stride=patch)

    def forward(self, images: Tensor, code: Tensor) -> Tensor:
        """Return the prompt [B, P, prompt_width].

        Args:
            images: [B, 9, H, W]: RGB, IR, depth.
            code: int64 [B], bit m set where modality m was blanked in training.
        """
        drawn = self.act(self.conv_d(images))
        constant = self.P_s.expand(len(images), -1, -1, -1)
        combined = torch.cat([drawn, self.modality_prompt[code], constant], dim=1)
        prompt: Tensor = self.conv_proj(combined).flatten(2).transpose(1, 2)
        return prompt


class BigMoe(PublishedModule):
    """BIG-MoE under its published parameter names; trains and evaluates.

    In training mode each capture's modalities are blanked at random with `modality_dropout`, as the
    published forward does it, and the prompt learner receives which; a training loop need not
    drop any.

    Args:
        config: Settings of the model.
    """

    def __init__(self, config: BigMoeConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.conv_proj = nn.Conv2d(3, width, patch, stride=patch)
        nn.init.trunc_normal_(self.conv_proj.weight, std=(3 * patch * patch) ** -0.5)
        nn.init.zeros_(self.conv_proj.get_parameter("bias"))
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embedding = nn.Parameter(torch.empty(1, config.tokens, width).normal_(std=0.02))
        self.ViT_Encoder = nn.ModuleList(
            EncoderBlock(width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.adaptors = nn.ModuleList(ExpertAdapter(config) for _ in range(config.depth))
        self.fc = nn.Sequential(nn.Linear(width, 2))
        self.VP_learner = PromptLearner(config)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Run the model on RGB, IR and depth; see `PublishedModule.forward`."""
        images = torch.stack(inputs, dim=1)
        code = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        if self.training:
            images, code = self._blank(images)
        prompt = self.VP_learner(images.flatten(1, 2), code)
        embedded = self.conv_proj(images.flatten(0, 1)).flatten(2).transpose(1, 2)
        patches = embedded.unflatten(0, (len(images), -1)).flatten(1, 2)
        class_token = self.class_token.expand(len(images), -1, -1)
        tokens = torch.cat([class_token, patches], dim=1) + self.pos_embedding
        for block, adapter in zip(self.ViT_Encoder, self.adaptors, strict=True):
            tokens, prompt = self._block(block, adapter, tokens, prompt)
        return (self.fc(tokens[:, 0]),)

    def _block(
        self, block: nn.Module, adapter: nn.Module, tokens: Tensor, prompt: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run one block; its residuals start behind the norms, and the class token's counts thrice.

        Source: the published block overwrites its input with each norm's output.
        """
        if not isinstance(block, EncoderBlock):
            raise TypeError(f"expected an EncoderBlock, found {type(block).__name__}")
        normed = block.ln_1(tokens)
        hidden = block.ln_2(normed + block.self_attention(normed))
        addend, prompt = adapter(hidden[:, 1:], prompt)
        adapted = hidden + torch.cat([hidden[:, :1], addend], dim=1)
        return hidden + block.mlp(hidden) + adapted, prompt

    def _blank(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return images [B, 3, 3, H, W] with modalities blanked at random, and the code of each."""
        batch, modalities = images.shape[:2]
        blanked = torch.rand(batch, modalities, device=images.device) < self.config.modality_dropout
        bits = 2 ** torch.arange(modalities, device=images.device)
        return images.masked_fill(blanked[:, :, None, None, None], 0.0), (blanked * bits).sum(dim=1)

    def deployed(self) -> nn.Module:
        """Return the same function rearranged for speed."""
        return DeployedBigMoe(self).eval()
