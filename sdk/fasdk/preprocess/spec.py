"""Preprocessing specification of one modality, as the bundle's manifest states it."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CropRule(str, Enum):
    """Part of the frame that the model sees."""

    FRAME = "frame"
    FACE = "face"


class ChannelOrder(str, Enum):
    """Order of the color planes in the tensor."""

    RGB = "rgb"
    BGR = "bgr"


class DepthPolarity(str, Enum):
    """End of the depth range that the data set draws bright."""

    NEAR_BRIGHT = "near-bright"
    FAR_BRIGHT = "far-bright"


class IrComposite(str, Enum):
    """Contents of the three infrared planes; published checkpoints differ."""

    PLAIN = "plain"
    """Infrared in all three."""
    IR_HOG_PLGF = "ir-hog-plgf"
    """Infrared, its histogram of oriented gradients, and its pattern of local gravitational force.

    Both maps are drawn in 8 bits at the crop's own size (`composite.py`), then resized.
    """


class DepthEncoding(BaseModel):
    """Encoding of millimeters in 8 bits, as in the training set; 0 mm (no return) stays 0.

    Attributes:
        near_mm: Distance drawn at one end; anything nearer is clipped to it.
        far_mm: Distance drawn at the other end; anything farther is clipped to it.
        polarity: End of the range that is 255. Valid depth never maps below 1, so it differs from
            no return.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    near_mm: int = Field(ge=1, le=65534)
    far_mm: int = Field(ge=2, le=65535)
    polarity: DepthPolarity

    @model_validator(mode="after")
    def _ordered(self) -> DepthEncoding:
        if self.near_mm >= self.far_mm:
            raise ValueError(f"near_mm {self.near_mm} must be less than far_mm {self.far_mm}")
        return self


class PreprocessSpec(BaseModel):
    """Preprocessing of one modality from frame to tensor; part of the bundle's manifest.

    Attributes:
        width: Tensor width in pixels.
        height: Tensor height in pixels.
        crop: Whole frame, or the face box enlarged by `crop_scale` and kept inside the frame.
        crop_scale: Factor on the face box's width and height, about its center.
        channel_order: Order of the tensor's color planes; gray frames are replicated.
        depth: Encoding of millimeters in 8 bits; only, and always, for depth.
        ir_composite: Contents of the three planes; another than plain only for infrared.
        mean: Values subtracted from the tensor planes, in 8-bit units, in `channel_order`.
        std: Divisors of the tensor planes after that, in 8-bit units.
        missing_value: Value of the whole tensor when the modality is absent, after normalization.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=4096)
    height: int = Field(ge=1, le=4096)
    crop: CropRule
    crop_scale: float = Field(default=1.0, gt=0.0, le=16.0, allow_inf_nan=False)
    channel_order: ChannelOrder = ChannelOrder.RGB
    depth: DepthEncoding | None = None
    ir_composite: IrComposite = IrComposite.PLAIN
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    missing_value: float = Field(default=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _finite(self) -> PreprocessSpec:
        with np.errstate(all="ignore"):  # the results show whether it worked
            if not np.isfinite(np.float32(self.missing_value)):
                raise ValueError(f"missing_value {self.missing_value} does not fit a float32")
            if not np.isfinite(self.table).all():
                raise ValueError(
                    f"mean {self.mean} and std {self.std} do not normalize 8-bit levels to finite "
                    "float32: give finite values and no std of 0"
                )
        return self

    @model_validator(mode="after")
    def _in_8_bit_units(self) -> PreprocessSpec:
        largest_mean, largest_std = (max(map(abs, v)) for v in (self.mean, self.std))
        if largest_mean <= 1.0 and (largest_std < 1.0 or (largest_mean > 0 and largest_std <= 1)):
            mean, std = ([round(255.0 * v, 4) for v in values] for values in (self.mean, self.std))
            raise ValueError(
                f"mean {list(self.mean)} and std {list(self.std)} are in units of 0 to 1, expected "
                f"8-bit levels: multiply by 255 and write mean = {mean} and std = {std}"
            )
        return self

    @model_validator(mode="after")
    def _composite_is_infrared(self) -> PreprocessSpec:
        if self.ir_composite is not IrComposite.PLAIN:
            if self.depth is not None:
                raise ValueError(f"ir_composite {self.ir_composite.value} is not for depth")
            if self.channel_order is not ChannelOrder.RGB:
                raise ValueError("the planes of an infrared composite have one order: leave it rgb")
        return self

    @property
    def table(self) -> NDArray[np.float32]:
        """The normalization as float32 [3, 256]: one value per tensor plane and 8-bit level.

        (level - mean) / std in float32, a rounding each: IEEE 754 leaves every implementation, host
        or device, the same value.
        """
        return _table(self.mean, self.std)


@lru_cache(maxsize=64)
def _table(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    levels = np.arange(256, dtype=np.float32)[None, :]
    offset, scale = np.array([mean, std], np.float32)[:, :, None]
    table: NDArray[np.float32] = (levels - offset) / scale
    table.setflags(write=False)
    return table


@lru_cache(maxsize=16)
def depth_levels(encoding: DepthEncoding) -> NDArray[np.uint8]:
    """Return uint8 [65536], read-only: the 8-bit level of every depth in millimeters."""
    depth_mm = np.arange(65536, dtype=np.float64)
    span = encoding.far_mm - encoding.near_mm
    fraction = (np.clip(depth_mm, encoding.near_mm, encoding.far_mm) - encoding.near_mm) / span
    if encoding.polarity is DepthPolarity.NEAR_BRIGHT:
        fraction = 1.0 - fraction
    levels = np.maximum(np.rint(255.0 * fraction), 1).astype(np.uint8)
    levels[0] = 0
    levels.setflags(write=False)
    return levels


def depth_to_8bit(depth_mm: NDArray[np.uint16], encoding: DepthEncoding) -> NDArray[np.uint8]:
    """Return depth as the training set drew it.

    Args:
        depth_mm: uint16 [H, W], millimeters; 0 where the sensor saw nothing.
        encoding: Range and polarity of the data set.

    Returns:
        uint8 [H, W]; 0 exactly where `depth_mm` is 0.
    """
    return np.asarray(depth_levels(encoding)[depth_mm])
