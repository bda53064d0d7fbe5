"""Settings and preprocessing of square face crops, shared by the multi-modal transformers.

The benchmark's published loaders resize the data sets' own face crops whole: RGB order, 8 bits,
(x - 127.5) / 128, infrared replicated on three channels or joined by its HOG and PLGF
(`ir_composite`). So the face box, not enlarged, replaces the crop. How each data set encoded depth
is not published: near is bright, from `depth_near_mm` to `depth_far_mm`, is a choice made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from fasdk.capture import Modality
from fasdk.preprocess import (
    ChannelOrder,
    DepthEncoding,
    DepthPolarity,
    IrComposite,
    PreprocessSpec,
)
from fasdk_engines.models.input_settings import InputConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self


class FaceCropConfig(InputConfig):
    """Settings every vision transformer here has; the defaults are ViT-B/16's.

    Attributes:
        image_size: Side of the square input in pixels.
        patch_size: Side of a patch in pixels; divides `image_size`.
        width: Number of channels of a token.
        depth: Number of transformer blocks.
        heads: Attention heads; divides `width`.
        depth_near_mm: Depth encoded as 255, in mm (see `DepthEncoding`).
        depth_far_mm: Depth encoded as 1, in mm.
        depth_polarity: Whether near or far is bright, as in the training data.
        ir_composite: Content of the three infrared planes in training. Published code contradicts
            itself, so it is a setting of the checkpoint.
    """

    multiples: ClassVar[tuple[tuple[str, str], ...]] = ()  # further (whole, part) settings

    image_size: int = Field(default=224, ge=8, le=1024)
    patch_size: int = Field(default=16, ge=2, le=64)
    width: int = Field(default=768, ge=8, le=4096)
    depth: int = Field(default=12, ge=1, le=64)
    heads: int = Field(default=12, ge=1, le=64)
    depth_near_mm: int = Field(default=300, ge=1, le=65534)
    depth_far_mm: int = Field(default=1500, ge=2, le=65535)
    depth_polarity: DepthPolarity = DepthPolarity.NEAR_BRIGHT
    ir_composite: IrComposite = IrComposite.PLAIN

    @model_validator(mode="after")
    def _divides(self) -> Self:
        pairs = (("image_size", "patch_size"), ("width", "heads"), *self.multiples)
        for whole, part in pairs:
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} {getattr(self, whole)} is not a multiple of "
                    f"{part} {getattr(self, part)}"
                )
        if self.depth_near_mm >= self.depth_far_mm:
            raise ValueError(
                f"depth_near_mm {self.depth_near_mm} must be less than "
                f"depth_far_mm {self.depth_far_mm}"
            )
        face_crops(self, (Modality.IR,), missing_value=0.0)  # refuses a composite of other crops
        return self

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Patches of one image, and the class token."""
        return self.grid**2 + 1


def face_crops(
    config: FaceCropConfig, modalities: Sequence[Modality], *, missing_value: float
) -> dict[Modality, PreprocessSpec]:
    """Return the preprocessing by modality: by default that of the benchmark's published loaders.

    Args:
        config: Side of the crop in pixels, depth range in mm, and settings of the input.
        modalities: Modalities in model order.
        missing_value: Value of every element of an absent modality's tensor, after normalization,
            where the settings state none.
    """
    if config.missing_value is not None:
        missing_value = config.missing_value
    encoding = DepthEncoding(
        near_mm=config.depth_near_mm,
        far_mm=config.depth_far_mm,
        polarity=config.depth_polarity,
    )
    mean, std = config.plane_statistics
    specs = {}
    for modality in modalities:
        color = modality is Modality.RGB
        specs[modality] = PreprocessSpec(
            width=config.image_size,
            height=config.image_size,
            channel_order=config.channel_order if color else ChannelOrder.RGB,
            depth=encoding if modality is Modality.DEPTH else None,
            ir_composite=config.ir_composite if modality is Modality.IR else IrComposite.PLAIN,
            mean=mean,
            std=std,
            missing_value=missing_value,
            **config.crop_settings,
        )
    return specs
