"""CDCN_3modality2: an example of a model added by a distribution of its own.

Yu et al., Multi-Modal Face Anti-Spoofing Based on Central Difference Networks, CVPR Workshops 2020;
project ZitongYu/CDCN, whose licence allows research alone. Three branches of central-difference
convolutions, in the order RGB, IR, depth, meet in one map of the face, trained to be 1 on bona fide
skin and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from fasdk.capture import Modality
from fasdk.preprocess import CropRule, DepthEncoding, DepthPolarity, PreprocessSpec
from fasdk_engines.models.base import Family, ModelConfig, PublishedModule
from fasdk_engines.models.layers import CentralDifferenceConv

MODALITIES = (Modality.RGB, Modality.IR, Modality.DEPTH)
_BRANCHES = ("M1", "M2", "M3")
_STAGES = ("Block1", "Block2", "Block3")
_REDUCTION = 8  # side of the image over side of the map
_MEAN, _STD = 127.5, 128.0
_MODE = "bilinear"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what image libraries call gray


class CdcnConfig(ModelConfig):
    """Settings of CDCN_3modality2; the defaults are the published ones.

    Attributes:
        image_size: Side of the square input in pixels, a multiple of 8; the map is an eighth of it.
        stem: Channels after the first convolution.
        width: Channels between stages.
        inner: Channels inside a stage.
        theta: Share of the central difference.
        depth_near_mm: Depth drawn as 255 (see `DepthEncoding`).
        depth_far_mm: Depth drawn as 1.
    """

    image_size: int = Field(default=256, ge=16, le=1024)
    stem: int = Field(default=64, ge=1, le=1024)
    width: int = Field(default=128, ge=1, le=1024)
    inner: int = Field(default=196, ge=1, le=1024)
    theta: float = Field(default=0.7, ge=0.0, le=1.0)
    depth_near_mm: int = Field(default=300, ge=1, le=65534)
    depth_far_mm: int = Field(default=1500, ge=2, le=65535)

    @field_validator("image_size")
    @classmethod
    def _divides(cls, image_size: int) -> int:
        if image_size % _REDUCTION:
            raise ValueError(f"image_size {image_size} is not a multiple of {_REDUCTION}")
        return image_size


class Cdcn3Modality2(PublishedModule):
    """CDCN_3modality2 under its published parameter names.

    The depth branch takes its middle features from RGB, as the published code does: it names the
    wrong branch there, and weights trained with it depend on that.
    """

    def __init__(self, config: CdcnConfig) -> None:
        super().__init__()
        self.config = config
        stem, width, inner, theta = config.stem, config.width, config.inner, config.theta
        for branch in _BRANCHES:
            setattr(self, f"conv1_{branch}", nn.Sequential(*_unit(3, stem, theta)))
            before = stem
            for stage in _STAGES:
                units = (
                    *_unit(before, width, theta),
                    *_unit(width, inner, theta),
                    *_unit(inner, width, theta),
                )
                setattr(self, f"{stage}_{branch}", nn.Sequential(*units, _halve()))
                before = width
            setattr(self, f"lastconv1_{branch}", nn.Sequential(*_unit(3 * width, width, theta)))
        self.lastconv2 = nn.Sequential(*_unit(3 * width, width, theta))
        self.lastconv3 = nn.Sequential(CentralDifferenceConv(width, theta, 1), nn.ReLU())

    def maps(self, *inputs: Tensor) -> Tensor:
        """Return the face maps, float32 [B, S, S] from 0 on, of RGB, IR and depth images."""
        side = self.config.image_size // _REDUCTION
        return _maps(self, inputs, lambda x: functional.interpolate(x, (side, side), mode=_MODE))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the model; see `PublishedModule.forward`."""
        return (_logits(self.maps(*inputs), inputs[0]),)

    def deployed(self) -> nn.Module:
        """Return the same function with differences and batch norms folded into convolutions."""
        return _Deployed(self).eval()


class _Deployed(nn.Module):
    def __init__(self, published: Cdcn3Modality2) -> None:
        super().__init__()
        for name, sequence in published.named_children():
            if isinstance(sequence, nn.Sequential):
                setattr(self, name, _folded(sequence))
        self.side = published.config.image_size // _REDUCTION

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (_logits(_maps(self, inputs, self._shrink), inputs[0]),)

    def _shrink(self, x: Tensor) -> Tensor:
        """Resize bilinearly by 4, 2 or 1: the mean of the four pixels amid each square."""
        factor = int(x.shape[-1]) // self.side
        if factor == 1:
            return x
        edge = factor // 2 - 1
        inside = x[:, :, edge : x.shape[2] - edge, edge : x.shape[3] - edge] if edge else x
        return functional.avg_pool2d(inside, 2, factor)


def _unit(before: int, after: int, theta: float) -> tuple[nn.Module, ...]:
    return CentralDifferenceConv(before, theta, after), nn.BatchNorm2d(after), nn.ReLU()


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=1)


def _maps(net: nn.Module, images: tuple[Tensor, ...], shrink: Callable[[Tensor], Tensor]) -> Tensor:
    """Run either form of the network: three branches of three stages, joined twice."""
    joined, middle_of_rgb = [], images[0]
    for branch, image in zip(_BRANCHES, images, strict=True):
        x = net.get_submodule(f"conv1_{branch}")(image)
        shrunk = []
        for stage in _STAGES:
            x = net.get_submodule(f"{stage}_{branch}")(x)
            if stage == "Block2" and branch == "M1":
                middle_of_rgb = shrink(x)
            is_middle_of_depth = stage == "Block2" and branch == "M3"
            shrunk.append(middle_of_rgb if is_middle_of_depth else shrink(x))
        joined.append(net.get_submodule(f"lastconv1_{branch}")(torch.cat(shrunk, 1)))
    fused = net.get_submodule("lastconv2")(torch.cat(joined, 1))
    maps: Tensor = net.get_submodule("lastconv3")(fused)
    return maps.squeeze(1)


def _logits(maps: Tensor, rgb: Tensor) -> Tensor:
    """Return (0, 8 s - 4) of the published score s: the map's sum over the face's cells, at most 1.

    Published evaluation counts the cells in which the gray RGB picture, black around the face, is
    not black; here the picture is the 8-bit RGB tensor it was resized to. A straight line keeps
    rounding as small as it is in the map, where log-odds would magnify it without bound.

    Args:
        maps: Predicted depth maps, float32 [B, S, S].
        rgb: float32 [B, 3, 8 S, 8 S], normalized.
    """
    amid = _REDUCTION // 2 - 1
    size = int(rgb.shape[-1])
    inside = rgb[:, :, amid : size - amid, amid : size - amid]
    planes = functional.avg_pool2d(inside, 2, _REDUCTION)
    red, green, blue = (planes[:, c : c + 1] for c in range(3))
    gray = _STD * (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue) + _MEAN
    face = torch.where(gray >= 0.5, torch.ones_like(gray), torch.zeros_like(gray))
    cells = face.sum((1, 2, 3)).clamp(min=1.0)
    score = (maps.sum((1, 2)) / cells).clamp(max=1.0)
    return torch.stack([torch.zeros_like(score), 8.0 * score - 4.0], 1)


def _folded(sequence: nn.Sequential) -> nn.Sequential:
    """Return the same steps with each difference and batch norm inside its convolution."""
    steps: list[nn.Module] = []
    for step in sequence:
        if isinstance(step, CentralDifferenceConv):
            steps.append(_plain(step.folded_weight()))
        elif isinstance(step, nn.BatchNorm2d):
            _fold_norm(steps[-1], step)
        else:
            steps.append(step)
    return nn.Sequential(*steps)


def _plain(weight: Tensor) -> nn.Conv2d:
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    conv.weight.data = weight.clone()
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def _fold_norm(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight.detach().double() / torch.sqrt(variance.double() + norm.eps)
    shift = norm.bias.detach().double() - mean.double() * scale
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    weight.data = (weight.detach().double() * scale[:, None, None, None]).to(weight.dtype)
    bias.data = (bias.detach().double() * scale + shift).to(bias.dtype)


def _preprocess(config: CdcnConfig) -> dict[Modality, PreprocessSpec]:
    """Return how the published loader made its tensors: face pictures whole, RGB, +-1.

    How the data set drew depth is not published; near is bright over arm's length is ours.
    """

    def spec(depth: DepthEncoding | None = None) -> PreprocessSpec:
        return PreprocessSpec(
            width=config.image_size,
            height=config.image_size,
            crop=CropRule.FACE,
            depth=depth,
            mean=(_MEAN, _MEAN, _MEAN),
            std=(_STD, _STD, _STD),
        )

    encoding = DepthEncoding(
        near_mm=config.depth_near_mm,
        far_mm=config.depth_far_mm,
        polarity=DepthPolarity.NEAR_BRIGHT,
    )
    return {Modality.RGB: spec(), Modality.IR: spec(), Modality.DEPTH: spec(encoding)}


FAMILIES = (
    Family(
        name="cdcn-3modality2",
        published_in="Yu et al., CDCN_3modality2, CVPR Workshops 2020",
        modalities=MODALITIES,
        required=MODALITIES,  # nothing is published for an absent one
        labels=("attack", "live"),
        live_index=1,
        has_certainty=False,
        config_type=CdcnConfig,
        configs={
            "full": CdcnConfig(),
            "tiny": CdcnConfig(image_size=64, stem=8, width=16, inner=24),
        },
        build=Cdcn3Modality2,
        preprocess=_preprocess,
    ),
)
