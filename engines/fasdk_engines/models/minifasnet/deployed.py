"""Layers of a MiniFASNet's deployed form, batch norms folded into convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DeployedMiniFasNet(nn.Module):
    """MiniFASNet for export: convolutions with their batch norms folded in.

    Args:
        body: Every layer, in order.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the model; see `PublishedModule.forward`."""
        return (self.body(*inputs),)


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to float [B, C, H, W]."""
        result: Tensor = x + self.body(x)
        return result


class ChannelGate(nn.Module):
    """Squeeze-and-excitation (Hu et al., CVPR 2018) of two convolutions with biases."""

    def __init__(self, squeeze: nn.Conv2d, excite: nn.Conv2d) -> None:
        super().__init__()
        self.squeeze, self.excite = squeeze, excite

    def forward(self, x: Tensor) -> Tensor:
        """Scale float [B, C, H, W] channel by channel."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))


def batch_norm_affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the batch norm as (scale, shift), float64 per channel."""
    if norm.running_mean is None or norm.running_var is None:
        raise AssertionError("a batch norm without running statistics cannot be folded")
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def folded_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution with a bias for a convolution without one and its batch norm."""
    scale, shift = batch_norm_affine(norm)
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        (int(conv.padding[0]), int(conv.padding[1])),
        groups=conv.groups,
    )
    folded.weight.data.copy_(conv.weight.detach().double() * scale[:, None, None, None])
    folded.get_parameter("bias").data.copy_(shift)
    return folded
