"""Published form of MiniFASNetV2 and MiniFASNetV1SE, small convolutional RGB models.

Minivision, Silent-Face-Anti-Spoofing (Apache-2.0): pruned MobileFaceNets on an 80x80 crop around
the face, each trained at its own crop scale; their softmaxes are meant to be averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fasdk_engines.models.base import PublishedModule
from fasdk_engines.models.minifasnet.config import MiniFasNetConfig, Stages
from fasdk_engines.models.minifasnet.deployed import (
    ChannelGate,
    DeployedMiniFasNet,
    Residual,
    batch_norm_affine,
    folded_conv,
)

_EMBEDDING = 128


class ConvUnit(nn.Module):
    """Convolution, batch norm and, unless it is linear, PReLU.

    Args:
        channels: Input and output channels.
        kernel: Side of the kernel.
        stride: Stride of the convolution, in pixels.
        padding: Zero padding on each side, in pixels.
        groups: Groups of the convolution.
        linear: Leave the PReLU out.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels[1])
        self.prelu: nn.Module = nn.Identity() if linear else nn.PReLU(channels[1])

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to float [B, C, H, W]."""
        activated: Tensor = self.prelu(self.bn(self.conv(x)))
        return activated

    def deployed(self) -> nn.Module:
        """Return it with the batch norm folded into the convolution."""
        return nn.Sequential(folded_conv(self.conv, self.bn), self.prelu)


class SqueezeExcite(nn.Module):
    """Channel gate from the global average (Hu et al., CVPR 2018), a quarter as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 4)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale float [B, C, H, W] channel by channel."""
        pooled = x.mean((2, 3), keepdim=True)
        inner = torch.relu(self.bn1(self.fc1(pooled)))
        return x * torch.sigmoid(self.bn2(self.fc2(inner)))

    def deployed(self) -> nn.Module:
        """Return it with both batch norms folded."""
        return ChannelGate(folded_conv(self.fc1, self.bn1), folded_conv(self.fc2, self.bn2))


class BottleneckUnit(nn.Module):
    """Pointwise, depthwise, pointwise; residual where the stride is 1.

    Args:
        channels: Input, inner and output channels.
        stride: 1 or 2.
        squeeze: Gate the result's channels before it is added.
    """

    def __init__(
        self, channels: tuple[int, int, int], *, stride: int = 1, squeeze: bool = False
    ) -> None:
        super().__init__()
        before, inner, after = channels
        self.residual = stride == 1
        self.conv = ConvUnit((before, inner))
        self.conv_dw = ConvUnit((inner, inner), 3, stride=stride, padding=1, groups=inner)
        self.project = ConvUnit((inner, after), linear=True)
        self.se_module: nn.Module = SqueezeExcite(after) if squeeze else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to float [B, C, H, W]."""
        y: Tensor = self.se_module(self.project(self.conv_dw(self.conv(x))))
        return x + y if self.residual else y

    def deployed(self) -> nn.Module:
        """Return it with every batch norm folded."""
        steps = [self.conv.deployed(), self.conv_dw.deployed(), self.project.deployed()]
        if isinstance(self.se_module, SqueezeExcite):
            steps.append(self.se_module.deployed())
        body = nn.Sequential(*steps)
        return Residual(body) if self.residual else body


class _Units(nn.Module):
    """A stage's residual units; the published names have `model` between stage and number."""

    def __init__(self, units: Sequence[BottleneckUnit]) -> None:
        super().__init__()
        self.model = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model(x)
        return result


class MiniFasNet(PublishedModule):
    """A MiniFASNet under its published parameter names.

    Args:
        stages: The channels of its three stages.
        config: Settings of the model.
    """

    def __init__(self, stages: Stages, config: MiniFasNetConfig) -> None:
        super().__init__()
        self.classes = config.classes
        self.conv1 = ConvUnit((3, 32), 3, stride=2, padding=1)
        self.conv2_dw = ConvUnit((32, 32), 3, padding=1, groups=32)
        channels = 32
        for stage, (opening, units) in zip(stages, self._stage_names(), strict=True):
            setattr(self, opening, BottleneckUnit((channels, stage.reduce, stage.out), stride=2))
            last = len(stage.units) - 1
            setattr(
                self,
                units,
                _Units(
                    [
                        self._unit(stage.out, inner, gated=config.squeeze_excite and i == last)
                        for i, inner in enumerate(stage.units)
                    ]
                ),
            )
            channels = stage.out
        self.conv_6_sep = ConvUnit((channels, 512))
        self.conv_6_dw = ConvUnit((512, 512), config.last_side, groups=512, linear=True)
        self.linear = nn.Linear(512, _EMBEDDING, bias=False)
        self.bn = nn.BatchNorm1d(_EMBEDDING)
        self.prob = nn.Linear(_EMBEDDING, config.classes, bias=False)

    @staticmethod
    def _unit(channels: int, inner: int, *, gated: bool) -> BottleneckUnit:
        return BottleneckUnit((channels, inner, channels), squeeze=gated)

    @staticmethod
    def _stage_names() -> tuple[tuple[str, str], ...]:
        return (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5"))

    def _trunk(self) -> list[ConvUnit | BottleneckUnit | _Units]:
        stages = [getattr(self, name) for pair in self._stage_names() for name in pair]
        return [self.conv1, self.conv2_dw, *stages, self.conv_6_sep, self.conv_6_dw]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the model; see `PublishedModule.forward`."""
        (x,) = inputs
        for step in self._trunk():
            x = step(x)
        return (self.prob(self.bn(self.linear(x.flatten(1)))),)

    def deployed(self) -> nn.Module:
        """Return the same function with batch norms folded and the two last layers made one."""
        steps: list[nn.Module] = []
        for step in self._trunk():
            if isinstance(step, _Units):
                units = [u for u in step.model if isinstance(u, BottleneckUnit)]
                steps.extend(unit.deployed() for unit in units)
            else:
                steps.append(step.deployed())
        scale, shift = batch_norm_affine(self.bn)
        prob = self.prob.weight.detach().double()
        classify = nn.Linear(512, self.classes)
        weight = prob @ (scale[:, None] * self.linear.weight.detach().double())
        classify.weight.data.copy_(weight)
        classify.bias.data.copy_(prob @ shift)
        return DeployedMiniFasNet(nn.Sequential(*steps, nn.Flatten(), classify)).eval()
