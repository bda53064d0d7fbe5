"""Settings of the input that every built-in family has: scale, channel order, crop, fill."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from fasdk.preprocess import ChannelOrder, CropRule, PreprocessSpec
from fasdk.preprocess.spec import Border, CropBounds, CropShape, Fit, Interpolation, Point
from fasdk_engines.models.base import ModelConfig

if TYPE_CHECKING:
    from typing_extensions import Self

Channels = tuple[float, float, float]


class Normalization(str, Enum):
    """Normalization of 8-bit levels to the model's input, as in training."""

    LEVELS = "levels"
    """The levels themselves, 0 to 255."""
    UNIT = "unit"
    """x / 255: 0 to 1, as torchvision's ToTensor gives."""
    MINUS_ONE_TO_ONE = "minus-one-to-one"
    """(x - 127.5) / 127.5."""
    SYMMETRIC = "symmetric"
    """(x - 127.5) / 128, as the multi-modal benchmark's published loaders do."""
    IMAGENET = "imagenet"
    """torchvision's channel means and deviations of ImageNet."""
    CLIP = "clip"
    """CLIP's own channel means and deviations."""


def _levels(red: float, green: float, blue: float) -> Channels:
    """Return shares of full scale in 8-bit levels."""
    return 255.0 * red, 255.0 * green, 255.0 * blue


_MEAN_STD: dict[Normalization, tuple[Channels, Channels]] = {
    Normalization.LEVELS: ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Normalization.UNIT: ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    Normalization.MINUS_ONE_TO_ONE: ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    Normalization.SYMMETRIC: ((127.5, 127.5, 127.5), (128.0, 128.0, 128.0)),
    Normalization.IMAGENET: (_levels(0.485, 0.456, 0.406), _levels(0.229, 0.224, 0.225)),
    Normalization.CLIP: (
        _levels(0.48145466, 0.4578275, 0.40821073),
        _levels(0.26862954, 0.26130258, 0.27577711),
    ),
}


_OTHER_FIELDS = {"mean", "std", "channel_order", "missing_value"}  # with rules of their own


class InputConfig(ModelConfig):
    """Settings of a model's input; each family states the published values as defaults.

    Attributes:
        normalization: Normalization of 8-bit levels to the model's input.
        mean: Values subtracted from the planes red, green, blue, in 8-bit levels, in place of those
            of `normalization`; None takes those.
        std: Divisors of the planes after that, in 8-bit levels; given together with `mean`.
        channel_order: Order of the color planes of the RGB modality.
        crop: Part of the frame that the model sees.
        crop_scale: Factor on the face box's width and height, about its center; an aligned face
            has none.
        crop_shape: Shape of a face crop.
        crop_bounds: What becomes of a face crop that leaves the frame.
        landmark_positions: Tensor positions of the landmarks, for `crop` landmarks.
        border: Pixels outside the frame, where the crop may leave it, and around a letterbox.
        border_level: 8-bit level of a constant border.
        fit: How the crop becomes as large as the tensor.
        interpolation: Interpolation of the resize.
        missing_value: Value of an absent modality's tensor, after normalization; None takes the
            published rule of the family.
    """

    normalization: Normalization = Normalization.SYMMETRIC
    mean: Channels | None = None
    std: Channels | None = None
    channel_order: ChannelOrder = ChannelOrder.RGB
    crop: CropRule = CropRule.FACE
    crop_scale: float = Field(default=1.0, gt=0.0, le=16.0, allow_inf_nan=False)
    crop_shape: CropShape = CropShape.BOX
    crop_bounds: CropBounds = CropBounds.SHIFT
    landmark_positions: tuple[Point | None, ...] | None = Field(
        default=None, min_length=5, max_length=5
    )
    border: Border = Border.CONSTANT
    border_level: int = Field(default=0, ge=0, le=255)
    fit: Fit = Fit.STRETCH
    interpolation: Interpolation = Interpolation.BILINEAR
    missing_value: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _input_is_usable(self) -> Self:
        if (self.mean is None) != (self.std is None):
            given, lacking = ("mean", "std") if self.std is None else ("std", "mean")
            raise ValueError(f"{given} is given without {lacking}: give both, in 8-bit levels")
        mean, std = self.channel_statistics
        side = getattr(self, "image_size", 112)
        PreprocessSpec(width=side, height=side, mean=mean, std=std, **self.crop_settings)
        return self

    @property
    def crop_settings(self) -> dict[str, Any]:
        """Fields of a `PreprocessSpec` that say how the crop is made."""
        shared = InputConfig.model_fields.keys() & PreprocessSpec.model_fields.keys()
        settings = {name: getattr(self, name) for name in shared - _OTHER_FIELDS}
        published = type(self).model_fields["crop_scale"].default
        if self.crop is CropRule.LANDMARKS and self.crop_scale == published:
            settings["crop_scale"] = 1.0  # the published factor is of the face box
        return settings

    @property
    def channel_statistics(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation of red, green and blue, in 8-bit levels."""
        if self.mean is not None and self.std is not None:
            return self.mean, self.std
        return _MEAN_STD[self.normalization]

    @property
    def plane_statistics(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation of the RGB modality's planes, in `channel_order`."""
        mean, std = self.channel_statistics
        if self.channel_order is ChannelOrder.BGR:
            return (mean[2], mean[1], mean[0]), (std[2], std[1], std[0])
        return mean, std

    @property
    def black(self) -> float:
        """Value of a black pixel after normalization.

        Raises:
            ValueError: The planes have different ones.
        """
        mean, std = self.channel_statistics
        values = {-m / s for m, s in zip(mean, std, strict=True)}
        if len(values) > 1:
            raise ValueError(
                "a black image has a value of its own in each plane with this normalization: "
                "give missing_value, which one number fills"
            )
        return values.pop()
