"""Published form of MMDA: CLIP's visual tower, fused by difference attention and experts.

Purify then Guide: Rethinking Domain Generalization for Multimodal Face Anti-Spoofing, ECCV 2026
(arXiv 2505.09484). Three things of the published evaluation are not kept:

- It draws at random whether a token's second expert is used. Here that is the expectation of the
  second expert's weight (`Routing.EXPECTED`).
- Its score depends on batch-mates, in two ways: the alignment stages attend over the captures of a
  batch, and the domain partner of the fusion is the first capture of the batch from the same data
  set. Here a capture attends to itself and is its own partner, which is what the published code
  computes at batch one. Its test loop ran batches of 3 neighboring rows of a list sorted by label,
  so the published error rates were not measured at batch one.
- The text tower and all alignment stages but the outermost do not reach the class output. They
  steer training and are dropped at deployment.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.clip import ClipVision
from fasdk_engines.models.layers import SelfAttention
from fasdk_engines.models.mmda.config import (
    LAMBDA_INIT,
    LEAST_THRESHOLD,
    MODALITIES,
    MmdaConfig,
    Routing,
)
from fasdk_engines.models.mmda.deployed import DeployedMmda
from fasdk_engines.models.mmda.layers import ConstantExpert, PerceptronExpert, RmsNorm

_BALANCE_WEIGHT, _LOGIT_WEIGHT = 1e-2, 1e-3


class Gate(nn.Module):
    """Selection of two experts for each token, and their weights.

    `threshold_train` and `threshold_eval` are published buffers, float32 [2]; a checkpoint's own
    values count. Their first entry belongs to the first expert, which is always used.
    """

    threshold_train: Tensor
    threshold_eval: Tensor

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        self.routing = config.routing
        count = config.experts + config.constant_experts
        self.to_gates = nn.Linear(config.feature_width, count, bias=False)
        thresholds = torch.tensor([LEAST_THRESHOLD, config.threshold])
        self.register_buffer("threshold_train", thresholds)
        self.register_buffer("threshold_eval", thresholds.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weigh the experts; in training the second is used at random, as published.

        Args:
            x: [B, N, width].

        Returns:
            Weights [B, N, experts], at most two of a token not 0, and the auxiliary loss, a
            scalar: 0 in evaluation.
        """
        logits = self.to_gates(x)
        probabilities = logits.softmax(dim=-1)
        best, chosen = probabilities.topk(2, dim=-1)
        first, second = (best / best.sum(-1, keepdim=True)).chunk(2, dim=-1)
        factor = self._second_factor(second)
        # The first expert's weight is not renormalized where the second is dropped.
        weights = torch.cat([first, second * factor], dim=-1)
        weights = torch.zeros_like(probabilities).scatter(-1, chosen, weights)
        if not self.training:
            return weights, x.new_zeros(())
        taken = functional.one_hot(chosen[..., 0], probabilities.shape[-1]).to(x.dtype)
        balance = taken.mean(dim=-2) * probabilities.mean(dim=-2)
        balance = balance.mean() * probabilities.shape[-1] ** 2
        size = logits.logsumexp(dim=-1).square().mean()
        return weights, _BALANCE_WEIGHT * balance + _LOGIT_WEIGHT * size

    def _second_factor(self, second: Tensor) -> Tensor:
        threshold = self.threshold_train if self.training else self.threshold_eval
        share = second / threshold[1].clamp(min=LEAST_THRESHOLD)
        if self.training:
            return (torch.rand_like(share) < share).to(share.dtype)
        if self.routing is Routing.SECOND_ALWAYS:
            return torch.ones_like(share)
        if self.routing is Routing.ABOVE_THRESHOLD:
            return (share >= 1.0).to(share.dtype)
        return share.clamp(max=1.0)


class _Experts(nn.Module):
    """The experts under their published names; perceptrons first."""

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        width = config.feature_width
        perceptrons = (PerceptronExpert(width, config.expert_hidden) for _ in range(config.experts))
        constants = (ConstantExpert(width) for _ in range(config.constant_experts))
        self.experts = nn.ModuleList([*perceptrons, *constants])

    def forward(self, x: Tensor) -> Tensor:
        """Return every expert's output [..., width, experts]."""
        return torch.stack([expert(x) for expert in self.experts], dim=-1)


class MixtureOfExperts(nn.Module):
    """A weighed sum of two experts a token.

    An expert's capacity, which drops tokens of long sequences in the published code, is left out:
    it is at least 4, and no sequence there is longer than 3. So is the gradient through the scale
    of an expert's input (straight-through dispatch): the expert's RMS norm cancels it.

    Args:
        config: Settings of the model it is part of.
    """

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        self.gate = Gate(config)
        self.experts = _Experts(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transform float [B, N, width]; return the same shape and the gate's auxiliary loss."""
        weights, loss = self.gate(x)
        return (self.experts(x) @ weights[..., None]).squeeze(-1), loss


class DomainDifferenceAttention(nn.Module):
    """MD2A: attention between the modalities, minus the attention to their domain.

    Args:
        config: Settings of the model it is part of.
    """

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        width = config.feature_width
        self.heads = config.attention_heads
        self.w_qs = nn.Linear(width, width, bias=False)
        self.w_ks = nn.Linear(width, width, bias=False)
        self.w_vs = nn.Linear(width, width, bias=False)
        self.w_dqs = nn.Linear(width, width, bias=False)
        self.w_dks = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(config.attention_dropout)
        self.lambda_q1 = nn.Parameter(torch.empty(width).normal_(std=0.1))
        self.lambda_k1 = nn.Parameter(torch.empty(width).normal_(std=0.1))
        self.lambda_q2 = nn.Parameter(torch.empty(width).normal_(std=0.1))
        self.lambda_k2 = nn.Parameter(torch.empty(width).normal_(std=0.1))
        self.ln = RmsNorm(width, eps=1e-5)

    @property
    def domain_share(self) -> Tensor:
        """The factor on the domain's attention, a scalar."""
        first = torch.exp((self.lambda_q1 * self.lambda_k1).sum())
        return first - torch.exp((self.lambda_q2 * self.lambda_k2).sum()) + LAMBDA_INIT

    def forward(self, x: Tensor, partner: Tensor) -> Tensor:
        """Attend over the modalities of [B, 3, width]; `partner` is the domain partner's same."""
        batch, tokens, width = x.shape

        def split(projected: Tensor) -> Tensor:
            return projected.reshape(batch, tokens, self.heads, -1).transpose(1, 2)

        # The published scale is that of the whole width, not of a head.
        scale = width**-0.5
        own = split(self.w_qs(x)) * scale @ split(self.w_ks(x)).transpose(2, 3)
        domain = split(self.w_dqs(partner)) * scale @ split(self.w_dks(partner)).transpose(2, 3)
        weights = self.dropout(own.softmax(-1))
        weights = weights - self.domain_share * self.dropout(domain.softmax(-1))
        mixed = (weights @ split(self.w_vs(x))).transpose(1, 2).reshape(batch, tokens, width)
        normed: Tensor = self.ln(mixed) * (1.0 - LAMBDA_INIT)
        return normed


class Fusion(nn.Module):
    """Three modalities' features into one.

    Args:
        config: Settings of the model it is part of.
    """

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        width = config.feature_width
        self.attn = DomainDifferenceAttention(config)
        self.net = MixtureOfExperts(config)
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)
        self.proj = nn.Linear(len(MODALITIES) * width, width)

    def forward(self, x: Tensor, partner: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Fuse a capture's features.

        Args:
            x: [B, 3, width], RGB, depth, IR.
            partner: Features [B, 3, width] of another capture of each one's domain; None takes the
                capture itself.

        Returns:
            The fused feature [B, 1, width] and the mixture's auxiliary loss.
        """
        normed = self.ln1(x)
        attended = x + self.attn(normed, normed if partner is None else self.ln1(partner))
        refined, loss = self.net(self.ln2(attended))
        return self.proj((x + attended + refined).flatten(1))[:, None], loss


class RefineLayer(nn.Module):
    """One alignment stage: self-attention and a mixture of experts, with residuals.

    Args:
        config: Settings of the model it is part of.
    """

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        width = config.feature_width
        self.attn = SelfAttention(width, config.attention_heads)
        self.to_feature = MixtureOfExperts(config)
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Refine float [B, N, width], attending over N; return the same shape and auxiliary loss.

        N is 1 for a capture. The published training attends over its batch and over the texts of a
        class: that is [1, batch, width] here.
        """
        attended = x + self.attn(self.ln1(x))
        # One sequence of length 1 a token, as published: experts are balanced for each by itself.
        refined, loss = self.to_feature(self.ln2(attended).flatten(0, 1)[:, None])
        return x + attended + refined.reshape_as(x), loss


class Alignment(nn.Module):
    """U-DSA: stages down into ever more refined feature spaces, and as many back up.

    Args:
        config: Settings of the model it is part of.
        depth: Stages each way. Only the outermost pair reaches the class output.
    """

    def __init__(self, config: MmdaConfig, depth: int) -> None:
        super().__init__()
        self.refine = nn.ModuleList(RefineLayer(config) for _ in range(depth))
        self.remapping = nn.ModuleList(RefineLayer(config) for _ in range(depth))

    @property
    def outermost(self) -> tuple[RefineLayer, RefineLayer]:
        """The first stage down and the last stage up."""
        down, up = self.refine[0], self.remapping[0]
        if not (isinstance(down, RefineLayer) and isinstance(up, RefineLayer)):
            raise TypeError("an alignment stage was replaced by something else")
        return down, up

    def forward(self, fused: Tensor) -> Tensor:
        """Return what the classifier reads of the fused feature [B, 1, width], same shape."""
        down, up = self.outermost
        remapped, _ = up(down(fused)[0])
        aligned: Tensor = remapped + fused
        return aligned


class Classifier(nn.Module):
    """A mixture of experts and a linear layer.

    Args:
        config: Settings of the model it is part of.
    """

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        self.net = MixtureOfExperts(config)
        self.proj = nn.Linear(config.feature_width, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, 2] of [B, 1, width], and the mixture's auxiliary loss."""
        mixed, loss = self.net(x)
        return self.proj(mixed).squeeze(1), loss


class _Adapter(nn.Module):
    """Layers behind the visual tower, under their published names."""

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        self.fusion = Fusion(config)
        self.classifier = Classifier(config)
        self.u_align = Alignment(config, depth=1)


class _Clip(nn.Module):
    """The part of CLIP that reaches the class output."""

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        self.visual = ClipVision(
            config.image_size,
            config.patch_size,
            config.width,
            config.depth,
            config.heads,
            config.feature_width,
        )


class Mmda(PublishedModule):
    """MMDA under its published parameter names, without what only training needs.

    Args:
        config: Settings of the model.
    """

    def __init__(self, config: MmdaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Clip(config)
        self.adapter = _Adapter(config)

    def encode(self, *inputs: Tensor) -> Tensor:
        """Return the visual tower's features [B, 3, feature_width] of RGB, depth and IR images."""
        return torch.stack([self.model.visual(image) for image in inputs], dim=1)

    def features(self, *inputs: Tensor) -> Tensor:
        """Return the fused feature [B, feature_width]; inputs as in `forward`."""
        fused: Tensor = self.adapter.fusion(self.encode(*inputs))[0]
        return fused.squeeze(1)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        aligned = self.adapter.u_align(self.features(*inputs)[:, None])
        return (self.adapter.classifier(aligned)[0],)

    def deployed(self) -> nn.Module:
        """Return the same function rearranged for speed."""
        return DeployedMmda(self).eval()
