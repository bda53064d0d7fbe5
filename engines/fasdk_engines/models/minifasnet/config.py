"""Settings of MiniFASNetV2 and MiniFASNetV1SE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from fasdk.preprocess import ChannelOrder
from fasdk_engines.models.input_settings import InputConfig, Normalization

if TYPE_CHECKING:
    from typing_extensions import Self

_PUBLISHED_CLASSES, _PUBLISHED_LIVE = 3, 1
_STRIDE = 16  # input pixels a pixel of the last feature map stands for


class MiniFasNetConfig(InputConfig):
    """Settings of a MiniFASNet; the channels are what pruning left, and no setting.

    Attributes:
        image_size: Side of the square input in pixels.
        classes: Number of classes.
        live_index: Index of the live class; None is class 1 of the published three.
        squeeze_excite: Whether each stage's last unit gates its channels.
    """

    normalization: Normalization = Normalization.LEVELS
    channel_order: ChannelOrder = ChannelOrder.BGR
    image_size: int = Field(default=80, ge=16, le=1024)
    classes: int = Field(default=_PUBLISHED_CLASSES, ge=2, le=64)
    live_index: int | None = Field(default=None, ge=0)
    squeeze_excite: bool = False

    @model_validator(mode="after")
    def _live_class(self) -> Self:
        if self.live_index is None and self.classes != _PUBLISHED_CLASSES:
            raise ValueError(
                f"{self.classes} classes without live_index: give the index of the live class"
            )
        if self.live >= self.classes:
            raise ValueError(f"live_index {self.live} is not below classes {self.classes}")
        return self

    @property
    def live(self) -> int:
        """Index of the live class."""
        return _PUBLISHED_LIVE if self.live_index is None else self.live_index

    @property
    def last_side(self) -> int:
        """Side of the last feature map in pixels."""
        return (self.image_size + _STRIDE - 1) // _STRIDE

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; the project names only the live class, not the kinds of attack."""
        return tuple(
            "live" if index == self.live else f"attack-{index}" for index in range(self.classes)
        )


class MiniFasNetV2Config(MiniFasNetConfig):
    """Settings of MiniFASNetV2; with `squeeze_excite` it is MiniFASNetV2SE."""

    crop_scale: float = Field(default=2.7, gt=0.0, le=16.0, allow_inf_nan=False)


class MiniFasNetV1SeConfig(MiniFasNetConfig):
    """Settings of MiniFASNetV1SE; without `squeeze_excite` it is MiniFASNetV1."""

    crop_scale: float = Field(default=4.0, gt=0.0, le=16.0, allow_inf_nan=False)
    squeeze_excite: bool = True


def settings_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, object] | None:
    """Return the settings that the shapes of a state dict tell; None stands for what they do not.

    An image size is told to a multiple of the last feature map's pixels.
    """
    classify, last = shapes.get("prob.weight", ()), shapes.get("conv_6_dw.conv.weight", ())
    if len(classify) != 2 or len(last) != 4:
        return None
    found: dict[str, object] = {
        "image_size": _STRIDE * last[2],
        "classes": classify[0],
        "squeeze_excite": any(".se_module." in name for name in shapes),
    }
    if classify[0] != _PUBLISHED_CLASSES:
        found["live_index"] = None
    return found


@dataclass(frozen=True)
class StageConfig:
    """One resolution of the network.

    Attributes:
        reduce: Channels inside the unit of stride 2 that opens the stage.
        units: Channels inside each residual unit that follows.
        out: Channels of the stage's output.
    """

    reduce: int
    units: tuple[int, ...]
    out: int


Stages = tuple[StageConfig, StageConfig, StageConfig]

# What pruning left (src/model_lib/MiniFASNet.py, `1.8M_` and `1.8M`).
V2_STAGES: Stages = (
    StageConfig(103, (13, 13, 13, 13), 64),
    StageConfig(231, (231, 52, 26, 77, 26, 26), 128),
    StageConfig(308, (26, 26), 128),
)
V1SE_STAGES: Stages = (
    StageConfig(103, (13, 26, 13, 52), 64),
    StageConfig(231, (154, 52, 26, 52, 26, 26), 128),
    StageConfig(308, (26, 26), 128),
)
