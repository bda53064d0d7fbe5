"""Experts of MMDA's mixtures, under the parameter names of its checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), times a learnt gain."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize float [..., width] along its last axis."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class _GatedGelu(nn.Module):
    """value * gelu(gate) * gain, value and gate being the two halves of the input."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mult_bias = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * functional.gelu(gate) * self.mult_bias


class PerceptronExpert(nn.Module):
    """A normalized perceptron with a gated hidden layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        expand, contract = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        norm = RmsNorm(width)
        self.eps = norm.eps
        self.net = nn.Sequential(norm, expand, _GatedGelu(hidden), contract)

    def forward(self, x: Tensor) -> Tensor:
        """Transform float [..., width]."""
        transformed: Tensor = self.net(x)
        return transformed


class ConstantExpert(nn.Module):
    """A learnt vector, whatever the token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.empty(width).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Return float [..., width]."""
        return self.const.expand_as(x)
