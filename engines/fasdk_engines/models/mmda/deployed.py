"""Deployed form of MMDA: the same function up to rounding, in few large operators.

The visual tower runs once over the three modalities: tokens are one matrix [N * 3 * B, width],
token first, then modality, then capture. Its last block computes the class token alone. Behind it
the rows are [3 * B, width], then [B, width].

Folded: the class token into the positions; attention's scales and biases (see `deployed_layers`);
the fusion's two attentions into one stack of heads, as a capture is its own domain partner; an
alignment stage's attention, which sees one token and so passes it on, into one matrix; the experts'
norm gains, side by side, into one matrix, their hidden gains into another, and the classifier into
its experts. Every expert is evaluated: which two count is a choice of weights, not of code.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasdk_engines.models.deployed_layers import (
    ClassTokenAttention,
    StackedAttention,
    constant,
    patches,
    quick_gelu,
)
from fasdk_engines.models.mmda.config import LAMBDA_INIT, LEAST_THRESHOLD, MODALITIES, Routing
from fasdk_engines.models.mmda.layers import ConstantExpert, PerceptronExpert

if TYPE_CHECKING:
    from fasdk_engines.models.clip import ClipBlock, ClipVision
    from fasdk_engines.models.layers import SelfAttention

    # For annotations alone: the published form imports this module.
    from fasdk_engines.models.mmda.published import (
        DomainDifferenceAttention,
        Fusion,
        Gate,
        MixtureOfExperts,
        Mmda,
        RefineLayer,
    )

_MODALITIES = len(MODALITIES)


class DeployedMmda(nn.Module):
    """MMDA for export; holds its own copy of the weights.

    Args:
        published: The trained model, left as it is.
    """

    def __init__(self, published: Mmda) -> None:
        super().__init__()
        adapter = published.adapter
        self.visual = _Vision(published.model.visual, published.config.patch_size)
        self.fusion = _Fusion(adapter.fusion)
        down, up = adapter.u_align.outermost
        self.refine, self.remap = _Refine(down), _Refine(up)
        self.classify = _Mixture(adapter.classifier.net, head=adapter.classifier.proj)

    def forward(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> tuple[Tensor]:
        """Run the model; see `PublishedModule.forward`."""
        fused = self.fusion(self.visual(torch.cat((rgb, depth, ir))))
        return (self.classify(self.remap(self.refine(fused)) + fused),)


class _Vision(nn.Module):
    """CLIP's visual tower over S images at once."""

    def __init__(self, visual: ClipVision, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.patchify = constant(visual.conv1.weight.detach().flatten(1).T)
        position = visual.positional_embedding.detach().clone()
        position[0] += visual.class_embedding.detach()
        self.position = constant(position[:, None])
        tokens, self.width = position.shape
        self.ln_pre = copy.deepcopy(visual.ln_pre)
        blocks = visual.transformer.blocks
        self.blocks = nn.ModuleList(
            _Block(block, tokens, last=index == len(blocks) - 1)
            for index, block in enumerate(blocks)
        )
        self.ln_post = copy.deepcopy(visual.ln_post)
        self.project = constant(visual.proj)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features [S, feature_width] of images [S, 3, H, W]."""
        squares = patches(images, self.patch) @ self.patchify
        # A row of zeros in front is where the position table adds the class tokens.
        tokens = functional.pad(squares, (0, 0, 0, 0, 1, 0)) + self.position
        tokens = self.ln_pre(tokens.reshape(-1, self.width))
        for block in self.blocks:
            tokens = block(tokens)
        feature: Tensor = self.ln_post(tokens) @ self.project
        return feature


class _Block(nn.Module):
    """One transformer block; the last returns the class tokens [S, width] alone."""

    def __init__(self, block: ClipBlock, tokens: int, *, last: bool) -> None:
        super().__init__()
        self.tokens, self.last = tokens, last
        self.width = len(block.ln_1.weight)
        self.ln_1 = copy.deepcopy(block.ln_1)
        self.attention = (ClassTokenAttention if last else StackedAttention)(block.attn, tokens)
        self.ln_2 = copy.deepcopy(block.ln_2)
        self.expand = constant(block.mlp.get_parameter("c_fc.weight").T)
        self.expand_bias = constant(block.mlp.get_parameter("c_fc.bias"))
        self.contract = constant(block.mlp.get_parameter("c_proj.weight").T)
        self.contract_bias = constant(block.mlp.get_parameter("c_proj.bias"))

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform [N * S, width]."""
        attended = self.attention(self.ln_1(tokens))
        if self.last:
            tokens = tokens.reshape(self.tokens, -1, self.width)[0]
        hidden = tokens + attended
        inner = quick_gelu(torch.addmm(self.expand_bias, self.ln_2(hidden), self.expand))
        transformed: Tensor = hidden + torch.addmm(self.contract_bias, inner, self.contract)
        return transformed


class _Fusion(nn.Module):
    """The fusion of [3 * B, width], modality first, into [B, width]."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.ln_1 = copy.deepcopy(fusion.ln1)
        self.attention = _DifferenceAttention(fusion.attn)
        self.ln_2 = copy.deepcopy(fusion.ln2)
        self.mixture = _Mixture(fusion.net)
        self.width = len(fusion.proj.weight)
        self.project = constant(fusion.proj.weight.T)
        self.bias = constant(fusion.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Fuse."""
        attended = x + self.attention(self.ln_1(x))
        joined = x + attended + self.mixture(self.ln_2(attended))
        by_capture = joined.reshape(_MODALITIES, -1, self.width).transpose(0, 1)
        rows = by_capture.reshape(-1, _MODALITIES * self.width)
        return torch.addmm(self.bias, rows, self.project)


class _DifferenceAttention(nn.Module):
    """Attention over the modalities, its own heads and the domain's side by side."""

    def __init__(self, attention: DomainDifferenceAttention) -> None:
        super().__init__()
        self.heads = attention.heads
        width = self.width = len(attention.w_qs.weight)
        scale = width**-0.5
        stacked = [
            attention.w_qs.weight * scale,
            attention.w_dqs.weight * scale,
            attention.w_ks.weight,
            attention.w_dks.weight,
            attention.w_vs.weight,
        ]
        self.project = constant(torch.cat(stacked).T)
        self.domain_share = constant(attention.domain_share)
        self.norm = _RmsNorm(width, attention.ln.eps)
        self.gain = constant(attention.ln.weight * (width**0.5 * (1.0 - LAMBDA_INIT)))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over [3 * B, width]."""
        width, head = self.width, self.width // self.heads
        projected = x @ self.project
        query = projected[:, : 2 * width].reshape(_MODALITIES, -1, head).transpose(0, 1)
        key = projected[:, 2 * width : 4 * width].reshape(_MODALITIES, -1, head).permute(1, 2, 0)
        value = projected[:, 4 * width :].reshape(_MODALITIES, -1, head).transpose(0, 1)
        weights = (query @ key).softmax(dim=-1).reshape(-1, 2, self.heads * _MODALITIES**2)
        weights = weights[:, 0] - weights[:, 1] * self.domain_share
        mixed = weights.reshape(-1, _MODALITIES, _MODALITIES) @ value
        normed: Tensor = self.norm(mixed.transpose(0, 1).reshape(-1, width)) * self.gain
        return normed


class _RmsNorm(nn.Module):
    """x / sqrt(sum(x^2) + width * eps): the RMS norm without its gain and sqrt(width).

    The constant is one more element under one Euclidean norm, so that no square, which half
    precision might not hold, leaves an operator.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.least = (width * eps) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """Normalize [rows, width]."""
        padded = functional.pad(x, (0, 1), value=self.least)
        length: Tensor = torch.linalg.vector_norm(padded, dim=-1, keepdim=True)
        return x / length


class _Mixture(nn.Module):
    """All experts of a mixture at once, weighed by the gate.

    Args:
        mixture: The trained layer, left as it is.
        head: A linear layer behind it, folded in, or None.
    """

    def __init__(self, mixture: MixtureOfExperts, head: nn.Linear | None = None) -> None:
        super().__init__()
        self.gate = _Gate(mixture.gate)
        experts = list(mixture.experts.experts)
        perceptrons = [_Folded.of(e) for e in experts if isinstance(e, PerceptronExpert)]
        constants = [e.const.detach().double() for e in experts if isinstance(e, ConstantExpert)]
        self.experts = len(perceptrons)
        # Columns: the values of every expert, then the gates of every expert.
        self.expand = constant(_halves_together([p.expand for p in perceptrons]).T.float())
        self.expand_bias = constant(_halves_together([p.bias for p in perceptrons]).float())
        contract = torch.cat([p.contract.T for p in perceptrons])
        offsets = torch.stack([*(p.offset for p in perceptrons), *constants])
        self.output_bias: nn.Parameter | None = None
        if head is not None:
            weight = head.weight.detach().double().T
            contract, offsets = contract @ weight, offsets @ weight
            self.output_bias = constant(head.bias)
        self.norm = _RmsNorm(len(self.expand), perceptrons[0].eps)
        self.contract = constant(contract.float())
        self.offsets = constant(offsets.float())
        self.hidden = len(contract) // self.experts

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed sum [rows, out] of the experts' outputs for [rows, width]."""
        weights = self.gate(x)
        inner = torch.addmm(self.expand_bias, self.norm(x), self.expand)
        columns = self.experts * self.hidden
        value, gate = inner[:, :columns], inner[:, columns:]
        by_expert = (value * functional.gelu(gate)).reshape(-1, self.experts, self.hidden)
        weighed = (by_expert * weights[:, : self.experts, None]).reshape(-1, columns)
        if self.output_bias is None:
            offset = weights @ self.offsets
        else:
            offset = torch.addmm(self.output_bias, weights, self.offsets)
        return torch.addmm(offset, weighed, self.contract)


@dataclass(frozen=True)
class _Folded:
    """A perceptron expert's constants in float64, its gains folded into its matrices.

    Attributes:
        expand: Weight of the first layer, [2 * hidden, width], for a vector normalized to length 1.
        bias: Bias of the first layer, [2 * hidden].
        contract: Weight of the second layer, [width, hidden].
        offset: Bias of the second layer, [width].
        eps: Epsilon of the expert's normalization.
    """

    expand: Tensor
    bias: Tensor
    contract: Tensor
    offset: Tensor
    eps: float

    @staticmethod
    def of(expert: PerceptronExpert) -> _Folded:
        def weight(name: str) -> Tensor:
            return expert.net.get_parameter(name).detach().double()

        gain = weight("0.weight")
        return _Folded(
            expand=weight("1.weight") * gain * len(gain) ** 0.5,
            bias=weight("1.bias"),
            contract=weight("3.weight") * weight("2.mult_bias"),
            offset=weight("3.bias"),
            eps=expert.eps,
        )


def _halves_together(tensors: list[Tensor]) -> Tensor:
    """Return the first halves of all, then the second halves."""
    return torch.cat([tensor.chunk(2)[half] for half in (0, 1) for tensor in tensors])


class _Gate(nn.Module):
    """The weight of every expert; stays float32 in half precision, where near ties would flip."""

    numbers: Tensor

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.routing = gate.routing
        self.choose = constant(gate.to_gates.weight.T)
        self.threshold = max(float(gate.threshold_eval[1]), LEAST_THRESHOLD)
        self.register_buffer("numbers", torch.arange(len(gate.to_gates.weight)))

    def forward(self, x: Tensor) -> Tensor:
        """Return [rows, experts] for [rows, width]; at most two of a row are not 0."""
        best, chosen = (x @ self.choose).topk(2, dim=-1)
        # Renormalizing two of many softmax values is the softmax of those two.
        gates = best.softmax(dim=-1)
        first, second = gates[:, :1], gates[:, 1:]
        if self.routing is Routing.EXPECTED:
            second = second * (second / self.threshold).clamp(max=1.0)
        elif self.routing is Routing.ABOVE_THRESHOLD:
            second = second * (second >= self.threshold)
        taken = (chosen[:, :, None] == self.numbers).to(x.dtype)
        return (torch.cat([first, second], dim=-1)[:, None] @ taken).squeeze(1)


class _Refine(nn.Module):
    """One alignment stage on [B, width]; its attention sees one token, so its weight is 1."""

    def __init__(self, layer: RefineLayer) -> None:
        super().__init__()
        self.ln_1 = copy.deepcopy(layer.ln1)
        self.attend, self.attend_bias = _single_token(layer.attn)
        self.ln_2 = copy.deepcopy(layer.ln2)
        self.mixture = _Mixture(layer.to_feature)

    def forward(self, x: Tensor) -> Tensor:
        """Refine."""
        attended = x + torch.addmm(self.attend_bias, self.ln_1(x), self.attend)
        refined: Tensor = x + attended + self.mixture(self.ln_2(attended))
        return refined


def _single_token(attention: SelfAttention) -> tuple[nn.Parameter, nn.Parameter]:
    """Return self-attention over one token as a matrix [width, width] and a bias [width]."""
    value = attention.in_proj_weight.detach().double().chunk(3)[2]
    value_bias = attention.in_proj_bias.detach().double().chunk(3)[2]
    out, out_bias = attention.out_proj.weight.detach().double(), attention.out_proj.bias.detach()
    weight, bias = out @ value, out @ value_bias + out_bias.double()
    return constant(weight.T.float()), constant(bias.float())
